"""What `train` asks of a problem and a model, and whether they fit."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from overt._utils.checks import message
from overt._utils.tensors import check_same_kind, is_finite
from overt.penalties import Penalty


class Trainable(Protocol):
    """What a problem must have to be trained on.

    Optional are ``y`` (its mean square is the unit of the loss, its dtype and device are checked) and
    ``max_abs_observed`` (the unit of `Stopping.blow_up`).
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the end-to-end tensor."""
        ...

    def loss(self, W: Tensor, /) -> Tensor:
        """Training loss, a differentiable 0-d tensor ≥ 0."""
        ...

    def error(self, W: Tensor, /) -> float:
        """Distance from the truth or from held-out values."""
        ...


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that require a gradient; ValueError if there is none."""
    params = [p for p in model.parameters() if p.requires_grad]
    if not params:
        raise ValueError("model: no parameter requires a gradient, so there is nothing to train")
    return params


def check_fit(model: nn.Module, problem: Any, W: Tensor, penalty: Any) -> None:
    """Refuse a model that does not fit the problem, and a penalty that watches another model."""
    parts = ("shape", "loss", "error")
    if isinstance(problem, type) or not all(hasattr(problem, name) for name in parts):
        expected = f"an object with {', '.join(parts)}, such as those of overt.problems"
        raise TypeError(message("problem", expected, problem))
    shape = tuple(problem.shape)
    if tuple(W.shape) != shape:
        raise ValueError(
            f"the model's end-to-end tensor has shape {tuple(W.shape)} but the problem asks for {shape}; "
            "for DeepLinear the sizes are (n, …, m)"
        )
    y = getattr(problem, "y", None)
    if isinstance(y, Tensor):
        check_same_kind(
            W,
            "the model's end-to-end tensor",
            y,
            "the problem's data",
            remedy="use problem.to() or model.to()",
        )
    if not is_finite(W):
        raise ValueError("model: its parameters are NaN or infinite at the start; initialize it anew")
    if isinstance(penalty, Penalty) and penalty.model is not model:
        raise ValueError("penalty watches another model than the one being trained; build it with this model")


def loss_unit(problem: Any) -> float:
    """mean(y²), the unit of the training loss; 1 where it is zero or unknown."""
    y = getattr(problem, "y", None)
    scale = float(y.detach().square().mean()) if isinstance(y, Tensor) else 0.0
    return scale if scale > 0 else 1.0
