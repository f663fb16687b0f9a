"""Truncated models, with fewer numbers and nearly the same outputs, and how few numbers a model needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from overt._utils.checks import check_integer, check_number
from overt.measures.compression.evaluating import evaluator
from overt.measures.compression.shrinking import Shrinkable
from overt.networks.modules import check_module

_TOLERANCE = 0.01
_EVALUATIONS = 300


def compress(
    model: nn.Module,
    *,
    tolerance: float | None = None,
    ranks: Mapping[str, int] | int | None = None,
    energy: float | None = None,
    evaluate: Any = None,
    max_evaluations: int = _EVALUATIONS,
) -> nn.Module:
    """A new model whose layers are replaced by products of two thinner ones; the original is untouched.

    A weight (m, n) is replaced by its truncated singular value decomposition of rank r where r(m + n) < mn,
    and left as it is elsewhere. ``nn.Linear`` becomes two; ``nn.Conv1d/2d/3d`` becomes one with the same
    kernel, stride, padding and groups, to r channels (for each group), and one of kernel size 1. W_r is the
    closest matrix of rank r to W in every unitarily invariant norm (Eckart & Young 1936, Mirsky 1960); that
    the *outputs* are close does not follow, so accuracy is measured.

    Kept: dtype, device, mode, ``requires_grad``, biases, buffers, and weights that several layers share
    (their factors are shared). Layers of other kinds, parametrized weights, layers with hooks and weights
    tied to something else, such as an embedding, are left alone; the report says why.

    Parameters
    ----------
    model
        Any module that can be copied.
    tolerance
        Largest accepted loss of accuracy: truncate as much as the search of `effective_parameters` finds
        possible. Needs `evaluate`; 0.01 by default if `evaluate` is given alone.
    ranks
        Rank for each layer by name, others being left alone; or one rank for all layers.
    energy
        Keep this share of Σσ² in each layer, in (0, 1].
    evaluate
        As for `effective_parameters`. With `ranks` and `energy` it is optional, for the report.
    max_evaluations
        Bound on the number of models that the search evaluates.

    Returns
    -------
    torch.nn.Module
        Its attribute ``compression`` is a `CompressionReport`. Its state dict fits models of the same ranks.

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
        tolerance = _TOLERANCE
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


@dataclass(frozen=True)
class LayerParameters:
    """Ranks of one layer, and how many numbers its weight takes.

    Attributes
    ----------
    rank, numbers
        In the truncated model: r(m + n) numbers, or mn if the layer is left as it is.
    alone_rank, alone_numbers
        The smallest that a bisection found with all other layers as they are.
    full_rank, entries
        In the original model.
    """

    rank: int
    numbers: int
    alone_rank: int
    alone_numbers: int
    full_rank: int
    entries: int


@dataclass(frozen=True)
class EffectiveParameters:
    """The effective number of parameters of a model; an upper bound, see `effective_parameters`.

    Attributes
    ----------
    total, total_before : int
        Numbers in the smallest model found, and in the original one.
    layers : dict of LayerParameters
        By layer. A weight that several layers share is under its first name only.
    other : int
        Numbers that are never truncated: biases, normalization, embeddings, and what cannot be factored. Part
        of `total`.
    accuracy_before, accuracy_after : float
        Of the model, and of the truncated one, built and evaluated.
    tolerance : float
        Allowed loss of accuracy.
    evaluations : int
        Models that the search evaluated.
    exhausted : bool
        `max_evaluations` ended the search: more evaluations may give fewer numbers.
    """

    total: int
    total_before: int
    layers: dict[str, LayerParameters]
    other: int
    accuracy_before: float
    accuracy_after: float
    tolerance: float
    evaluations: int
    exhausted: bool

    @property
    def ranks(self) -> dict[str, int]:
        """Ranks of the factored layers: ``overt.compress(model, ranks=…)`` builds the truncated model."""
        return {name: layer.rank for name, layer in self.layers.items() if layer.numbers < layer.entries}

    def to_record(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"at most {self.total} of {self.total_before} parameters keep accuracy {self.accuracy_before:.4f}"
            f" within {self.tolerance:g} ({self.accuracy_after:.4f}); {self.evaluations} models evaluated"
        )


def effective_parameters(
    model: nn.Module,
    evaluate: Any,
    tolerance: float = _TOLERANCE,
    *,
    max_evaluations: int = _EVALUATIONS,
) -> EffectiveParameters:
    """The fewest numbers found that keep a model's accuracy within a tolerance, by layer and in all.

    A weight (m, n) at rank r costs r(m + n) numbers, or mn if that is fewer; a kernel (out, in, kh, kw) is
    the matrix (out, in·kh·kw). All other parameters count in full. Weights are truncated at their leading
    singular values, without training.

    **What the number is.** An upper bound of the fewest numbers in this class of models: the truncated model
    exists, ``overt.compress(model, ranks=result.ranks)`` builds it, and its accuracy is `accuracy_after`. It
    is not the minimum: the search is greedy (below), truncation ignores the data, and training after
    truncation, other factorizations, sparsity and fewer bits could do with less. It says nothing about
    accuracy on other data than those of `evaluate`: the choice of ranks is fitted to them, so judge the
    truncated model on data held out from both training and this search. On n examples a tolerance below 1/n
    means no change at all.

    **The search.** (1) For each layer alone, the smallest rank by bisection. (2) For all layers together, the
    best by bisection of three families: equal lost share of Σσ², equal threshold on σ/σ₁, and equal powers of
    the ranks of (1). (3) From the best, layer after layer by bisection, the costliest first, until a round
    saves nothing. A bisection assumes that accuracy falls with the rank; where it does not, the result is
    larger than necessary, never wrong.

    Parameters
    ----------
    model
        Untouched; a copy is worked on.
    evaluate
        A function model → accuracy, or any number of which more is better; or a pair (inputs, targets), or a
        DataLoader of such pairs, for the share of examples whose largest output is the target.
    tolerance
        Largest accepted loss of accuracy, ≥ 0.
    max_evaluations
        Bound on the number of models evaluated. If it ends the search, the best so far is returned.

    Raises
    ------
    TypeError, ValueError
        As for `overt.compress`.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import effective_parameters
    >>> W = torch.outer(torch.arange(1.0, 9.0), torch.arange(1.0, 9.0))
    >>> model = torch.nn.Linear(8, 8, bias=False)
    >>> model.weight.data = W
    >>> x = torch.randn(50, 8)
    >>> result = effective_parameters(model, (x, (x @ W.T).argmax(1)), tolerance=0.0)
    >>> result.total, result.total_before, result.ranks
    (16, 64, {'': 1})
    """
    model, score = check_module(model), evaluator(evaluate)
    tolerance = check_number(tolerance, "tolerance", least=0)
    max_evaluations = check_integer(max_evaluations, "max_evaluations", least=1)
    shrinkable = Shrinkable(model)
    _, report, ranks, found = shrinkable.within(tolerance, score, max_evaluations)
    assert report.accuracy_after is not None
    alone = found.alone or [layer.full_rank for layer in shrinkable.layers]
    layers = {
        layer.name: LayerParameters(
            rank=rank,
            numbers=layer.price(rank),
            alone_rank=least,
            alone_numbers=layer.price(least),
            full_rank=layer.full_rank,
            entries=layer.entries,
        )
        for layer, rank, least in zip(shrinkable.layers, ranks, alone, strict=True)
    }
    return EffectiveParameters(
        total=report.parameters_after,
        total_before=report.parameters_before,
        layers=layers,
        other=shrinkable.other,
        accuracy_before=found.before,
        accuracy_after=report.accuracy_after,
        tolerance=tolerance,
        evaluations=found.evaluations,
        exhausted=found.exhausted,
    )
