"""The images of a run, and the untrained networks that take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from overt.problems import ImageSet, image_classification
from overt.studies.shared.classifiers import make_classifier, prepared
from overt.studies.shared.published import skipped_without_data

if TYPE_CHECKING:
    from overt.studies.generalization.settings import TunedConfig
    from overt.studies.generalization.trials import Trial


class Units(nn.Module):
    """Division by the units of the pixels, the first layer of every network."""

    def __init__(self, units: float) -> None:
        super().__init__()
        self.units = units

    def forward(self, x: Tensor) -> Tensor:
        """x over the units."""
        return x if self.units == 1 else x / self.units


class Data:
    """The images of a run, and how raw ones are brought to what the network sees.

    With ``units`` the pixels are multiplied by them, and every network begins with the division.
    """

    def __init__(self, config: TunedConfig, units: float = 1.0) -> None:
        with skipped_without_data():
            raw = image_classification(
                config.source,
                n_train=config.n_train,
                n_validation=config.n_validation,
                n_test=config.n_test,
                seed=config.seed,
            )
        scaled, self.mean, self.std = prepared(raw)
        self.units, self.seed = units, config.seed
        self.raw_test = raw.test
        self.train, self.validation, self.test = (
            ImageSet(part.images * units, part.labels)
            for part in (scaled.train, scaled.validation, scaled.test)
        )
        self.shape, self.classes = tuple(self.train.images.shape[1:]), raw.classes

    def seen(self, raw: Tensor) -> Tensor:
        """Raw images as the network takes them."""
        return (raw - self.mean) / self.std * self.units

    def build(self, one: Trial) -> nn.Sequential:
        """The untrained network of a trial; all methods of one seed begin with the same draws."""
        layers = make_classifier(one.network, shape=self.shape, classes=self.classes, seed=self.seed)
        return nn.Sequential(Units(self.units), *layers)
