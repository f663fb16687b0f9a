"""What a penalty on Jacobians does: the spectrum that it sees, and its force on each parameter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from overt import functional as F
from overt.networks.second_order import plain_module
from overt.penalties.moments import Moments

if TYPE_CHECKING:
    from overt.penalties.jacobian import JacobianPenalty

__all__ = [
    "CompositionReport",
    "Gradients",
    "JacobianReport",
    "ParameterReport",
    "jacobian_report",
    "parameter_reports",
]

Gradients = Literal["objective", "loss"]


@dataclass(frozen=True)
class ParameterReport:
    """One parameter of a report.

    Attributes
    ----------
    name : str
    shape : tuple of int
    norm : float
        ‖W‖_F.
    force : float
        ‖∂ penalty / ∂ W‖, weight included, averaged over the calls that ``every`` leaves out.
    loss_gradient : float or None
        ‖∂ loss / ∂ W‖; None where there is no gradient.
    share : float or None
        force / (force + loss_gradient): near 0 the penalty does nothing, near 1 it rules.
    """

    name: str
    shape: tuple[int, ...]
    norm: float
    force: float
    loss_gradient: float | None
    share: float | None


@dataclass(frozen=True)
class _Report:
    """Facts about the whole model, and a row for each parameter; printed as a table."""

    weight: float
    value: float
    rows: tuple[ParameterReport, ...]

    def __iter__(self) -> Iterator[ParameterReport]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def as_dicts(self) -> list[dict[str, Any]]:
        """The rows as plain data."""
        return [asdict(row) for row in self.rows]

    def _facts(self) -> str:
        raise NotImplementedError

    def __str__(self) -> str:
        head = ("parameter", "shape", "norm", "force", "share")
        lines = [head, *(_cells(row) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines
        ]
        return "\n".join([f"weight {self.weight:.3g}  value {self.value:.4g}  {self._facts()}", *table])


@dataclass(frozen=True)
class JacobianReport(_Report):
    """What a `JacobianPenalty` does.

    Attributes
    ----------
    weight, value : float
        The penalty is weight × value.
    norm : float
        √tr M̄, the root mean square of ‖J(x)‖_F.
    effective_rank : float
        exp of the entropy of σ/Σσ, σ being `JacobianPenalty.spectrum`.
    rank : int
        Number of σ above a hundredth of the largest.
    cut_off : float
        Share of tr M̄ outside of the directions that are kept, spread evenly over the others; 0 but for the
        eigen basis of large inputs. For p < 2 a per cent of it weighs: raise ``rank`` until it is gone.
    rows : tuple of ParameterReport
    """

    norm: float
    effective_rank: float
    rank: int
    cut_off: float

    def _facts(self) -> str:
        facts = f"norm {self.norm:.4g}  eff. rank {self.effective_rank:.2f}  rank {self.rank}"
        return f"{facts}  cut off {self.cut_off:.1%}" if self.cut_off else facts


@dataclass(frozen=True)
class CompositionReport(_Report):
    """What a `CompositionPenalty` does.

    Attributes
    ----------
    weight, value : float
        The penalty is weight × value, the mean of the two terms.
    inner, outer : float
        E‖J_h‖_F² and E‖J_g‖_F². The bound is tight only where they are equal.
    rows : tuple of ParameterReport
    """

    inner: float
    outer: float

    def _facts(self) -> str:
        return f"inner {self.inner:.4g}  outer {self.outer:.4g}"


def jacobian_report(
    penalty: JacobianPenalty, value: Tensor, moments: Moments, included: float, gradients: str
) -> JacobianReport:
    """See ``JacobianPenalty.report``; `value` and `included` as in `parameter_reports`."""
    s = moments.spectrum().detach()
    parameters = dict(plain_module(penalty.model).named_parameters())
    return JacobianReport(
        weight=penalty.weight,
        value=float(value.detach()),
        rows=parameter_reports(value, parameters, penalty.weight, included, gradients),
        norm=math.sqrt(float(moments.trace())),
        effective_rank=float(F.effective_rank(singular_values=s)),
        rank=int((s > 1e-2 * s.max()).sum()) if float(s.max()) > 0 else 0,
        cut_off=float(moments.cut_off()),
    )


def parameter_reports(
    value: Tensor, parameters: Mapping[str, nn.Parameter], weight: float, included: float, gradients: str
) -> tuple[ParameterReport, ...]:
    """A row for each parameter that is trained.

    Parameters
    ----------
    value
        The penalty without its weight, with its graph.
    parameters
        By name.
    weight
        Of the penalty.
    included
        What `value` was multiplied by in the objective whose gradients the parameters hold.
    gradients
        Whether they hold those of the objective or of the loss alone.
    """
    if gradients not in get_args(Gradients):
        raise ValueError(f"gradients must be 'objective' or 'loss', got {gradients!r}")
    moving = {name: p for name, p in parameters.items() if p.requires_grad}
    found: Sequence[Tensor | None] = [None] * len(moving)
    if moving and value.requires_grad:
        found = torch.autograd.grad(value, list(moving.values()), allow_unused=True)
    factor = included if gradients == "objective" else 0.0
    return tuple(_row(name, p, g, weight, factor) for (name, p), g in zip(moving.items(), found, strict=True))


def _row(name: str, p: nn.Parameter, g: Tensor | None, weight: float, included: float) -> ParameterReport:
    force = 0.0 if g is None else weight * _norm(g)
    loss_gradient = None
    if p.grad is not None:
        loss_gradient = _norm(p.grad if g is None else p.grad - included * g)
    total = force + (loss_gradient or 0.0)
    share = None if loss_gradient is None or total == 0 else force / total
    return ParameterReport(name, tuple(p.shape), _norm(p.detach()), force, loss_gradient, share)


def _norm(tensor: Tensor) -> float:
    wide = tensor.float() if tensor.dtype.itemsize < 4 else tensor
    return math.sqrt(float(wide.square().sum()))


def _cells(row: ParameterReport) -> tuple[str, ...]:
    return (
        row.name,
        "×".join(map(str, row.shape)),
        f"{row.norm:.4g}",
        f"{row.force:.3g}",
        "–" if row.share is None else f"{row.share:.1%}",
    )
