"""The count of parameters, and that a model of that size exists."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt.measures import compress, effective_parameters
from overt.measures.compression.rank_search import search
from overt.measures.compression.shrinking import Shrinkable


def problem(seed=0):
    """A network of hidden low rank with small noise on top, and the data that it was made for."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    model = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    for layer in (model[0], model[2]):
        m, n = layer.weight.shape
        layer.weight.data = draw(m, 2) @ draw(2, n) / n**0.5 + 1e-3 * draw(m, n)
        layer.bias.data = 0.1 * draw(m)
    x = draw(300, 24)
    return model, x, model(x).argmax(1)


def test_the_count_is_proved_by_the_compressed_model():
    model, x, y = problem()
    result = effective_parameters(model, (x, y), tolerance=0.02)
    small = compress(model, ranks=result.ranks, evaluate=(x, y))
    assert small.compression.parameters_after == result.total == sum(p.numel() for p in small.parameters())
    assert small.compression.accuracy_after == result.accuracy_after >= result.accuracy_before - 0.02
    assert result.total < 0.4 * result.total_before
    assert result.total == result.other + sum(layer.numbers for layer in result.layers.values())
    assert result.other == 32 + 32 + 4
    assert [result.layers[name].rank for name in ("0", "2")] == [2, 2]
    for layer in result.layers.values():
        assert layer.alone_numbers <= layer.numbers <= layer.entries
    assert not result.exhausted
    assert str(result.total) in str(result)
    assert result.to_record()["layers"]["0"]["rank"] == 2


def test_more_tolerance_never_costs_more():
    model, x, y = problem(1)
    totals = [effective_parameters(model, (x, y), tolerance=t).total for t in (0.0, 0.05, 1.0)]
    assert totals[0] >= totals[1] >= totals[2]
    assert totals[2] == 68 + (24 + 32) + (32 + 32) + (32 + 4)  # everything is allowed: rank 1


def test_an_incompressible_model_keeps_all_its_numbers():
    model = nn.Linear(6, 6)
    model.weight.data = torch.eye(6)
    x = torch.eye(6)
    result = effective_parameters(model, (x, torch.arange(6)), tolerance=0.0)
    assert (result.total, result.ranks) == (42, {})


def test_the_search_ends_with_the_best_so_far_and_leaves_the_weights():
    model, x, y = problem(2)
    before = [p.clone() for p in model.parameters()]
    calls = []

    def evaluate(net):
        calls.append(1)
        return float((net(x).argmax(1) == y).double().mean())

    result = effective_parameters(model, evaluate, tolerance=0.02, max_evaluations=12)
    assert result.exhausted
    assert result.evaluations == 12
    assert len(calls) == 12 + 1  # and the model that was built
    assert result.accuracy_after >= result.accuracy_before - 0.02
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_found_ranks_were_all_evaluated_and_within_the_tolerance():
    model, x, y = problem(3)
    shrinkable = Shrinkable(model)

    def accuracy():
        return float((model(x).argmax(1) == y).double().mean())

    weights = [p.clone() for p in model.parameters()]
    found = search(shrinkable.layers, accuracy, 0.02, 300)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    best = min(found.good, key=found.good.__getitem__)
    with torch.no_grad():
        for layer, rank in zip(shrinkable.layers, best, strict=True):
            layer.module.weight.copy_(layer.truncated(rank))
    assert float((model(x).argmax(1) == y).double().mean()) >= found.before - 0.02


def test_a_function_that_falls_and_rises_again_gives_a_valid_result():
    """Accuracy that is not monotone in the rank: only full rank and rank 3 are good."""
    model = nn.Linear(20, 20, bias=False)

    def evaluate(net):
        W = net.weight
        rank = int(torch.linalg.matrix_rank(W, rtol=1e-5))
        return 1.0 if rank in (3, 20) else 0.0

    result = effective_parameters(model, evaluate, tolerance=0.0)
    assert result.accuracy_after == 1.0
    assert result.total in (120, 400)


def test_convolutions_are_counted_as_matrices():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Flatten())
    result = effective_parameters(model, lambda m: 1.0, tolerance=0.0)
    assert result.total == 8 + 27


def test_an_evaluation_that_is_not_deterministic_is_noticed():
    values = iter([1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="not deterministic"):
        effective_parameters(nn.Linear(4, 4), lambda m: next(values), tolerance=0.0)
