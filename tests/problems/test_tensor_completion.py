"""Tensor completion problems: measurement and adjoint, the generator, refusals."""

from __future__ import annotations

import pytest
import torch

from overt.problems import TensorCompletionProblem, tensor_completion


def test_measures_the_entries_that_the_indices_name():
    problem = tensor_completion((3, 4, 5), rank=1, n_observed=20, seed=0)
    entries = torch.stack([problem.truth[tuple(place)] for place in problem.indices.tolist()])
    torch.testing.assert_close(problem.measure(problem.truth), entries)
    torch.testing.assert_close(problem.y, entries)
    assert float(problem.loss(problem.truth)) == 0.0
    assert problem.error(problem.truth) == 0.0
    assert problem.error(torch.zeros_like(problem.truth)) == 1.0
    assert problem.max_abs_observed == float(problem.y.abs().max())


def test_generator_is_seeded_and_of_the_wanted_rank():
    one, two = (tensor_completion((4, 5, 6), rank=2, n_observed=30, seed=3) for _ in range(2))
    assert torch.equal(one.truth, two.truth)
    assert torch.equal(one.indices, two.indices)
    assert not torch.equal(one.truth, tensor_completion((4, 5, 6), rank=2, n_observed=30, seed=4).truth)
    assert int(torch.linalg.matrix_rank(one.truth.reshape(4, 30))) == 2
    assert one.indices.unique(dim=0).shape[0] == 30
    assert float(one.truth.square().mean()) == pytest.approx(1.0)


PLACES = torch.tensor([[0, 0, 0], [1, 0, 1]])
VALUES = torch.tensor([1.0, 2.0])


@pytest.mark.parametrize(
    ("indices", "y", "shape", "kind", "words"),
    [
        (PLACES.float(), VALUES, (2, 2, 2), TypeError, "integer"),
        (PLACES[:, :2], VALUES, (2, 2, 2), ValueError, "shape"),
        (PLACES + 1, VALUES, (2, 2, 2), ValueError, "lie in"),
        (PLACES[[0, 0]], VALUES, (2, 2, 2), ValueError, "repeat an entry"),
        (PLACES[:0], VALUES[:0], (2, 2, 2), ValueError, "no entry"),
        (PLACES, VALUES / 0, (2, 2, 2), ValueError, "infinite"),
        (PLACES, VALUES, (2, 2, 0), ValueError, "shape"),
    ],
)
def test_refusals(indices, y, shape, kind, words):
    with pytest.raises(kind, match=words):
        TensorCompletionProblem(indices, y, shape)


def test_generator_refuses():
    with pytest.raises(ValueError, match="n_observed must be an integer from 1 to 8, got 9"):
        tensor_completion((2, 2, 2), rank=1, n_observed=9, seed=0)
    with pytest.raises(ValueError, match="rank"):
        tensor_completion((2, 2, 2), rank=0, n_observed=3, seed=0)
    with pytest.raises(ValueError, match="shape"):
        TensorCompletionProblem(PLACES, VALUES, (2, 2, 2), truth=torch.zeros(2, 2))
    problem = tensor_completion((2, 2, 2), rank=1, n_observed=3, seed=0)
    with pytest.raises(ValueError, match="shape"):
        problem.measure(torch.zeros(2, 2, dtype=torch.float64))
