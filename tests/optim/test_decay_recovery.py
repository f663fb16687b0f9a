"""Gradient descent with the decoupled step finds the rank by itself; without the step it does not."""

from __future__ import annotations

import pytest
import torch

from overt import functional as F
from overt.models import DeepLinear
from overt.optim import SpectralDecay
from overt.problems import matrix_completion


def descended(seed, length, *, steps=1500, n=100, rank=5, entries=2000):
    """Error and numerical rank after plain gradient descent on a completion problem, without any refit."""
    problem = matrix_completion((n, n), rank=rank, n_observed=entries, seed=seed, min_per_line=rank)
    model = DeepLinear((n, n), scale=1e-3, seed=seed, dtype=torch.float64)
    descent = torch.optim.SGD(model.parameters(), lr=1.0)
    decay = SpectralDecay(descent, model, length=length, schedule=lambda step: 1 - step / steps)
    for _ in range(steps):
        decay.zero_grad()
        (problem.loss(model.product()) * (entries / 2)).backward()
        decay.step()
    W = model.product().detach()
    s = F.singular_values(W)
    return problem.error(W), int((s > 1e-3 * s[0]).sum())


@pytest.mark.slow
@pytest.mark.parametrize("length", [0.02, 0.04])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_rank_is_found_without_adam_depth_refit_or_tuning(seed, length):
    error, rank = descended(seed, length)
    assert rank == 5
    assert error < 1e-2


@pytest.mark.slow
def test_steps_five_times_as_long_do_no_harm():
    """Without the guard on the norm the matrix grows to four times its size, with an error above 1."""
    error, rank = descended(0, 0.1)
    assert rank == 5
    assert error < 2e-2


@pytest.mark.slow
def test_without_the_step_nothing_is_found():
    error, rank = descended(0, 0.0)
    assert error > 0.5
    assert rank > 90
