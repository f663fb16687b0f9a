"""CP tensors: the product against a contraction, the scale of the start, refusals."""

from __future__ import annotations

import pytest
import torch

from overt.models import CPTensor


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5), (2, 3, 4, 5), (2, 3, 2, 3, 2)])
def test_product_is_the_sum_of_rank_one_terms(shape):
    model = CPTensor(shape, 3, 0.5, seed=1, dtype=torch.float64)
    expected = torch.zeros(shape, dtype=torch.float64)
    for r in range(3):
        term = model.weights[0][:, r]
        for weight in list(model.weights)[1:]:
            term = term[..., None] * weight[:, r]
        expected += term
    torch.testing.assert_close(model.product(), expected)


def test_entries_start_at_the_scale():
    model = CPTensor((20, 20, 20), 50, 1e-2, seed=0, dtype=torch.float64)
    assert float(model.product().detach().std()) == pytest.approx(1e-2, rel=0.1)


def test_component_norms_are_those_of_the_terms():
    model = CPTensor((3, 4, 5), 2, 0.5, seed=2, dtype=torch.float64)
    a, b, c = (weight.detach() for weight in model.weights)
    terms = [torch.einsum("i,j,k->ijk", a[:, r], b[:, r], c[:, r]) for r in range(2)]
    torch.testing.assert_close(model.component_norms().detach(), torch.stack([t.norm() for t in terms]))


def test_seeded_in_any_precision():
    double, single = (CPTensor((3, 4, 5), 2, seed=0, dtype=dtype) for dtype in (torch.float64, torch.float32))
    assert single.product().dtype == torch.float32
    torch.testing.assert_close(single.weights[0], double.weights[0].float())


def test_every_factor_gets_a_gradient():
    model = CPTensor((3, 4, 5), 2, 0.5, seed=0, dtype=torch.float64)
    model.product().square().sum().backward()
    assert all(float(weight.grad.abs().max()) > 0 for weight in model.weights)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (((3,), 2), ValueError),
        ((3, 2), TypeError),
        ((("a", 3), 2), TypeError),
        (((3, 4), 0), ValueError),
        (((3, 4), 2, 0.0), ValueError),
        (((3, 4), 2, float("nan")), ValueError),
    ],
)
def test_refusals(arguments, kind):
    with pytest.raises(kind):
        CPTensor(*arguments)
