"""What a spectral penalty says about its work."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from overt import functional as F
from overt.penalties import SpectralPenalty


def setting():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(12, 5)).double()
    return model, torch.randn(7, 2, 6).double(), torch.randn(7, 5).double()


@pytest.mark.parametrize("gradients", ["objective", "loss"])
def test_rows(gradients):
    model, x, y = setting()
    penalty = SpectralPenalty(model, weight=0.1, layer_weights={"2": 2.0})
    loss = (model(x) - y).square().mean()
    weights = [model[0].weight, model[2].weight]
    of_loss = torch.autograd.grad(loss, weights, retain_graph=True)
    of_penalty = torch.autograd.grad(penalty.penalty(), weights)
    (loss + penalty.penalty() if gradients == "objective" else loss).backward()
    report = penalty.report(gradients=gradients)
    assert [row.name for row in report] == ["0.weight", "2.weight"]
    for row, W, g, h in zip(report, weights, of_loss, of_penalty, strict=True):
        matrix = W.detach().flatten(1)
        assert row.shape == tuple(matrix.shape)
        assert row.value == pytest.approx(F.normalized_nuclear_norm(matrix).item())
        assert row.norm == pytest.approx(torch.linalg.matrix_norm(matrix).item())
        assert row.effective_rank == pytest.approx(F.effective_rank(matrix).item())
        assert row.force == pytest.approx(h.norm().item())
        assert row.loss_gradient == pytest.approx(g.norm().item())
        assert row.share == pytest.approx(h.norm().item() / (h.norm() + g.norm()).item())
    assert [row.weight for row in report] == [0.1, 0.2]
    assert report.as_dicts()[0]["name"] == "0.weight"
    assert len(report) == 2
    lines = str(report).splitlines()
    assert len(lines) == 3
    assert "3×6" in lines[1]
    assert "%" in lines[2]


def test_without_gradients_and_of_product():
    model, _, _ = setting()
    report = SpectralPenalty(model, conv="operator", grid=5).report()
    assert [row.kind for row in report] == ["operator", "matrix"]
    assert report.rows[0].share is None
    assert "–" in str(report)
    chain = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 5, bias=False)).double()
    (row,) = SpectralPenalty(chain, of="product").report()
    assert (row.name, row.shape, row.rank, row.share) == ("product", (5, 4), 3, None)
    assert row.force > 0
    with pytest.raises(ValueError, match="gradients must be 'objective' or 'loss'"):
        SpectralPenalty(chain).report(gradients="all")
