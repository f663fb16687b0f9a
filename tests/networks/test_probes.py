"""Random probes and products, against what defines them: signs, E[v vᵀ] = I, the dense Jacobian."""

from __future__ import annotations

import pytest
import torch

from overt.networks.jacobian import jacobian_blocks, jacobian_vector
from overt.networks.probes import ORTHOGONAL_UP_TO, draw_probes, draw_signs


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_many_outputs_get_independent_signs():
    outputs = ORTHOGONAL_UP_TO + 1
    probes = draw_probes(40, outputs, generator=generator(), like=torch.zeros((), dtype=torch.float64))
    assert probes.shape == (40, outputs)
    assert probes.dtype == torch.float64
    assert set(probes.unique().tolist()) == {-1.0, 1.0}
    assert probes.mean().abs().item() < 5 / (40 * outputs) ** 0.5


def test_signs_are_signs_of_the_dtype_and_shape_asked_for():
    signs = draw_signs(torch.zeros(50, 9, dtype=torch.float16), generator())
    assert (signs.shape, signs.dtype) == ((50, 9), torch.float16)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(signs.double().mean().item()) < 0.25


@pytest.mark.parametrize("outputs", [1, 3, 8])
def test_few_outputs_get_whole_blocks_of_an_orthogonal_matrix(outputs):
    probes = draw_probes(3 * outputs, outputs, generator=generator(), like=torch.zeros(()))
    for block in probes.double().split(outputs):
        torch.testing.assert_close(block.T @ block, outputs * torch.eye(outputs).double(), atol=1e-5, rtol=0)
    assert draw_probes(2 * outputs + 1, outputs, generator=generator(), like=torch.zeros(())).shape[0] == (
        2 * outputs + 1
    )
    assert not torch.equal(probes[:outputs], probes[outputs : 2 * outputs])


class Square(torch.autograd.Function):
    """x², without a derivative in forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


MAPS = {
    "forward mode": lambda x, A: (x * x) @ A,
    "two products": lambda x, A: Square.apply(x) @ A,
    "does not depend on x": lambda x, A: A[:1].expand(len(x), -1),
    "does not depend on x, two products": lambda x, A: Square.apply(A)[:1].expand(len(x), -1),
}


@pytest.mark.parametrize("name", MAPS)
def test_jacobians_times_vectors_are_those_of_the_dense_jacobian(name):
    x, u, A = (
        torch.randn(*shape, generator=generator(3), dtype=torch.float64) for shape in ((4, 3), (4, 3), (3, 9))
    )
    A.requires_grad_()
    dense = torch.einsum("bi,ij->bji", 2 * x, A) if "not" not in name else torch.zeros(4, 9, 3).double()
    found = jacobian_vector(lambda z: MAPS[name](z, A), x, u)
    torch.testing.assert_close(found, torch.einsum("bji,bi->bj", dense, u))


@pytest.mark.parametrize("outputs", [6, 7, 9])  # more than twice the inputs: by columns
@pytest.mark.parametrize("rows", [1, 4, 64])
def test_blocks_of_rows_are_those_of_the_dense_jacobian(outputs, rows):
    x = torch.randn(4, 3, generator=generator(4), dtype=torch.float64).requires_grad_()
    A = torch.randn(3, outputs, generator=generator(5), dtype=torch.float64)
    forward = lambda z: (z * z) @ A  # noqa: E731
    blocks = list(jacobian_blocks(forward, x, forward(x), rows))
    torch.testing.assert_close(torch.cat(blocks, 1), torch.einsum("bi,ij->bji", 2 * x, A))
    assert all(block.shape[1] <= rows for block in blocks)
