"""Making one network: build, train to the target loss, score on test images, measure on training images."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import Any

from torch import nn

from overt.penalties import JacobianPenalty, SpectralPenalty
from overt.problems import ImageSet, ImageSplit, image_classification
from overt.studies.base import RunContext, RunOutput
from overt.studies.predict.measures import values_of
from overt.studies.predict.quantities import Quantities, quantities
from overt.studies.predict.settings import PredictConfig
from overt.studies.shared.classifiers import (
    Network,
    OfWeights,
    Recipe,
    evaluate,
    fit,
    make_classifier,
    prepared,
)
from overt.studies.shared.published import skipped_without_data

__all__ = ["load", "pooled", "run"]


def run(config: PredictConfig, context: RunContext) -> RunOutput:
    """One run; `Skip` where the images are out of reach."""
    with skipped_without_data():
        data = load(config)
    image = data.train.images[0]
    network = Network(config.family, (config.width,) * config.depth)
    model = make_classifier(network, shape=tuple(image.shape), classes=data.classes, seed=config.seed)
    start = deepcopy(model)
    recipe = Recipe(
        optimizer="sgd",
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        batch_size=config.batch_size,
        max_steps=config.max_steps,
        stop_loss=config.target_loss,
        check_every=config.check_every,
        seed=config.seed,
    )
    result = fit(
        model,
        data.train,
        recipe,
        penalty_of(model, config),
        checkpoint=context.directory / "training.pt",
        progress=context.progress,
    )
    record: dict[str, Any] = {
        "status": result.status,
        "reached": result.status == "loss",
        "steps": result.steps,
        "loss": result.loss,
        "gap": None,
        "measures": {},
    }
    if result.status != "loss":
        return RunOutput([record])
    model.eval()
    record |= evaluate(model, data.train).to_record("train_") | evaluate(model, data.test).to_record("test_")
    record["gap"] = record["train_accuracy"] - record["test_accuracy"]
    record["loss_gap"] = record["test_cross_entropy"] - record["train_cross_entropy"]
    context.progress("measuring")
    found = quantities(
        model,
        start,
        data.train,
        noise_draws=config.noise_draws,
        error_rise=config.error_rise,
        sam_radius=config.sam_radius,
        seed=config.seed,
    )
    return RunOutput([record | _plain(found)], {name: s.values.numpy() for name, s in found.spectra.items()})


def load(config: PredictConfig) -> ImageSplit:
    """The images, pooled and with mean 0 and deviation 1 over the training pixels."""
    return _load(config.source, config.n_train, config.n_test, config.seed, config.pool)


@lru_cache(maxsize=8)  # the networks of a zoo are trained on few sets of images, and reading takes a second
def _load(source: str, n_train: int, n_test: int, seed: int, pool: int) -> ImageSplit:
    split = image_classification(source, n_train=n_train, n_validation=0, n_test=n_test, seed=seed)
    parts = [pooled(part, pool) for part in (split.train, split.validation, split.test)]
    return prepared(ImageSplit(parts[0], parts[1], parts[2], split.classes, split.name))[0]


def pooled(data: ImageSet, size: int) -> ImageSet:
    """The images averaged over squares of `size` × `size` pixels; rows and columns left over are dropped."""
    if size == 1 or not len(data):
        return data
    return ImageSet(nn.functional.avg_pool2d(data.images, size), data.labels)


def penalty_of(model: nn.Module, config: PredictConfig) -> nn.Module | None:
    """The penalty as the training loop calls it, or None."""
    if config.penalty == "jacobian":
        return JacobianPenalty(model, p=1.0, weight=config.jacobian_weight, seed=config.seed)
    if config.penalty == "nuclear":
        return OfWeights(SpectralPenalty(model, "nuclear_norm", weight=config.nuclear_weight, every=10))
    return None


def _plain(found: Quantities) -> dict[str, Any]:
    return {
        "measures": values_of(found),
        "layers": found.depth,
        "parameters": found.parameters,
        "margin": found.margin,
        "noise": found.noise,
        "effective_rank": found.spectra["eigen"].effective_rank,
    }
