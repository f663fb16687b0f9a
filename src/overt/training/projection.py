"""Keeping a matrix at its rank under any optimizer, by tangent gradients and a retraction."""

from __future__ import annotations

import torch

from overt.linalg import Factored, orthonormal_basis, svd
from overt.linalg.spectrum import widen
from overt.penalties.layers import Layer


def can_project(layer: Layer) -> bool:
    """Whether the rank of the layer is the rank of a parameter that can be set."""
    if layer.kind == "factored":  # the two factors of one adapter, not of several experts, nor three
        ranks = [len(layer.parameters[0]), layer.parameters[-1].shape[1]]
        return layer.moves and len(layer.parameters) == 2 and ranks == [layer.tensors[0].shape[-1]] * 2
    held = layer.cut is not None or any(layer.tensors[0] is p for p in layer.parameters)
    return layer.moves and layer.kind == "matrix" and held


class FixedRank:
    """A matrix W that is kept among the matrices of rank k ≥ 0; for an adapter B A, its factor B.

    With orthonormal bases Q of the columns and P of the rows of W, a gradient G has the tangent part
    G − (I − QQᵀ) G (I − PPᵀ), which is 0 where W is stationary among the matrices of its rank. The optimizer
    must see this part only: one that scales entries, such as Adam, turns the normal part, which does not
    vanish there, into a move along the manifold. `can_project` must hold of the layer.
    """

    def __init__(self, layer: Layer, rank: int) -> None:
        W = layer.matrix()
        W = Factored(widen(W.U), widen(W.V)) if isinstance(W, Factored) else widen(W)
        with torch.no_grad():
            self.left = svd(W)[0][:, :rank]
        self.retract(layer)

    @torch.no_grad()
    def retract(self, layer: Layer) -> None:
        """Put W back to its rank, in place, by one step of subspace iteration.

        Q becomes an orthonormal basis of W Wᵀ Q, and W becomes Q Qᵀ W. If Q was the best basis before W
        changed, it is now within the change times (σ_{k+1}/σ_k)² of the best one.
        """
        self.layer, self.parameter = layer, layer.parameters[-1]
        held = layer.part_of(self.parameter.detach())
        W = widen(held).flatten(1)
        if self.left.shape[1] == 0:
            held.zero_()
            self.right = W.new_zeros(W.shape[1], 0)
            return
        moved = W.mT @ self.left
        if layer.kind == "factored":
            A = widen(layer.parameters[0].detach()).flatten(1)
            moved = A @ (A.mT @ moved)
        self.left = orthonormal_basis(W @ moved)
        rows = W.mT @ self.left
        self.right = orthonormal_basis(rows)
        held.copy_((self.left @ rows.mT).view_as(held))

    @torch.no_grad()
    def project_gradient(self) -> None:
        """Replace the gradient of the parameter by its tangent part."""
        if self.parameter.grad is None:
            return
        gradient = self.layer.part_of(self.parameter.grad)
        normal = gradient.to(self.left.dtype).flatten(1)
        normal = normal - self.left @ (self.left.mT @ normal)
        normal = normal - (normal @ self.right) @ self.right.mT
        gradient.sub_(normal.to(gradient.dtype).view_as(gradient))
