"""Vector–Jacobian products of a batch, with the graph that a penalty on them needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overt._utils.tensors import is_finite
from overt.networks.distributed import check_not_sharded
from overt.networks.jacobian import leaf, vector_jacobian
from overt.networks.probes import draw_probes
from overt.networks.second_order import (
    MIXING,
    check_twice_differentiable,
    deterministic,
    graph_of_its_own,
)
from overt.networks.target import Target


@dataclass(eq=False)
class Products:
    """g = J(x)ᵀ v for random v with E[v vᵀ] = I.

    Attributes
    ----------
    target : Target
        The map, of the model without wrappers.
    model : Module
        The model as it was given.
    """

    target: Target
    model: nn.Module
    checked: bool = False

    def __call__(self, x: Tensor, y: Tensor | None, *, share: float, probes: int, seed: int) -> Tensor:
        """g in rows, (probes × n, D), float32 or wider; with a graph if gradients are on.

        Parameters
        ----------
        x, y
            Inputs, and the model's outputs for them with their graph, or None for a forward pass here.
        share, probes
            What part of the batch is used, from the front; products for each input.
        seed
            Of the probes, and of what the model draws in that forward pass.

        Raises
        ------
        ValueError
            Outputs that were not computed from `x`, cannot be differentiated twice or are not finite.
        """
        wanted = torch.is_grad_enabled()
        used = max(1, round(share * len(x)))
        if not self.checked:
            check_not_sharded(self.model)
        with graph_of_its_own():
            if y is None:
                x = leaf(x[:used])
                y = self._own_pass(x, seed)
            else:
                y = self._given(x, y)
            self.checked = True
            y = y[:used]
            generator = torch.Generator().manual_seed(seed)
            found = [random_product(y, x, generator, graph=wanted)[: len(y)] for _ in range(probes)]
        g = torch.cat(found).flatten(1) if len(found) > 1 else found[0].flatten(1)
        if not (is_finite(g) and is_finite(y)):
            raise ValueError("the model's Jacobian is not finite on this batch; is the loss still finite?")
        return g.float() if g.dtype in (torch.float16, torch.bfloat16) else g

    def _own_pass(self, x: Tensor, seed: int) -> Tensor:
        with deterministic(self.model, seed=seed, device=x.device):
            return self.target(x)

    def _given(self, x: Tensor, y: Tensor) -> Tensor:
        _check_given(self.model, x, y)
        if self.target.layer is not None:
            raise ValueError("y: the activations of a layer are penalized; leave y out")
        if not self.checked:
            check_twice_differentiable(y)
        return self.target.mapped(y, len(y))


def random_product(y: Tensor, x: Tensor, generator: torch.Generator, *, graph: bool) -> Tensor:
    """J(x)ᵀ v for each input, of the shape of x, v being drawn by `draw_probes`.

    Raises
    ------
    ValueError
        The outputs do not depend on x.
    """
    v = draw_probes(len(y), y.shape[1], generator=generator, like=y)
    return vector_jacobian(y, x, v, graph=graph, strict=True)


def _check_given(model: nn.Module, x: Tensor, y: Tensor) -> None:
    if not x.requires_grad or not isinstance(y, Tensor) or y.grad_fn is None or len(y) != len(x):
        raise ValueError(
            "y: expected the model's outputs for x with their graph, x having required gradients before the "
            "forward pass; or leave y out"
        )
    mixing = [m for m in model.modules() if isinstance(m, MIXING) and m.training]
    if mixing:
        raise ValueError(
            f"y: {type(mixing[0]).__name__} in training mode mixes the inputs of a batch; leave y out, and "
            "the penalty runs a forward pass of its own"
        )
