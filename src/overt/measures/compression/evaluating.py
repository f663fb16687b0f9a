"""One number that says how good a model is, larger being better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from overt._utils.checks import check_number, message
from overt.networks.batches import pairs_of
from overt.networks.guard import untouched
from overt.networks.modules import device_of

Evaluate = Callable[[nn.Module], float]


def evaluator(evaluate: Any) -> Evaluate:
    """A function from a model to its accuracy.

    Parameters
    ----------
    evaluate
        A function of the model that returns a number, larger being better; or a pair of tensors (inputs,
        targets), or a DataLoader of such pairs, for the share of examples whose largest output is the target.

    Raises
    ------
    TypeError, ValueError
        It is none of these. When called: the accuracy is no finite number, or the targets are no class
        indices.
    """
    refused = isinstance(evaluate, (nn.Module, str, bytes, Mapping))
    if refused or not (callable(evaluate) or hasattr(evaluate, "__iter__")):
        expected = "a function model -> accuracy, a pair (inputs, targets) or a DataLoader of such pairs"
        raise TypeError(message("evaluate", expected, evaluate))

    def measured(model: nn.Module) -> float:
        with untouched(model), torch.no_grad():
            value = evaluate(model) if callable(evaluate) else _accuracy(model, evaluate)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        return check_number(value, "the result of evaluate", remedy="larger is better")

    return measured


def _accuracy(model: nn.Module, data: Any) -> float:
    right = total = 0
    for inputs, targets in pairs_of(data, device_of(model)):
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
