"""What a forward pass must be for each input to have a Jacobian: the same twice, and row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from overt._utils.seeds import normal
from overt.networks.batches import EMBEDDING_HINT, Batch
from overt.networks.jacobian import vector_jacobian
from overt.networks.second_order import CHECKPOINTED
from overt.networks.target import Target

_DEPENDS = (
    "so that there is no Jacobian of one input; look for batch statistics (BatchNorm without running "
    "statistics), or a batch dimension that is not the first one"
)


def first_outputs(target: Target, batch: Batch) -> Tensor:
    """The outputs in rows; a failure inside the model is told with what went in.

    Raises
    ------
    ValueError
        The forward pass fails.
    """
    try:
        raw = target.raw(batch)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if str(error).startswith(("layer:", CHECKPOINTED)):  # these speak for themselves
            raise
        shape = ", ".join(["n", *map(str, batch.x.shape[1:])])
        raise ValueError(
            f"model: its forward pass fails for inputs of shape ({shape}) and {batch.x.dtype} "
            f"({type(error).__name__}: {error}){_hint(target, batch, str(error))}"
        ) from error
    return target.mapped(raw, len(batch))


def _hint(target: Target, batch: Batch, error: str) -> str:
    model: Any = target.model
    dtypes = {p.dtype for p in model.parameters()} if isinstance(model, nn.Module) else set()
    if dtypes and batch.x.dtype not in dtypes:
        return (
            f"; its parameters are of {', '.join(sorted(map(str, dtypes)))}: convert the inputs, or the model"
        )
    by_token = hasattr(model, "get_input_embeddings") and target.forward is None and batch.name is None
    if "indices" in error or by_token:
        return f"; {EMBEDDING_HINT}"
    if batch.args or batch.named:
        return "; side inputs follow the inputs, those of a dict by name: leave out what it does not take"
    if target.forward is not None or not isinstance(model, nn.Module):
        return "; tensors that differ from input to input go into side_inputs=, to be cut with the inputs"
    return ""


def require_repeatable(y: Tensor, again: Tensor) -> None:
    """ValueError unless two passes over the same inputs agree, and depend on the inputs."""
    if not y.requires_grad:
        raise ValueError(
            "model: its outputs do not depend on the inputs by differentiable operations; look for detach(), "
            "torch.no_grad() or argmax in the forward pass"
        )
    if not agree(y, again):
        raise ValueError(
            "model: two passes over the same inputs differ, in evaluation mode too; switch its noise off, "
            "and let dropout in functions follow the mode: F.dropout(x, p, self.training)"
        )


def agree(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same but for rounding: some kernels sum in an order of their own."""
    a, b = a.detach(), b.detach()
    return a.shape == b.shape and not bool(
        (a - b).abs().max() > torch.finfo(a.dtype).eps ** 0.5 * a.abs().max()
    )


def require_independence(x: Tensor, y: Tensor) -> None:
    """ValueError if the gradient of the first or the last outputs reaches another input."""
    cotangent = normal(y.shape[1], generator=torch.Generator().manual_seed(0)).to(y)
    for own in (0, len(y) - 1) if len(y) > 1 else ():
        r = torch.zeros_like(y)
        r[own] = cotangent
        reached = vector_jacobian(y, x, r).flatten(1).abs().amax(1) > 0
        if bool(reached.sum() > reached[own]):
            raise ValueError(
                f"model: the output of one input depends on the other inputs of its batch, {_DEPENDS}"
            )


def require_same_anywhere(rows: Callable[[Batch], Tensor], batch: Batch) -> None:
    """ValueError if outputs change with an input's place in the batch, or with the inputs beside it.

    Of that gradients say nothing: of a tensor that is closed over and not cut with the inputs, of scales or
    capacities that are taken from a whole batch.
    """
    if len(batch) < 2:
        return
    y = rows(batch)
    backwards = rows(batch[torch.arange(len(batch) - 1, -1, -1, device=batch.x.device)])
    if not _same(rows, batch, y, backwards.flip(0)):
        raise ValueError(
            "model: the output of an input changes with its place in the batch; tensors that differ from "
            "input to input, such as masks and times, go into side_inputs=, to be cut with the inputs"
        )
    first, last = rows(batch[:1]), rows(batch[-1:])
    alike = first.shape[1:] == last.shape[1:] == y.shape[1:]
    if not (alike and _same(rows, batch, y, torch.cat([first, y[1:-1], last]))):
        raise ValueError(f"model: the output of an input alone differs from that in a batch, {_DEPENDS}")


def _same(rows: Callable[[Batch], Tensor], batch: Batch, y: Tensor, again: Tensor) -> bool:
    """Whether outputs agree but for what the rounding of the inputs alone does to them.

    Sums in another order differ by much where terms nearly cancel, as in kernel machines in single precision.
    """
    if agree(y, again):
        return True
    if y.shape != again.shape:
        return False
    signs = normal(batch.x.numel(), generator=torch.Generator().manual_seed(0)).sign().view(batch.x.shape)
    x = batch.x.detach()
    rounded = rows(batch.at(x + torch.finfo(x.dtype).eps * x * signs.to(x)))
    return not bool((y - again).abs().max() > 10 * (y - rounded).abs().max())
