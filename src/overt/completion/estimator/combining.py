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
    factors = [part.completion.factors for part in parts]
    left = torch.cat([w * U for (U, _), w in zip(factors, weights, strict=True)], 1)
    right = torch.cat([V for _, V in factors], 1)
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
    first = parts[0].completion.of_factors(left, right, cut=_ROUNDING)
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
    lines = int(rows.sum()), int(cols.sum())
    message = (
        f"exact at rank {exact.completion.rank} but for {lines[0]} row(s) and {lines[1]} column(s) that the "
        f"observed entries do not determine; there {noisy.completion.message}"
    )
    U, V = exact.completion.factors
    offsets = noisy.offsets.factored()
    left, right = (
        torch.cat(both, 1) for both in zip(noisy.completion.factors, (offsets.U, offsets.V), strict=True)
    )
    row, col = (~rows).to(left)[:, None], (~cols).to(left)[:, None]
    whole = torch.cat([row * U, left, -row * left], 1), torch.cat([col * V, right, col * right], 1)
    completion = replace(exact.completion.of_factors(*whole, cut=_ROUNDING), message=message)
    return replace(
        exact,
        completion=completion,
        predictive=noisy.predictive,
        limits=noisy.limits,
        column_noise=noisy.column_noise,
        certain=(~rows, ~cols),
    )
