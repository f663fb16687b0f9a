"""What a spectral penalty does to each layer of a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from overt import functional as F
from overt.networks.distributed import is_sharded
from overt.penalties.layers import Layer

if TYPE_CHECKING:
    from overt.penalties.spectral import SpectralPenalty

__all__ = ["LayerReport", "SpectralReport"]


@dataclass(frozen=True)
class LayerReport:
    """One layer of a :class:`SpectralReport`.

    Attributes
    ----------
    name : str
    kind : str
        ``"matrix"``, ``"operator"`` or ``"factored"``.
    shape : tuple of int
    weight : float
        Of the penalty times that of the layer.
    value : float
        f(W) with its guards, without weights.
    norm : float
        ‖W‖_F.
    effective_rank : float
        exp of the entropy of σ/Σσ.
    rank : int
        Number of singular values above a hundredth of the largest.
    force : float
        ‖∂ penalty / ∂ parameters‖, weights included.
    loss_gradient : float or None
        ‖∂ loss / ∂ parameters‖; None where there is no gradient.
    share : float or None
        force / (force + loss_gradient): near 0 the penalty does nothing, near 1 it rules.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    weight: float
    value: float
    norm: float
    effective_rank: float
    rank: int
    force: float
    loss_gradient: float | None
    share: float | None


@dataclass(frozen=True)
class SpectralReport:
    """What a penalty does, layer by layer; printed as a table.

    Attributes
    ----------
    rows : tuple of LayerReport
    """

    rows: tuple[LayerReport, ...]

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def as_dicts(self) -> list[dict[str, Any]]:
        """The rows as plain data."""
        return [asdict(row) for row in self.rows]

    def __str__(self) -> str:
        head = ("layer", "shape", "weight", "value", "norm", "eff. rank", "rank", "force", "share")
        lines = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )


def spectral_report(penalty: SpectralPenalty, gradients: Literal["objective", "loss"]) -> SpectralReport:
    """See ``SpectralPenalty.report``."""
    if gradients not in ("objective", "loss"):
        raise ValueError(f"gradients must be 'objective' or 'loss', got {gradients!r}")
    with torch.enable_grad():
        layers = penalty.penalized()
        terms = penalty.terms(layers)
        rows = []
        for layer, term in zip(layers, terms, strict=True):
            # The end-to-end matrix is no parameter: the force on it is all that can be said.
            sources = layer.parameters or (layer.tensors[0],)
            moving = [p for p in sources if p.requires_grad]
            forces: tuple[Tensor | None, ...] = ()
            if moving:
                forces = torch.autograd.grad(
                    penalty.weight * term, moving, retain_graph=True, allow_unused=True
                )
            rows.append(_row(penalty.weight, layer, term, moving, forces, gradients))
    return SpectralReport(tuple(rows))


def _row(
    weight: float,
    layer: Layer,
    term: Tensor,
    moving: list[Tensor],
    forces: tuple[Tensor | None, ...],
    gradients: str,
) -> LayerReport:
    pairs = [(p.grad if p.is_leaf else None, g) for p, g in zip(moving, forces, strict=True)]
    force = _norm([g for _, g in pairs])
    loss_gradient = None
    if layer.parameters and pairs and all(grad is not None for grad, _ in pairs):
        included = gradients == "objective"
        of_loss = [grad - g if included and g is not None else grad for grad, g in pairs if grad is not None]
        loss_gradient = _norm(of_loss)
    total = force + (loss_gradient or 0.0)
    with torch.no_grad():
        s = layer.spectrum()
        norm = float(layer.norm())
    return LayerReport(
        layer.name,
        layer.kind,
        layer.shape,
        weight * layer.weight,
        float(term.detach()) / layer.weight,
        norm,
        float(F.effective_rank(singular_values=s)),
        int((s > 1e-2 * s.max()).sum()) if s.numel() else 0,
        force,
        loss_gradient,
        None if loss_gradient is None or total == 0 else force / total,
    )


def _norm(gradients: Sequence[Tensor | None]) -> float:
    total = 0.0
    for gradient in gradients:
        if gradient is not None:
            square = (
                gradient.float().square().sum() if gradient.dtype.itemsize < 4 else gradient.square().sum()
            )
            total += float(cast(Any, square).full_tensor() if is_sharded(square) else square)
    return math.sqrt(total)


def _cells(row: LayerReport) -> tuple[str, ...]:
    return (
        row.name,
        "×".join(map(str, row.shape)),
        f"{row.weight:.3g}",
        f"{row.value:.4g}",
        f"{row.norm:.4g}",
        f"{row.effective_rank:.2f}",
        str(row.rank),
        f"{row.force:.3g}",
        "–" if row.share is None else f"{row.share:.1%}",
    )
