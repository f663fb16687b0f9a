"""The nuclear norm of a composed map's Jacobian by two squared Frobenius norms."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from overt.penalties.arguments import number_in, whole_number
from overt.penalties.base import Penalty
from overt.penalties.passes import deterministic
from overt.penalties.probes import draw_probes

__all__ = ["CompositionPenalty"]


class CompositionPenalty(Penalty):
    """weight × ½ E_x[‖J_g(h(x))‖_F² + ‖J_h(x)‖_F²] for f = g∘h, an upper bound of E_x‖J_f(x)‖_*.

    Over all ways to write f as g∘h the least value is E_x‖J_f(x)‖_* itself (Scarvelis & Solomon 2024),
    as for matrices ‖W‖_* = min ½(‖U‖_F² + ‖V‖_F²) over W = UVᵀ. It is pointwise: the Jacobian's
    nuclear norm at each x, averaged, where `JacobianPenalty` with p = 1 takes the nuclear norm of what the
    points have in common, √M.

    Parameters
    ----------
    inner, outer
        h and g; the network is ``outer(inner(x))``. `nn.Sequential` can be cut: ``model[:k], model[k:]``.
    weight
        Finite number ≥ 0. May be changed at any time.
    estimator
        ``"vjp"``: ‖J‖_F² = E‖Jᵀv‖² with random v (Hutchinson 1990), one vector–Jacobian product of each map;
        ``"denoising"``: E‖f(x + σε) − f(x)‖²/σ² with Gaussian ε, two forward passes and no second derivative.
        Its bias vanishes with σ (Scarvelis & Solomon 2024, Theorem 3.2; it is o(1) where f is differentiable,
        and of order σ² only where f is smooth to third order).
    sigma
        σ of the denoising estimator, in units of the inputs of each map.
    seed
        Of the random vectors.

    Raises
    ------
    TypeError, ValueError
        A parameter out of its range.

    Examples
    --------
    >>> import torch
    >>> from overt.penalties import CompositionPenalty
    >>> h, g = torch.nn.Linear(6, 4), torch.nn.Linear(4, 3)
    >>> CompositionPenalty(h, g, weight=1e-2).penalty(torch.randn(10, 6)).ndim
    0
    """

    calls: Tensor

    def __init__(
        self,
        inner: nn.Module,
        outer: nn.Module,
        weight: float = 1e-2,
        *,
        estimator: Literal["vjp", "denoising"] = "vjp",
        sigma: float = 1e-2,
        seed: int = 0,
    ) -> None:
        super().__init__(inner, weight)
        if not isinstance(outer, nn.Module):
            raise TypeError(f"outer must be a torch.nn.Module, got {type(outer).__name__}")
        if estimator not in ("vjp", "denoising"):
            raise ValueError(f"estimator must be 'vjp' or 'denoising', got {estimator!r}")
        self._outer = (outer,)
        self.estimator = estimator
        self.sigma = number_in(sigma, "sigma", 0, float("inf"), low_open=True, high_open=True)
        self.seed = whole_number(seed, "seed", least=0)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def value(self, x: Tensor | None = None) -> Tensor:
        """The penalty without its weight, a 0-d tensor; `x` is a batch (n, ...) of floating-point inputs."""
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2 or len(x) == 0:
            raise TypeError("x: expected a floating-point batch (n, ...) of at least one input")
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.calls) * 1009)
        self.calls += 1
        inner, outer = self.model, self._outer[0]
        with torch.enable_grad(), deterministic(inner), deterministic(outer):
            if self.estimator == "denoising":
                z = inner(x)
                return (
                    self._denoised(inner, x, z, generator) + self._denoised(outer, z, None, generator)
                ) / 2
            x = x.detach().requires_grad_()
            z = inner(x)
            return (_frobenius(z, x, generator) + _frobenius(outer(z), z, generator)) / 2

    def penalty(self, x: Tensor | None = None) -> Tensor:
        """weight × value on a batch of inputs, to be added to the loss."""
        return self._zero() if self.weight == 0.0 else self.weight * self.value(x)

    def forward(self, x: Tensor | None = None) -> Tensor:
        """The same as `penalty`."""
        return self.penalty(x)

    def describe(self) -> dict[str, Any]:
        """The settings as plain data."""
        return {**super().describe(), "estimator": self.estimator, "sigma": self.sigma}

    def _denoised(self, f: nn.Module, x: Tensor, y: Tensor | None, generator: torch.Generator) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
        change = f(x + self.sigma * noise) - (f(x) if y is None else y)
        squares: Tensor = change.flatten(1).square().sum(1)
        return squares.mean() / self.sigma**2


def _frobenius(y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
    """E‖J‖_F² of the map from x to y, by one vector–Jacobian product."""
    y = y.flatten(1)
    v = draw_probes(len(y), y.shape[1], generator=generator, like=y)
    (g,) = torch.autograd.grad(y, x, v, create_graph=True)
    return g.flatten(1).square().sum(1).mean()
