"""The nuclear norm of a composed map's Jacobian by two squared Frobenius norms."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from overt._utils.checks import check_choice, check_number, check_seed
from overt._utils.tensors import is_finite
from overt.networks.batches import check_inputs
from overt.networks.distributed import check_not_sharded
from overt.networks.jacobian import leaf
from overt.networks.modules import check_module, unwrapped
from overt.networks.probes import seed_of_call
from overt.networks.products import random_product
from overt.networks.second_order import deterministic, eager, graph_of_its_own
from overt.penalties.base import Penalty
from overt.penalties.reports import CompositionReport, Gradients, parameter_reports

Estimator = Literal["vjp", "denoising"]


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
        estimator: Estimator = "vjp",
        sigma: float = 1e-2,
        seed: int = 0,
    ) -> None:
        super().__init__(inner, weight)
        check_module(outer, "outer")
        self._outer = (outer,)
        self.estimator: Estimator = check_choice(estimator, "estimator", Estimator)
        self.sigma = check_number(sigma, "sigma", above=0)
        self.seed = check_seed(seed)
        self._copied = False
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    @eager
    def value(self, x: Tensor | None = None) -> Tensor:
        """The penalty without its weight, a 0-d tensor; `x` is a batch (n, ...) of floating-point inputs.

        Nothing is counted: the draws are those of the next call of `penalty`.
        """
        inner, outer = self.terms(x, int(self.calls))
        return (inner + outer) / 2

    @eager
    def penalty(self, x: Tensor | None = None) -> Tensor:
        """weight × value on a batch of inputs, to be added to the loss; new draws at each call.

        Calls under ``no_grad``, as in a validation loop, do not count.

        Raises
        ------
        TypeError, ValueError
            Inputs that are no floating-point batch, outputs that do not depend on them or are not finite, or
            with ``estimator="vjp"`` a model that is sharded by FSDP.
        """
        if self.weight == 0.0:
            return self._zero()
        value = self.value(x)
        if torch.is_grad_enabled():
            self.calls += 1
        return self.weight * value

    def terms(self, x: Tensor | None, call: int) -> tuple[Tensor, Tensor]:
        """E‖J_h‖_F² and E‖J_g‖_F² on a batch, with the draws of the call of that number."""
        x = check_inputs(x)
        wanted = torch.is_grad_enabled()
        seed = seed_of_call(self.seed, call)
        generator = torch.Generator().manual_seed(seed)
        h, g = unwrapped(self.model), unwrapped(self._outer[0])
        denoising = self.estimator == "denoising"
        with graph_of_its_own(wanted or not denoising), deterministic(h, g, seed=seed, device=x.device):
            if not denoising:
                x = leaf(x)
                check_not_sharded(h, g)
            z = _output(h(x.clone()), "inner")
            before = z._version
            inner = None if denoising else _frobenius(z, x, generator, wanted)
            y = _output(g(z.clone() if self._copied else z), "outer")
            if z._version != before and not self._copied:
                self._copied = True  # g works in place; others are spared the copy
                return self.terms(x, call)
            if not is_finite(y):
                raise ValueError(
                    "the model's outputs are not finite on this batch; is the loss still finite?"
                )
            if inner is None:
                return self._denoised(h, x, z, generator), self._denoised(g, z, y, generator)
            return inner, _frobenius(y, z, generator, wanted)

    def forward(self, x: Tensor | None = None) -> Tensor:
        """The same as `penalty`."""
        return self.penalty(x)

    @eager
    def report(self, x: Tensor, *, gradients: Gradients = "objective") -> CompositionReport:
        """What the penalty does: its two terms, and its share of each parameter's gradient.

        Call it between ``backward`` and the optimizer's step. Nothing is changed.

        Parameters
        ----------
        x
            The batch of the step, for forward passes with the draws of the last call of `penalty`.
        gradients
            What the parameters' ``.grad`` hold: the gradient of loss plus penalty, or that of the loss alone.
            Without gradients the shares are None.
        """
        with torch.enable_grad():
            inner, outer = self.terms(x, max(0, int(self.calls) - 1))
            value = (inner + outer) / 2
        parts = {"inner": unwrapped(self.model), "outer": unwrapped(self._outer[0])}
        parameters = {
            f"{part}.{name}": p for part, module in parts.items() for name, p in module.named_parameters()
        }
        included = self.weight if int(self.calls) else 0.0
        rows = parameter_reports(value, parameters, self.weight, included, gradients)
        facts = {"value": value, "inner": inner, "outer": outer}
        return CompositionReport(
            weight=self.weight, rows=rows, **{name: float(fact.detach()) for name, fact in facts.items()}
        )

    def describe(self) -> dict[str, Any]:
        """The settings as plain data."""
        settings = {"estimator": self.estimator, "sigma": self.sigma, "seed": self.seed}
        return {**super().describe(), **settings}

    def _denoised(self, f: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
        change: Tensor = f(x + self.sigma * noise) - y
        return change.flatten(1).square().sum(1).mean() / self.sigma**2


def _output(y: object, which: str) -> Tensor:
    if not isinstance(y, Tensor):
        raise TypeError(
            f"{which}: expected a module that returns a tensor, got {type(y).__name__}; wrap it in one"
        )
    return y


def _frobenius(y: Tensor, x: Tensor, generator: torch.Generator, graph: bool) -> Tensor:
    """E‖J‖_F² of the map from x to y, by one vector–Jacobian product."""
    g = random_product(y.reshape(len(y), -1), x, generator, graph=graph)
    return g.flatten(1).square().sum(1).mean()
