"""Vector–Jacobian products of a batch, with the graph that a penalty on them needs."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from overt._utils.tensors import is_finite
from overt.networks.batches import Batch
from overt.networks.distributed import check_not_sharded
from overt.networks.first_look import FirstLook
from overt.networks.guard import parts_of
from overt.networks.jacobian import leaf, vector_jacobian
from overt.networks.probes import draw_probes
from overt.networks.rows import first_outputs
from overt.networks.second_order import (
    MIXING,
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
    look: FirstLook = field(default_factory=FirstLook)
    checked: bool = False

    def __call__(self, batch: Batch, y: Tensor | None, *, share: float, probes: int, seed: int) -> Tensor:
        """g in rows, (probes × n, D), float32 or wider; with a graph if gradients are on.

        Parameters
        ----------
        batch, y
            Inputs, and the model's outputs for them with their graph, or None for a forward pass here.
        share, probes
            What part of the batch is used, from the front; products for each input.
        seed
            Of the probes.

        Raises
        ------
        ValueError
            Outputs that were not computed from the inputs, depend on other inputs of the batch, differ
            between two passes, cannot be differentiated twice or are not finite.
        """
        wanted = torch.is_grad_enabled()
        used = max(1, round(share * len(batch)))
        if not self.checked:
            check_not_sharded(self.model)
            self.checked = True
        with graph_of_its_own():
            if y is None:
                cut = batch if used == len(batch) else batch[:used]
                x = leaf(cut.x)
                y = self._own_pass(cut.at(x), batch)
            else:
                x = batch.x
                y = self._given(x, y)
            y = y[:used]
            generator = torch.Generator().manual_seed(seed)
            found = [random_product(y, x, generator, graph=wanted)[: len(y)] for _ in range(probes)]
        g = torch.cat(found).flatten(1) if len(found) > 1 else found[0].flatten(1)
        if not (is_finite(g) and is_finite(y)):
            raise ValueError("the model's Jacobian is not finite on this batch; is the loss still finite?")
        return g.float() if g.dtype in (torch.float16, torch.bfloat16) else g

    def _own_pass(self, cut: Batch, batch: Batch) -> Tensor:
        parts = parts_of(self.model)
        seen = batch[:2] if len(cut) == 1 else cut  # one alone cannot tell whether it depends on others
        found = self.look(lambda z: first_outputs(self.target, seen.at(z)), seen.x, parts)
        with deterministic(parts, cut.x.device, **found._asdict()):
            return self.target(cut)

    def _given(self, x: Tensor, y: Tensor) -> Tensor:
        _check_given(self.model, x, y)
        if self.target.layer is not None:
            raise ValueError("y: the activations of a layer are penalized; leave y out")
        rows = self.target.mapped(y, len(y))
        self.look.at_outputs(x, rows, parts_of(self.model))
        return rows


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
