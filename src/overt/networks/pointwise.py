"""The Jacobian at each point, whole, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from overt.measures.arguments import check_count
from overt.networks.batches import Inputs
from overt.networks.guard import check_module
from overt.networks.jacobian import jacobian_blocks, require_finite_rows
from overt.networks.modes import measuring, unwrapped
from overt.networks.passes import Passes
from overt.networks.target import OutputMap, Target

__all__ = ["Model", "jacobians", "pointwise_passes"]

Model = nn.Module | Callable[[Tensor], Any]


@contextmanager
def pointwise_passes(
    model: Model,
    inputs: Inputs,
    outputs: OutputMap,
    layer: str | None,
    forward: Callable[[Any, Tensor], Any] | None,
    memory_budget: int,
) -> Iterator[Passes]:
    """Passes over the points, in chunks whose Jacobians fit the budget, the model being left as it was found.

    Raises
    ------
    TypeError, ValueError
        As for `overt.measure`.
    """
    check_count("memory_budget", memory_budget)
    model = check_module(model) if isinstance(model, nn.Module) else unwrapped(model)
    target = Target(model, outputs, layer, forward)
    with measuring(model):
        yield Passes(target, inputs, memory_budget=memory_budget, whole=True)


def jacobians(passes: Passes) -> Iterator[Tensor]:
    """Jacobians (n, K, D) of the points, chunk by chunk."""
    for x, y in passes:
        J = y.new_empty(len(x), passes.outputs, passes.input_size)
        start = 0
        for block in jacobian_blocks(passes.target, x, y):
            J[:, start : start + block.shape[1]] = block.flatten(2)
            start += block.shape[1]
        require_finite_rows(J)
        yield J.detach()
