"""What a penalty does to a model: the spectrum that it sees, and its force on each matrix or parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from overt import functional as F
from overt._utils.checks import check_choice
from overt.networks.distributed import is_sharded
from overt.penalties.layers import Layer
from overt.penalties.moments import Moments

Gradients = Literal["objective", "loss"]
"""What parameters hold in ``.grad``: the gradient of loss plus penalty, or that of the loss alone."""


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
        ‖∂ penalty / ∂ W‖, weights included, averaged over the calls that ``every`` leaves out.
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

    def cells(self) -> dict[str, str]:
        """As a row of a table, by the heads of its columns."""
        return {
            "parameter": self.name,
            "shape": "×".join(map(str, self.shape)),
            "norm": f"{self.norm:.4g}",
            "force": f"{self.force:.3g}",
            "share": "–" if self.share is None else f"{self.share:.1%}",
        }


@dataclass(frozen=True)
class LayerReport(ParameterReport):
    """One matrix of a :class:`SpectralReport`: what a `ParameterReport` has, and more.

    Attributes
    ----------
    kind : str
        ``"matrix"``, ``"grouped"``, ``"operator"`` or ``"factored"``.
    weight : float
        Of the penalty times that of the layer.
    value : float
        f(W) with its guards, without weights.
    effective_rank : float
        exp of the entropy of σ/Σσ.
    rank : int
        Number of singular values above a hundredth of the largest.
    """

    kind: str
    weight: float
    value: float
    effective_rank: float
    rank: int

    def cells(self) -> dict[str, str]:
        """As a row of a table, by the heads of its columns."""
        plain = super().cells()
        return {
            "layer": plain.pop("parameter"),
            "shape": plain.pop("shape"),
            "weight": f"{self.weight:.3g}",
            "value": f"{self.value:.4g}",
            "norm": plain.pop("norm"),
            "eff. rank": f"{self.effective_rank:.2f}",
            "rank": str(self.rank),
            **plain,
        }


@dataclass(frozen=True)
class _Report:
    """Rows, printed as a table."""

    rows: tuple[Any, ...]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def as_dicts(self) -> list[dict[str, Any]]:
        """The rows as plain data."""
        return [asdict(row) for row in self.rows]

    def __str__(self) -> str:
        rows = [row.cells() for row in self.rows]
        lines = [tuple(rows[0]), *(tuple(row.values()) for row in rows)] if rows else [("parameter",)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines
        )


@dataclass(frozen=True)
class SpectralReport(_Report):
    """What a `SpectralPenalty` does, layer by layer.

    Attributes
    ----------
    rows : tuple of LayerReport
    """


@dataclass(frozen=True)
class JacobianReport(_Report):
    """What a `JacobianPenalty` does.

    Attributes
    ----------
    rows : tuple of ParameterReport
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
    """

    weight: float
    value: float
    norm: float
    effective_rank: float
    rank: int
    cut_off: float

    def __str__(self) -> str:
        facts = f"norm {self.norm:.4g}  eff. rank {self.effective_rank:.2f}  rank {self.rank}"
        cut_off = f"  cut off {self.cut_off:.1%}" if self.cut_off else ""
        first = f"weight {self.weight:.3g}  value {self.value:.4g}  {facts}{cut_off}"
        return f"{first}\n{super().__str__()}"


@dataclass(frozen=True)
class CompositionReport(_Report):
    """What a `CompositionPenalty` does.

    Attributes
    ----------
    rows : tuple of ParameterReport
    weight, value : float
        The penalty is weight × value, the mean of the terms.
    terms : tuple of float
        E‖J_l‖_F² of each piece. The bound is tight only where they are equal.
    """

    weight: float
    value: float
    terms: tuple[float, ...]

    def __str__(self) -> str:
        first = f"weight {self.weight:.3g}  value {self.value:.4g}"
        return f"{first}  terms {' '.join(f'{term:.4g}' for term in self.terms)}\n{super().__str__()}"


def spectral_report(
    layers: Sequence[Layer], terms: Sequence[Tensor], weight: float, gradients: Gradients
) -> SpectralReport:
    """The report of a penalty that adds weight × Σ terms, one term with its graph for each layer."""
    check_choice(gradients, "gradients", Gradients)
    return SpectralReport(
        tuple(_layer_row(layer, term, weight, gradients) for layer, term in zip(layers, terms, strict=True))
    )


def jacobian_report(
    value: Tensor,
    parameters: Mapping[str, nn.Parameter],
    moments: Moments,
    weight: float,
    included: float,
    gradients: Gradients,
) -> JacobianReport:
    """The report of a penalty that adds weight × value, with the averages of M; see `parameter_reports`."""
    s = moments.spectrum().detach()
    return JacobianReport(
        rows=parameter_reports(value, parameters, weight, included, gradients),
        weight=weight,
        value=float(value.detach()),
        norm=math.sqrt(float(moments.trace())),
        effective_rank=float(F.effective_rank(singular_values=s)),
        rank=_rank(s),
        cut_off=float(moments.cut_off()),
    )


def parameter_reports(
    value: Tensor,
    parameters: Mapping[str, nn.Parameter],
    weight: float,
    included: float,
    gradients: Gradients,
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
    check_choice(gradients, "gradients", Gradients)
    moving = {name: p for name, p in parameters.items() if p.requires_grad}
    found: Sequence[Tensor | None] = [None] * len(moving)
    if moving and value.requires_grad:
        found = torch.autograd.grad(value, list(moving.values()), allow_unused=True)
    factor = included if gradients == "objective" else 0.0
    rows = []
    for (name, p), g in zip(moving.items(), found, strict=True):
        force = weight * _norm([g])
        loss_gradient = None if p.grad is None else _norm([p.grad if g is None else p.grad - factor * g])
        norm = _norm([p.detach()])
        rows.append(
            ParameterReport(name, tuple(p.shape), norm, force, loss_gradient, _share(force, loss_gradient))
        )
    return tuple(rows)


def _layer_row(layer: Layer, term: Tensor, weight: float, gradients: Gradients) -> LayerReport:
    # The end-to-end matrix is no parameter: the force on it is all that can be said.
    moving = [p for p in layer.parameters or (layer.tensors[0],) if p.requires_grad]
    forces: Sequence[Tensor | None] = ()
    if moving:
        forces = torch.autograd.grad(weight * term, moving, retain_graph=True, allow_unused=True)
    pairs = [
        tuple(None if g is None else layer.part_of(g) for g in (p.grad if p.is_leaf else None, g))
        for p, g in zip(moving, forces, strict=True)
    ]
    force = _norm(g for _, g in pairs)
    loss_gradient = None
    if layer.parameters and pairs and all(grad is not None for grad, _ in pairs):
        included = gradients == "objective"
        loss_gradient = _norm(
            grad - g if included and g is not None else grad for grad, g in pairs if grad is not None
        )
    with torch.no_grad():
        s = layer.spectrum()
        norm = float(layer.norm())
    return LayerReport(
        name=layer.name,
        shape=layer.shape,
        norm=norm,
        force=force,
        loss_gradient=loss_gradient,
        share=_share(force, loss_gradient),
        kind=layer.kind,
        weight=weight * layer.weight,
        value=float(term.detach()) / layer.weight,
        effective_rank=float(F.effective_rank(singular_values=s)),
        rank=_rank(s),
    )


def _rank(s: Tensor) -> int:
    """Number of singular values above a hundredth of the largest."""
    return int((s > 1e-2 * s.max()).sum()) if s.numel() else 0


def _share(force: float, loss_gradient: float | None) -> float | None:
    total = force + (loss_gradient or 0.0)
    return None if loss_gradient is None or total == 0 else force / total


def _norm(tensors: Iterable[Tensor | None]) -> float:
    """Norm of several tensors together, each of which may be shared by processes, or missing."""
    total = 0.0
    for tensor in tensors:
        if tensor is not None:
            wide = tensor.float() if tensor.dtype.itemsize < 4 else tensor
            square = wide.square().sum()
            total += float(cast(Any, square).full_tensor() if is_sharded(square) else square)
    return math.sqrt(total)
