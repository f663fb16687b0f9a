"""Sign descent and normalized gradient descent against their formulas."""

from __future__ import annotations

import pytest
import torch

from overt.training import make_optimizer, optimizer_names


def gradients(params):
    return [4 * p**3 for p in params]


def start():
    generator = torch.Generator().manual_seed(1)
    return [torch.nn.Parameter(torch.randn(3, 2, generator=generator, dtype=torch.float64)) for _ in range(2)]


@pytest.mark.parametrize("name", ["signdescent", "normalizedgd"])
def test_steps_equal_the_formula(name):
    params = start()
    expected = [p.detach().clone() for p in params]
    optimizer = make_optimizer(name, params, 0.05)
    for _ in range(6):
        optimizer.zero_grad()
        sum((p**4).sum() for p in params).backward()
        optimizer.step()
        found = gradients(expected)
        length = sum((g**2).sum() for g in found).sqrt()
        steps = [g.sign() if name == "signdescent" else g / length for g in found]
        expected = [p - 0.05 * step for p, step in zip(expected, steps, strict=True)]
    for p, e in zip(params, expected, strict=True):
        torch.testing.assert_close(p.detach(), e, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["signdescent", "normalizedgd"])
def test_neither_feels_the_scale_of_the_gradient(name):
    moved = []
    for scale in (1e-6, 1.0, 1e6):
        params = start()
        optimizer = make_optimizer(name, params, 0.1)
        (scale * sum((p**4).sum() for p in params)).backward()
        optimizer.step()
        moved.append(torch.cat([p.detach().reshape(-1) for p in params]))
    torch.testing.assert_close(moved[0], moved[1])
    torch.testing.assert_close(moved[2], moved[1])


@pytest.mark.parametrize("name", ["signdescent", "normalizedgd"])
def test_no_gradient_no_step(name):
    (w,) = params = [torch.nn.Parameter(torch.ones(2, dtype=torch.float64))]
    optimizer = make_optimizer(name, params, 0.1)
    optimizer.step()
    w.grad = torch.zeros_like(w)
    optimizer.step()
    assert torch.equal(w.detach(), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("name", ["signdescent", "normalizedgd"])
def test_names_and_refusals(name):
    assert name in optimizer_names()
    with pytest.raises(ValueError, match="lr must be a finite number > 0"):
        make_optimizer(name, start(), -1.0)
    with pytest.raises(ValueError, match="has no option momentum"):
        make_optimizer(name, start(), 0.1, momentum=0.9)
