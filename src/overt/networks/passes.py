"""Forward passes over all inputs, checked, in chunks that fit a memory budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from overt.networks.batches import EMBEDDING_HINT, Inputs, differentiable_batches
from overt.networks.jacobian import (
    Rows,
    bytes_per_input,
    jacobian_blocks,
    jacobian_vector,
    leaf,
    require_finite_rows,
    vector_jacobian,
)
from overt.networks.modules import device_of
from overt.networks.target import Target


def wide_dtype(device: torch.device) -> torch.dtype:
    """The dtype that sums are kept in: float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


class Passes:
    """Forward passes, chunk by chunk; the first input is looked at when it is made.

    It can be gone through once, or, with ``keep``, as often as wanted: then all inputs are held. With
    ``whole``, chunks leave room for the whole Jacobians of their inputs; with ``vectors``, for as many draws.

    Attributes
    ----------
    shape : tuple of int
        Shape of one input.
    outputs : int
        Number K of outputs.
    chunk : int
        Largest number of inputs of one pass.
    count : int
        Number of inputs, where they are held.
    device, dtype
        Of the inputs.
    """

    def __init__(
        self,
        target: Target,
        inputs: Inputs,
        *,
        memory_budget: int,
        vectors: int = 0,
        whole: bool = False,
        max_samples: int | None = None,
        keep: bool = False,
    ) -> None:
        self.target = target
        self._source = differentiable_batches(inputs, device=device_of(target.model), max_samples=max_samples)
        first = next(self._source, None)
        if first is None:
            raise ValueError("inputs: there is no batch; a generator that was used up gives none")
        self._first: Tensor | None = first
        self.shape = tuple(first.shape[1:])
        self.device, self.dtype = first.device, first.dtype
        self.outputs = _verify(target, first)
        self._verified = len(first) > 1  # one input alone cannot tell whether inputs depend on one another
        per_input = bytes_per_input(target, first, vectors=vectors, whole=whole)
        self.chunk = max(1, memory_budget // per_input)
        self._kept = [first, *self._source] if keep else None
        self.count = sum(map(len, self._kept)) if self._kept else 0

    @property
    def input_size(self) -> int:
        """Number D of entries of one input."""
        return math.prod(self.shape)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs (x, y): inputs to differentiate with respect to, and their outputs (n, K)."""
        source: Iterable[Tensor]
        if self._kept is not None:
            source = self._kept
        elif self._first is None:
            raise ValueError("the inputs were gone through already")
        else:
            source, self._first = chain([self._first], self._source), None
        for batch in source:
            if not self._verified and len(batch) > 1:
                _verify(self.target, batch)
                self._verified = True
            for part in torch.split(batch, self.chunk):
                x = leaf(part)
                yield x, self.target(x)


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


def verify_adjoint(forward: Rows, x: Tensor, u: Tensor, r: Tensor) -> None:
    """Check ⟨J u, r⟩ = ⟨u, Jᵀr⟩ on two inputs, for u of the shape of x and r of the shape of the outputs.

    An operation that hides that it cannot be differentiated twice gives J u = 0, and would go unnoticed.

    Raises
    ------
    ValueError
        If they differ.
    """
    x, u, r = leaf(x[:2]), u[:2], r[:2]
    image, adjoint = jacobian_vector(forward, x, u), vector_jacobian(forward(x), x, r)
    one, other = (image * r).double().sum(), (u * adjoint).double().sum()
    size = image.double().norm() * r.double().norm() + u.double().norm() * adjoint.double().norm()
    if bool((one - other).abs() > torch.finfo(x.dtype).eps ** 0.5 * size):
        raise ValueError(
            "method: 'lanczos' needs forward-mode or second derivatives, and those of an operation of the "
            "model do not agree with its first; use method='sketch'"
        )


def _verify(target: Target, x: Tensor) -> int:
    """Check on two inputs that the forward pass can be measured; returns its number K of outputs.

    Raises
    ------
    ValueError
        If the forward pass fails, or if its outputs have no gradient, differ between two passes, or depend on
        the other inputs of the batch.
    """
    x = leaf(x[:2])
    y = _first_pass(target, x)
    if not y.requires_grad:
        raise ValueError(
            "model: its outputs do not depend on the inputs by differentiable operations; look for detach(), "
            "torch.no_grad() or argmax in the forward pass"
        )
    first, again = y.detach(), target(x).detach()
    if not bool(torch.isfinite(first).all()):
        raise ValueError("model: its outputs are NaN or infinite; measure a model that has not diverged")
    # Not to the last bit, because some kernels sum in an order of their own.
    tolerance = torch.finfo(first.dtype).eps ** 0.5 * first.abs().max()
    if bool((first - again).abs().max() > tolerance):
        raise ValueError(
            "model: two passes over the same inputs differ; switch its noise or dropout off before measuring"
        )
    _require_independence(x, y)
    return y.shape[1]


def _first_pass(target: Target, x: Tensor) -> Tensor:
    """The outputs; a failure inside the model is told with what went in."""
    try:
        return target(x)
    except (torch.OutOfMemoryError, TypeError, ValueError):  # these speak for themselves
        raise
    except Exception as error:
        shape = ", ".join(["n", *map(str, x.shape[1:])])
        dtypes = (
            {p.dtype for p in target.model.parameters()} if isinstance(target.model, nn.Module) else set()
        )
        hint = ""
        if dtypes and x.dtype not in dtypes:
            known = ", ".join(sorted(map(str, dtypes)))
            hint = f"; its parameters are of {known}: convert the inputs, or the model"
        elif "indices" in str(error):
            hint = f"; {EMBEDDING_HINT}"
        raise ValueError(
            f"model: its forward pass fails for inputs of shape ({shape}) and {x.dtype} "
            f"({type(error).__name__}: {error}){hint}"
        ) from error


def _require_independence(x: Tensor, y: Tensor) -> None:
    for own, other in ((0, 1), (1, 0)) if len(x) == 2 else ():
        cotangent = torch.zeros_like(y)
        cotangent[own] = 1
        gradient = vector_jacobian(y, x, cotangent)
        require_finite_rows(gradient)
        if bool((gradient[other] != 0).any()):
            raise ValueError(
                "model: the output of one input depends on the other inputs of its batch, so that there is "
                "no Jacobian of one input; look for batch statistics (BatchNorm without running statistics), "
                "or a batch dimension that is not the first one"
            )
