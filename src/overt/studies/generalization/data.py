"""The images of a run, and the untrained networks that take them."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor, nn

from overt.problems import ImageSet, ImageSplit, image_classification
from overt.problems.fetch import DataUnavailableError
from overt.problems.images import permute_pixels, scramble_phases
from overt.studies.base import Skip
from overt.studies.generalization.config import GeneralizationConfig
from overt.studies.generalization.methods import Trial
from overt.studies.shared.classifiers import make_classifier, prepared


class Units(nn.Module):
    """Division by the units of the pixels, the first layer of every network."""

    def __init__(self, units: float) -> None:
        super().__init__()
        self.units = units

    def forward(self, x: Tensor) -> Tensor:
        """x over the units."""
        return x if self.units == 1 else x / self.units


class Data:
    """The images of a run, and how raw ones are brought to what the network sees."""

    def __init__(self, config: GeneralizationConfig) -> None:
        raw = _split(config)
        scaled, self.mean, self.std = prepared(raw)
        self.units = config.units
        self.raw_test = raw.test
        self.train, self.validation, self.test = (
            ImageSet(part.images * self.units, part.labels)
            for part in (scaled.train, scaled.validation, scaled.test)
        )
        self.shape, self.classes = tuple(self.train.images.shape[1:]), raw.classes

    def seen(self, raw: Tensor) -> Tensor:
        """Raw images as the network takes them."""
        return (raw - self.mean) / self.std * self.units


def build(config: GeneralizationConfig, data: Data, one: Trial) -> nn.Sequential:
    """The untrained network of a trial; all methods of one seed begin with the same draws."""
    layers = make_classifier(one.network, shape=data.shape, classes=data.classes, seed=config.seed)
    return nn.Sequential(Units(config.units), *layers)


@lru_cache(maxsize=2)
def _read(source: str, n_train: int, n_validation: int, n_test: int, seed: int) -> ImageSplit:
    """The images, kept for the next runs of the same seed; nothing changes them in place."""
    return image_classification(source, n_train=n_train, n_validation=n_validation, n_test=n_test, seed=seed)


def _split(config: GeneralizationConfig) -> ImageSplit:
    try:
        split = _read(config.source, config.n_train, config.n_validation, config.n_test, config.seed)
    except DataUnavailableError as error:
        raise Skip(str(error)) from None
    if config.view == "plain":
        return split
    change = permute_pixels if config.view == "permuted" else scramble_phases
    train, validation, test = (change(part, seed=0) for part in (split.train, split.validation, split.test))
    return ImageSplit(train, validation, test, split.classes, split.name)
