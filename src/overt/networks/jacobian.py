"""Jacobians of each input, by products of whole batches.

An output of one input must not depend on the other inputs of the batch. Then the gradient of Σ_i y[i, k]
holds, in its i-th part, row k of the Jacobian of input i: one backward pass gives a row for each input.
Nothing here uses ``torch.func.vmap``, so every operation that can be differentiated once will do (fused
attention kernels too).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

Rows = Callable[[Tensor], Tensor]
"""A map from a batch of inputs (n, *shape) to rows of outputs (n, K)."""


def leaf(x: Tensor) -> Tensor:
    """The inputs, to differentiate with respect to; they share their memory."""
    x = x.detach()
    return (x.clone() if x.is_inference() else x).requires_grad_()


def vector_jacobian(
    y: Tensor, x: Tensor, cotangent: Tensor, *, retain: bool = True, graph: bool = False, strict: bool = False
) -> Tensor:
    """Jᵀr for each input: cotangents r (n, K) give (n, *shape), to be differentiated again with `graph`.

    Where y does not depend on x it is zero, or with `strict` a ValueError.
    """
    gradient: Tensor | None = None
    if y.requires_grad or not strict:
        (gradient,) = torch.autograd.grad(
            y, x, cotangent, retain_graph=retain, create_graph=graph, allow_unused=True
        )
    if gradient is None and strict:
        raise ValueError("x: the outputs do not depend on it")
    return torch.zeros_like(x) if gradient is None else gradient


def jacobian_rows(y: Tensor, x: Tensor) -> Iterator[Tensor]:
    """The rows J[k] of each input's Jacobian, shape (n, *shape), for k = 0 … K − 1."""
    outputs = y.shape[1]
    cotangent = torch.zeros_like(y)
    for k in range(outputs):
        cotangent[:, k] = 1
        yield vector_jacobian(y, x, cotangent, retain=k < outputs - 1)
        cotangent[:, k] = 0


def jacobian_blocks(forward: Rows, x: Tensor, y: Tensor, rows: int = 64) -> Iterator[Tensor]:
    """The Jacobian of each input in blocks of rows, shape (n, b, *shape).

    One row at a time by backward passes. Where there are more outputs than entries of an input, all of it
    at once by forward-mode passes, one for each entry, and cut in blocks of at most ``rows``; unless an
    operation has no forward mode.
    """
    columns = _columns(forward, x, y) if _wide(x[0].numel(), y.shape[1]) else None
    if columns is None:
        for row in jacobian_rows(y, x):
            yield row[:, None]
        return
    for block in torch.split(columns, rows, 1):
        yield block.reshape(*block.shape[:2], *x.shape[1:])


def _wide(size: int, outputs: int) -> bool:
    return outputs > 2 * size


def _columns(forward: Rows, x: Tensor, y: Tensor) -> Tensor | None:
    """J of each input, shape (n, K, D), a column at a time; None if an operation has no forward mode."""
    J = y.new_empty(*y.shape, x[0].numel())
    for d in range(J.shape[2]):
        u = x.new_zeros(len(x), J.shape[2])
        u[:, d] = 1
        column = _forward_mode(forward, x, u.view(x.shape))
        if column is None:
            return None
        J[:, :, d] = column
    return J


def _forward_mode(forward: Rows, x: Tensor, u: Tensor) -> Tensor | None:
    """J u, shape (n, K), or None where an operation has no forward mode."""
    with warnings.catch_warnings():
        # Torch scripts its own derivatives when the first dual number is made, by a function that it
        # deprecates.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        try:
            with torch.no_grad(), forward_ad.dual_level():
                dual = forward_ad.make_dual(x.detach(), u)  # type: ignore[no-untyped-call]
                primal, tangent = forward_ad.unpack_dual(forward(dual))  # type: ignore[no-untyped-call]
                return torch.zeros_like(primal) if tangent is None else tangent.clone()
        except torch.OutOfMemoryError:
            raise
        except (NotImplementedError, RuntimeError):
            return None


def jacobian_vector(forward: Rows, x: Tensor, u: Tensor) -> Tensor:
    """J u for each input, shape (n, K), for u of the shape of x.

    By forward-mode differentiation; where an operation has none, as the derivative of the linear map r ↦ Jᵀr.

    Raises
    ------
    ValueError
        If the model has an operation with neither.
    """
    image = _forward_mode(forward, x, u)
    return _by_two_products(forward, x, u) if image is None else image


def _by_two_products(forward: Rows, x: Tensor, u: Tensor) -> Tensor:
    x = leaf(x)
    y = forward(x)
    r = torch.zeros_like(y, requires_grad=True)
    try:
        (v,) = torch.autograd.grad(y, x, r, create_graph=True, allow_unused=True, materialize_grads=True)
        if not v.requires_grad:
            return torch.zeros_like(y).detach()
        (image,) = torch.autograd.grad(v, r, u, allow_unused=True, materialize_grads=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(
            f"method: 'lanczos' needs second derivatives, and an operation of the model has none ({error}); "
            "use method='sketch', which needs first ones"
        ) from error
    return image.detach()


def bytes_per_input(graph: int, outputs: int, size: int, *, vectors: int = 0, whole: bool = False) -> int:
    """Bytes that one more input takes in a pass: for its graph, for J, and for ``vectors`` draws.

    J takes a few rows at a time, or, with ``whole``, all of them and the copies that a decomposition makes.
    The graph is counted twice, because gradients of the activations come on top while it is gone through.
    """
    rows = 4 * outputs if whole else outputs if _wide(size, outputs) else 6
    rows += 2 * vectors
    return max(1, 2 * graph + 8 * rows * size + 8 * outputs)


def saved_bytes(forward: Rows, x: Tensor) -> int:
    """Bytes that the graph of a pass keeps for the backward pass."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _y = forward(leaf(x))
    return sum(storages.values())


def require_finite_rows(rows: Tensor) -> None:
    """Refuse a Jacobian with NaN or infinite entries, naming the input.

    Raises
    ------
    ValueError
        If there are any.
    """
    finite = torch.isfinite(rows.flatten(1)).all(1)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        raise ValueError(
            f"model: the Jacobian of {int((~finite).sum())} of {len(rows)} inputs of a batch has NaN or "
            f"infinite entries (the first is input {first}); look for a square root, a norm or a logarithm "
            "at 0, or an overflow of half precision"
        )
