"""Deep diagonal linear networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from overt._utils.checks import check_flag, check_integer
from overt.models.base import check_scale, parameters_of


class DeepDiagonal(nn.Module):
    """Linear functional x ↦ ⟨w, x⟩ with powers of parameters as coordinates.

    w = u^L − v^L element by element (Woodworth et al. 2020, "Kernel and rich regimes in overparametrized
    models"), or w = u^L where `signed` is False.

    Parameters
    ----------
    dim
        Number d of coordinates.
    depth
        The power L.
    scale
        End-to-end scale: u and v start at scale^{1/L} in every coordinate, so u^L = v^L = scale. The signed
        network starts at w = 0, the unsigned one at w = scale. (The α of Woodworth et al. is scale^{1/L}.)
    signed
        Whether there is a v. Without it and with even L, w stays non-negative.
    dtype, device
        Of the parameters; torch's defaults where not given.

    Attributes
    ----------
    u, v : torch.nn.Parameter
        Vectors (d,); v is None where `signed` is False.

    Raises
    ------
    TypeError, ValueError
        `dim` or `depth` not a positive int, `scale` not a finite positive number, `dtype` not real floating.

    Examples
    --------
    >>> import torch
    >>> from overt.models import DeepDiagonal
    >>> model = DeepDiagonal(3, depth=2, scale=0.25)
    >>> model.u.detach(), model.product().detach()
    (tensor([0.5000, 0.5000, 0.5000]), tensor([0., 0., 0.]))
    """

    def __init__(
        self,
        dim: int,
        depth: int = 2,
        scale: float = 1e-3,
        signed: bool = True,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.dim = check_integer(dim, "dim", least=1)
        self.depth = check_integer(depth, "depth", least=1)
        self.scale = check_scale(scale)
        self.signed = check_flag(signed, "signed")
        root = torch.full((self.dim,), self.scale ** (1 / self.depth), dtype=torch.float64)
        self.u: nn.Parameter = parameters_of([root], self.scale, dtype, device)[0]
        self.v = nn.Parameter(self.u.detach().clone()) if signed else None

    @property
    def weights(self) -> list[nn.Parameter]:
        """The parameters [u, v], or [u]."""
        return [self.u] if self.v is None else [self.u, self.v]

    def product(self) -> Tensor:
        """The vector w (d,)."""
        positive = self.u**self.depth
        return positive if self.v is None else positive - self.v**self.depth

    def forward(self, x: Tensor) -> Tensor:
        """⟨w, x⟩ for x of shape (..., d), giving (...)."""
        return x @ self.product()

    def extra_repr(self) -> str:
        return f"dim={self.dim}, depth={self.depth}, scale={self.scale:g}, signed={self.signed}"
