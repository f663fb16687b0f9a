"""How good a classifier is on a set of images: accuracy, likelihood, calibration, margins."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from overt.problems import ImageSet

__all__ = ["Scores", "evaluate", "expected_calibration_error", "logits_of", "margins", "score", "temperature"]

BINS = 15
CHUNK = 2000


@dataclass(frozen=True)
class Scores:
    """What is measured on one set of images.

    Attributes
    ----------
    accuracy : float
    cross_entropy : float
        Mean, in nats.
    calibration_error : float
        See `expected_calibration_error`.
    margin, margin_low : float
        Median and 10th percentile of the margins, see `margins`.
    """

    accuracy: float
    cross_entropy: float
    calibration_error: float
    margin: float
    margin_low: float

    def to_record(self, prefix: str = "") -> dict[str, float]:
        """As plain data, with a prefix to the names."""
        return {f"{prefix}{name}": value for name, value in asdict(self).items()}


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """The outputs (n, classes) in evaluation mode, without a graph; the model's mode is put back."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return torch.cat([model(part) for part in torch.split(images, CHUNK)])
    finally:
        model.train(training)


def evaluate(model: nn.Module, data: ImageSet) -> Scores:
    """The scores of a model on images with labels."""
    return score(logits_of(model, data.images), data.labels)


def score(logits: Tensor, labels: Tensor) -> Scores:
    """The scores of outputs (n, classes) against labels (n,).

    Examples
    --------
    >>> import torch
    >>> score(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])).accuracy
    0.5
    """
    logits = logits.double()
    distance = margins(logits, labels)
    return Scores(
        float((logits.argmax(1) == labels).double().mean()),
        float(nn.functional.cross_entropy(logits, labels)),
        expected_calibration_error(logits, labels),
        float(distance.median()),
        float(distance.quantile(0.1)),
    )


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Output of the true class minus the largest of the others, (n,); negative where the answer is wrong."""
    true = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return (true - others.amax(1, keepdim=True)).squeeze(1)


def expected_calibration_error(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Σ over bins of confidence: share of the images × |accuracy − mean confidence|, in [0, 1].

    Bins of equal width (Naeini, Cooper & Hauskrecht 2015; Guo et al. 2017, eq. 3).

    Examples
    --------
    >>> import torch
    >>> round(expected_calibration_error(torch.tensor([[50.0, 0.0], [50.0, 0.0]]), torch.tensor([0, 1])), 6)
    0.5
    """
    confidence, answer = logits.double().softmax(1).max(1)
    gap = (answer == labels).double() - confidence
    place = (confidence * bins).long().clamp(0, bins - 1)
    sums = torch.zeros(bins, dtype=torch.float64, device=gap.device).index_add(0, place, gap)
    return float(sums.abs().sum()) / len(labels)


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The T > 0 at which logits/T have the least cross-entropy (Guo et al. 2017, section 4.2).

    In 1/T the cross-entropy is convex; its derivative is bisected. T lies between 1e-3 and 1e3.

    Examples
    --------
    >>> import torch
    >>> logits = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    >>> round(1 / temperature(logits, torch.zeros(4, dtype=torch.int64)), 3)  # log 3: three of four right
    1.099
    """
    logits = logits.double()
    true = logits.gather(1, labels[:, None]).squeeze(1)
    low, high = -3.0, 3.0  # of log10(1/T)
    for _ in range(60):
        middle = (low + high) / 2
        mean = ((10**middle * logits).softmax(1) * logits).sum(1)
        if float((mean - true).mean()) > 0:
            high = middle
        else:
            low = middle
    return float(10 ** -((low + high) / 2))
