"""How many numbers a trained model needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from overt._utils.checks import check_integer, check_number
from overt.measures.compression.compressing import DEFAULT_TOLERANCE, MAX_EVALUATIONS
from overt.measures.compression.evaluating import evaluator
from overt.measures.compression.shrinking import Shrinkable
from overt.networks.modules import check_module


@dataclass(frozen=True)
class LayerParameters:
    """Of one layer.

    Attributes
    ----------
    rank, numbers
        In the truncated model: r(m + n), or mn where the layer is left as it is.
    alone_rank, alone_numbers
        The least that a bisection found with all other layers as they are.
    full_rank, entries
        Before.
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
    total : int
        Numbers in the smallest model found.
    total_before : int
        Numbers in the model.
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
        Models that were evaluated by the search.
    exhausted : bool
        The search was ended by `max_evaluations`: more evaluations may give fewer numbers.
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
        """What to give to ``overt.compress(model, ranks=…)`` for the truncated model."""
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
    tolerance: float = DEFAULT_TOLERANCE,
    *,
    max_evaluations: int = MAX_EVALUATIONS,
) -> EffectiveParameters:
    """The fewest numbers found that keep a model's accuracy within a tolerance, by layer and in all.

    A weight (m, n) at rank r costs r(m + n) numbers, or mn if that is fewer; a kernel (out, in, kh, kw) is
    the matrix (out, in·kh·kw). Everything else costs what it is. Weights are truncated at their leading
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
    larger than need be, never wrong.

    Parameters
    ----------
    model
        Untouched; a copy is worked on.
    evaluate
        A function model → accuracy (or any number of which more is better); a pair (inputs, targets); or a
        DataLoader of such pairs.
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
    tolerance = check_number(tolerance, "tolerance", least=0)
    max_evaluations = check_integer(max_evaluations, "max_evaluations", least=1)
    shrinkable = Shrinkable(check_module(model))
    _, report, ranks, found = shrinkable.within(tolerance, evaluator(evaluate), max_evaluations)
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
