"""Truncated models: fewer numbers, and nearly the same outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from overt._utils.checks import check_integer, check_number
from overt.measures.compression.evaluating import evaluator
from overt.measures.compression.shrinking import Shrinkable
from overt.networks.modules import check_module

DEFAULT_TOLERANCE = 0.01
MAX_EVALUATIONS = 300


def compress(
    model: nn.Module,
    *,
    tolerance: float | None = None,
    ranks: Mapping[str, int] | int | None = None,
    energy: float | None = None,
    evaluate: Any = None,
    max_evaluations: int = MAX_EVALUATIONS,
) -> nn.Module:
    """A new model whose layers are replaced by products of two thinner ones; the original is untouched.

    A weight (m, n) is replaced by its truncated singular value decomposition of rank r where r(m + n) < mn,
    and left as it is elsewhere. ``nn.Linear`` becomes two; ``nn.Conv1d/2d/3d`` becomes one with the same
    kernel, stride, padding and groups, to r channels (for each group), and one of kernel size 1. W_r is the
    closest matrix of rank r to W in every unitarily invariant norm (Eckart & Young 1936, Mirsky 1960); that
    the *outputs* are close is not implied, which is why accuracy is measured.

    Kept: dtype, device, mode, ``requires_grad``, biases, buffers, and weights that several layers share
    (their factors are shared). Layers of other kinds, parametrized weights, layers with hooks and weights
    tied to something else, such as an embedding, are left alone; the report says why.

    Parameters
    ----------
    model
        Any module that can be copied.
    tolerance
        Truncate as much as a search finds possible with at most this loss of accuracy, see
        `effective_parameters`; needs `evaluate`. This is the default, with 0.01, if `evaluate` is given
        alone.
    ranks
        Rank for each layer by name, others being left alone; or one rank for all layers.
    energy
        Keep this share of Σσ² in each layer, in (0, 1].
    evaluate
        A function model → accuracy; a pair (inputs, targets); or a DataLoader of such pairs. Optional with
        `ranks` and `energy`, for the report.
    max_evaluations
        Bound on the number of models that the search evaluates.

    Returns
    -------
    torch.nn.Module
        With a `CompressionReport` as its attribute ``compression``. Its state dict fits models of the same
        ranks.

    Raises
    ------
    TypeError, ValueError
        More than one of `tolerance`, `ranks` and `energy`, or none; a value out of its range; an unknown
        layer; an `evaluate` that gives no finite number; a model that cannot be copied or has no layer to
        factor.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import compress
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    >>> small = compress(model, ranks={"0": 4})
    >>> small.compression.ranks, small.compression.parameters_before, small.compression.parameters_after
    ({'0': 4}, 4810, 1226)
    """
    model = check_module(model)
    score = None if evaluate is None else evaluator(evaluate)
    max_evaluations = check_integer(max_evaluations, "max_evaluations", least=1)
    options = {"tolerance": tolerance, "ranks": ranks, "energy": energy}
    given = [name for name, value in options.items() if value is not None]
    if not given and score is not None:
        tolerance = DEFAULT_TOLERANCE
    elif len(given) != 1:
        raise ValueError(
            "give one of tolerance (with evaluate), ranks and energy; got "
            f"{', '.join(given) or 'none of them'}"
        )
    shrinkable = Shrinkable(model)
    if tolerance is not None:
        tolerance = check_number(tolerance, "tolerance", least=0)
        if score is None:
            raise ValueError(
                "tolerance is a loss of accuracy, so evaluate is needed; or give ranks= or energy="
            )
        return shrinkable.within(tolerance, score, max_evaluations).model
    chosen = shrinkable.at_energy(energy) if ranks is None else shrinkable.named(ranks)
    before = None if score is None else score(model)
    return shrinkable.build(chosen, score, before)[0]
