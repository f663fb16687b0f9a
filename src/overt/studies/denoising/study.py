"""The study of denoising."""

from overt.studies.denoising.compare import Compare
from overt.studies.denoising.latents import Latents
from overt.studies.part import StudyOfParts

study = StudyOfParts(
    "denoising", "Denoising from noisy data alone, with nothing to tune", [Compare(), Latents()]
)
