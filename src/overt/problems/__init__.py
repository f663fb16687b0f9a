"""Seeded instances and real data: linear inverse problems, supervised problems with structure, images."""

from __future__ import annotations

from overt.problems.base import Problem
from overt.problems.completion import CompletionProblem
from overt.problems.dense import RegressionProblem, SensingProblem
from overt.problems.fetch import DataUnavailableError
from overt.problems.generators import linear_regression, matrix_completion, matrix_sensing
from overt.problems.images import (
    ImageSet,
    ImageSplit,
    image_classification,
    permute_pixels,
    scramble_phases,
)
from overt.problems.movielens import movielens_100k
from overt.problems.offsets import Offsets, fit_offsets
from overt.problems.photograph import photograph, psnr
from overt.problems.structured import (
    StructuredProblem,
    additive,
    multi_index,
    noisy_digits,
    parity,
    staircase,
)
from overt.problems.tensor import TensorCompletionProblem, tensor_completion

__all__ = [
    "CompletionProblem",
    "DataUnavailableError",
    "ImageSet",
    "ImageSplit",
    "Offsets",
    "Problem",
    "RegressionProblem",
    "SensingProblem",
    "StructuredProblem",
    "TensorCompletionProblem",
    "additive",
    "fit_offsets",
    "image_classification",
    "linear_regression",
    "matrix_completion",
    "matrix_sensing",
    "movielens_100k",
    "multi_index",
    "noisy_digits",
    "parity",
    "permute_pixels",
    "photograph",
    "psnr",
    "scramble_phases",
    "staircase",
    "tensor_completion",
]
