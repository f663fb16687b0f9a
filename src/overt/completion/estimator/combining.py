"""Models made of several: a weighted sum, and an exact model with some lines filled by another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from overt.completion.bayes import Predictive
from overt.completion.estimator.selected import Selected
from overt.completion.refit import balanced
from overt.completion.result import Triplet
from overt.problems import Offsets

Array = NDArray[Any]
_ROUNDING = 1e-13  # singular values below this share of the largest are dropped


def stacked(predictions: Array, values: Array) -> Array:
    """Non-negative weights (members,) that predict held-out values (k,) best, of ``predictions`` (k,
    members).

    Both are differences to a baseline, so weights whose sum is below one shrink towards it.
    """
    weights: Array = nnls(predictions, values)[0]
    weights /= max(1.0, weights.sum())
    return weights


def combine(parts: Sequence[Selected], weights: Sequence[float]) -> Selected:
    """The sum of models with weights; evidence and limits are those of the first."""
    left = torch.cat(
        [w * p.completion.U * p.completion.singular_values for p, w in zip(parts, weights, strict=True)], 1
    )
    right = torch.cat([p.completion.Vt.mT for p in parts], 1)
    offsets = [
        sum(w * getattr(p.offsets, name) for p, w in zip(parts, weights, strict=True))
        for name in ("mean", "row", "col")
    ]
    heaviest = parts[
        max(range(len(parts)), key=lambda i: -1.0 if parts[i].predictive is None else weights[i])
    ]
    noise = float(
        np.sqrt(sum(w * p.noise_std**2 for p, w in zip(parts, weights, strict=True)) / sum(weights))
    )
    held = [(p.predictive, w) for p, w in zip(parts, weights, strict=True) if p.predictive is not None]
    shares = np.concatenate([np.full(len(p.draws), w / len(p.draws)) for p, w in held])
    first = replace(parts[0].completion, **_fields(_clean(balanced(left, right))))
    return replace(
        heaviest,
        completion=first,
        offsets=Offsets(*offsets),
        noise_std=noise,
        predictive=Predictive(tuple(draw for p, _ in held for draw in p.draws), shares / shares.sum()),
    )


def filled(exact: Selected, noisy: Selected, rows: Tensor, cols: Tensor) -> Selected:
    """The exact model with the lines marked by ``rows`` (m,) and ``cols`` (n,) taken from the noisy one.

    Offsets of the noisy model become part of the low-rank matrix.
    """
    U, s, Vt = exact.completion.triplet
    offsets = noisy.offsets.factored()
    left = torch.cat([noisy.completion.U * noisy.completion.singular_values, offsets.U], 1)
    right = torch.cat([noisy.completion.Vt.mT, offsets.V], 1)
    row, col = (~rows).to(left)[:, None], (~cols).to(left)[:, None]
    whole = torch.cat([row * U * s, left, -row * left], 1), torch.cat([col * Vt.mT, right, col * right], 1)
    point = _clean(balanced(*whole))
    lines = int(rows.sum()), int(cols.sum())
    message = (
        f"exact at rank {exact.completion.rank} but for {lines[0]} row(s) and {lines[1]} column(s) that the "
        f"observed entries do not determine; there {noisy.completion.message}"
    )
    return replace(
        exact,
        completion=replace(exact.completion, message=message, **_fields(point)),
        predictive=noisy.predictive,
        limits=noisy.limits,
        column_noise=noisy.column_noise,
        certain=(~rows, ~cols),
    )


def _fields(point: Triplet) -> dict[str, Any]:
    return dict(zip(("U", "singular_values", "Vt"), point, strict=True))


def _clean(point: Triplet) -> Triplet:
    U, s, Vt = point
    kept = s > _ROUNDING * s[:1]
    return U[:, kept], s[kept], Vt[kept]
