"""One number that says how good a model is, larger being better."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from overt.networks.guard import untouched
from overt.networks.streams import home_of, pairs_of

__all__ = ["Evaluate", "evaluator"]

Evaluate = Callable[[nn.Module], float]


def evaluator(evaluate: Any) -> Evaluate:
    """A function from a model to its accuracy, from what a user gives.

    Parameters
    ----------
    evaluate
        A function of the model that returns a number, larger being better; or a pair of tensors (inputs,
        targets), or a DataLoader of such pairs, for the share of examples whose largest output is the target.

    Raises
    ------
    TypeError, ValueError
        When called, if what comes is no finite number, or the targets are no class indices.
    """
    if isinstance(evaluate, nn.Module) or not (callable(evaluate) or hasattr(evaluate, "__iter__")):
        raise TypeError(
            "evaluate must be a function model -> accuracy, a pair (inputs, targets) or a DataLoader of such "
            f"pairs, got {type(evaluate).__name__}"
        )
    function: Callable[[nn.Module], Any] = (
        evaluate if callable(evaluate) else lambda model: _accuracy(model, evaluate)
    )

    def measured(model: nn.Module) -> float:
        with untouched(model), torch.no_grad():
            value = function(model)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise ValueError(f"evaluate must return a finite number, larger being better; got {value!r}")
        return float(value)

    return measured


def _accuracy(model: nn.Module, data: Any) -> float:
    right = total = 0
    for inputs, targets in pairs_of(data, home_of(model)):
        output = model(inputs)
        logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
        scores = output if isinstance(output, Tensor) else logits
        if (
            not isinstance(scores, Tensor)
            or scores.ndim < 2
            or scores.shape[:-1] != targets.shape
            or targets.is_floating_point()
        ):
            shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(output).__name__
            raise ValueError(
                f"evaluate: outputs {shape} and targets {tuple(targets.shape)} ({targets.dtype}) are not (N, "
                "classes) and class indices (N,); give a function model -> number instead"
            )
        right += int((scores.argmax(-1) == targets).sum())
        total += targets.numel()
    return right / total
