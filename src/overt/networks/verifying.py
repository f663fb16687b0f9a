"""Checks on two inputs that a forward pass can be measured at all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from overt.networks.batches import EMBEDDING_HINT
from overt.networks.jacobian import Forward, jacobian_vector, leaf, require_finite_rows, vector_jacobian
from overt.networks.target import Target

__all__ = ["verify", "verify_adjoint"]


def verify(target: Target, x: Tensor) -> int:
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


def verify_adjoint(forward: Forward, x: Tensor, u: Tensor, r: Tensor) -> None:
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
