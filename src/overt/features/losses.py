"""Validation errors, one number for each example, by which rounds are chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as nnf

from overt._utils.checks import check_choice

Loss = Literal["auto", "squared", "cross_entropy", "error"] | Callable[[Any, Any], Any]


def check_loss(loss: object) -> Loss:
    """`loss` if it is a function or known by name."""
    found: Loss = (
        loss if callable(loss) else check_choice(loss, "loss", ("auto", "squared", "cross_entropy", "error"))
    )
    return found


def losses_of(outputs: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """Of outputs (n, …) and targets (n, …), float64.

    ``"auto"`` is ``"cross_entropy"`` where targets are whole numbers and outputs have one dimension more,
    classes, and the mean squared error of each example otherwise.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, or a function that does not return one number for each example.
    """
    if callable(loss):
        return _given(loss(outputs, y), len(outputs))
    labels = not (y.is_floating_point() or y.is_complex()) and outputs.numel() > y.numel()
    if loss == "squared" or (loss == "auto" and not labels):
        if outputs.numel() != y.numel():
            raise ValueError(
                f"fit: the model's outputs {tuple(outputs.shape)} do not fit the targets {tuple(y.shape)}; "
                "give loss=, a function of both to one number for each example"
            )
        misses = outputs.double().reshape(len(y), -1) - y.double().reshape(len(y), -1)
        return misses.square().mean(1)
    scores = outputs.double()
    if scores.shape[:-1] == y.shape:  # classes last, as in language models
        scores = scores.movedim(-1, 1)
    if (
        not labels
        or scores.shape[:1] + scores.shape[2:] != y.shape
        or int(y.max()) >= scores.shape[1]
        or int(y.min()) < 0
    ):
        raise ValueError(
            f"loss={loss!r} needs outputs (n, classes) and labels 0 … classes − 1 (n,), got outputs "
            f"{tuple(outputs.shape)} and targets {tuple(y.shape)} of {y.dtype}; give a function as loss="
        )
    if loss != "error" and _probabilities(scores):
        raise ValueError(
            f"loss={loss!r} takes scores before the softmax, and the model's outputs are probabilities; "
            "return it without its softmax, or give a function as loss="
        )
    if loss == "error":
        wrong = (scores.argmax(1) != y).double()
    else:
        wrong = nnf.cross_entropy(scores, y.long(), reduction="none")
    return wrong.reshape(len(y), -1).mean(1)


def _probabilities(scores: Tensor) -> bool:
    """Whether outputs (n, classes, …) are those of a softmax: non-negative, with sums of one."""
    sums = scores.sum(1)
    return bool((scores >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all())


def label_losses(scores: Any, classes: NDArray[Any], y: NDArray[Any], loss: Loss) -> Tensor:
    """Of a classifier's probabilities (n, classes), None if it has none.

    Where `loss` is a function these, or decision values, are its outputs.
    """
    if callable(loss):
        return _given(loss(scores, y), len(y))
    if loss == "squared":
        raise ValueError("loss='squared' is for numbers, got a classifier; use 'cross_entropy' or 'error'")
    if np.ndim(scores) != 2 or scores.shape != (len(y), len(classes)):
        raise ValueError(
            f"loss={loss!r} needs predict_proba, with a probability for each class, which the classifier has "
            "not; use loss='error', or a function of its decision values and the labels"
        )
    true = (np.asarray(y)[:, None] == classes[None]).astype(float)
    shares = (scores * true).sum(1)  # a class that was not seen in the fit has none
    return torch.as_tensor(-np.log(shares.clip(np.finfo(float).eps)))


def _given(found: Any, count: int) -> Tensor:
    values = torch.as_tensor(np.asarray(found.detach().cpu() if isinstance(found, Tensor) else found))
    if values.shape != (count,) or values.is_complex():
        raise ValueError(
            f"loss must return one number for each of the {count} examples, got shape {tuple(values.shape)}; "
            "take the mean over outputs only (reduction='none')"
        )
    return values.double()
