"""How inputs are multiplied: by a symmetric matrix, or entry by entry."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overt._utils.checks import check_sizes, is_integer, message
from overt.features.powers import reweighting_root, root_of_values


class Scale(nn.Module):
    """Multiplies each input by one tensor, entry by entry.

    Parameters
    ----------
    factor : Tensor
        Of the shape of an input, or of its last dimensions.
    """

    factor: Tensor

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, x: Tensor) -> Tensor:
        """x · factor."""
        return x * self.factor

    def extra_repr(self) -> str:
        """The shape of the factor."""
        return str(tuple(self.factor.shape))


@dataclass(frozen=True, eq=False)
class Weighting:
    """Inputs times M^{α/2}.

    Attributes
    ----------
    basis
        ``"eigen"``: inputs, or their last dimensions, flattened, times a matrix; ``"identity"``: entry by
        entry.
    root
        float64, shape (D, D), or that of the last dimensions.
    shape
        Of the last dimensions, which have weights of their own.
    """

    basis: str
    root: Tensor
    shape: tuple[int, ...]

    @classmethod
    def of(cls, M: Tensor, alpha: float, basis: str, shape: tuple[int, ...]) -> Weighting:
        """The step for M as `moment` gives it."""
        if basis == "eigen":
            return cls(basis, reweighting_root(M, alpha, basis), shape)
        return cls(basis, root_of_values(M, alpha, M.numel()), shape)  # images have no room for diag(M)

    def __call__(self, X: Tensor) -> Tensor:
        """Inputs (n, …) multiplied, in their own precision."""
        root = self.root.to(X)
        if self.basis == "identity":
            return X * root
        return (X.flatten(-len(self.shape)) @ root).view_as(X)

    def module(self, dtype: torch.dtype, device: torch.device | None) -> nn.Module:
        """The same as a frozen layer: linear without bias, or `Scale`."""
        root = self.root.to(device=device, dtype=dtype)
        if self.basis == "identity":
            return Scale(root)
        linear = nn.Linear(1, 1, bias=False, device="meta")  # draws nothing
        linear.in_features, linear.out_features = root.shape
        linear.weight = nn.Parameter(root.clone(), requires_grad=False)
        if len(self.shape) == 1:
            return linear
        return nn.Sequential(nn.Flatten(-len(self.shape)), linear, nn.Unflatten(-1, self.shape))


def moment(rows: Tensor, basis: str, shape: tuple[int, ...]) -> Tensor:
    """Σ JᵀJ from rows of Jacobians (r, …), float64, summed over the dimensions that share their weights.

    The matrix (D, D) over the entries of the last dimensions, ``shape``; in the identity basis its diagonal,
    of that shape.
    """
    rows = rows.double()
    if basis == "identity":
        return rows.square().reshape(-1, *shape).sum(0)
    rows = rows.flatten(-len(shape)).flatten(0, -2)
    return rows.mT @ rows


def own_shape(dims: object, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of the dimensions that have weights of their own: all, or the last ones that are named.

    Raises
    ------
    TypeError, ValueError
        ``dims`` is no sequence of the last dimensions of an input.
    """
    if dims is None:
        return shape
    sizes = (dims,) if is_integer(dims) else dims
    remedy = "name the last dimensions of an input, such as -1 or (-2, -1)"
    if not isinstance(sizes, (tuple, list)) or not sizes or not all(map(is_integer, sizes)):
        raise TypeError(message("dims", "integers", dims, remedy))
    named = sorted(d + len(shape) if d < 0 else d for d in sizes)
    if named != list(range(len(shape) - len(named), len(shape))) or len(named) > len(shape):
        raise ValueError(message("dims", f"the last of {len(shape)} dimensions", dims, remedy))
    return check_sizes(shape[-len(named) :], "dims")
