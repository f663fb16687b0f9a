"""The reports of the Jacobian and the composition penalty."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt import functional as F
from overt.penalties import CompositionPenalty, JacobianPenalty


def setting(size=6):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(size, 9), nn.Tanh(), nn.Linear(9, 3)).double()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(12, size, dtype=torch.float64, generator=generator)
    return model, x, torch.randn(12, 3, dtype=torch.float64, generator=generator)


def penalties(model):
    return {
        "jacobian": JacobianPenalty(model, p=1.0, weight=0.3),
        "seldom": JacobianPenalty(model, p=1.0, basis="identity", weight=0.3, every=2),
        "composition": CompositionPenalty(model, 0.3, cuts=2),
    }


def gradients(model):
    return [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("kind", ["jacobian", "seldom", "composition"])
def test_the_shares_are_those_of_the_step(kind):
    model, x, y = setting()
    penalty = penalties(model)[kind]
    nn.functional.mse_loss(model(x), y).backward()
    of_loss = gradients(model)
    for call in range(3):
        model.zero_grad()
        (nn.functional.mse_loss(model(x), y) + penalty.penalty(x)).backward()
        of_all = gradients(model)
        report = penalty.report(x)
        assert len(report) == 4
        for row, a, b in zip(report, of_all, of_loss, strict=True):
            assert row.loss_gradient == pytest.approx(b.norm().item(), rel=1e-6)
            if kind != "seldom" or call % 2 == 0:  # else there was nothing, and the mean force is told
                times = penalty.every if kind == "seldom" else 1
                assert row.force == pytest.approx((a - b).norm().item() / times, rel=1e-6, abs=1e-12)
            assert row.share == pytest.approx(row.force / (row.force + row.loss_gradient))


@pytest.mark.parametrize("kind", ["jacobian", "composition"])
def test_gradients_of_the_loss_alone_and_none_at_all(kind):
    model, x, y = setting()
    penalty = penalties(model)[kind]
    assert all(row.share is None and row.loss_gradient is None for row in penalty.report(x))
    nn.functional.mse_loss(model(x), y).backward()
    before = gradients(model)
    rows = penalty.report(x, gradients="loss").rows
    assert [row.loss_gradient for row in rows] == pytest.approx([g.norm().item() for g in before])
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(model), strict=True))
    with pytest.raises(ValueError, match="gradients must be"):
        penalty.report(x, gradients="both")


def test_the_facts_are_those_of_the_map():
    torch.manual_seed(0)
    model = nn.Linear(6, 3, bias=False).double()
    x = torch.randn(9, 6, dtype=torch.float64)
    penalty = JacobianPenalty(model, p=1.0, weight=0.3)
    penalty.penalty(x)
    report = penalty.report(x)
    W = model.weight.detach()
    assert report.value == pytest.approx(F.nuclear_norm(W).item(), rel=1e-2)
    assert report.norm == pytest.approx(W.norm().item())
    assert report.effective_rank == pytest.approx(F.effective_rank(W).item())
    assert report.rank == 3
    assert report.cut_off == 0
    assert report.weight == 0.3
    assert "eff. rank" in str(report)
    assert str(report).splitlines()[2].startswith("weight ")
    assert report.as_dicts()[0]["shape"] == (3, 6)


def test_the_terms_of_a_composition_are_those_of_its_maps():
    torch.manual_seed(0)
    h, g = nn.Linear(6, 4, bias=False).double(), nn.Linear(4, 3, bias=False).double()
    penalty = CompositionPenalty([h, g], 0.3)
    x = torch.randn(12, 6, dtype=torch.float64)
    report = penalty.report(x)
    assert report.terms == pytest.approx([part.weight.square().sum().item() for part in (h, g)])
    assert report.value == pytest.approx(sum(report.terms) / 2)
    assert [row.name for row in report] == ["0.weight", "1.weight"]
    assert "terms" in str(report)
    frozen = CompositionPenalty([h.requires_grad_(False), g])
    assert [row.name for row in frozen.report(x)] == ["1.weight"]
