"""A pointwise Schatten penalty on a composed map's Jacobian, by the squared Frobenius norms of its pieces."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from overt._utils.checks import (
    check_choice,
    check_number,
    check_seed,
    check_sizes,
    is_integer,
    message,
    optional,
)
from overt._utils.tensors import is_finite
from overt.linalg.decompositions import full_precision
from overt.linalg.spectrum import widen
from overt.networks.batches import check_inputs
from overt.networks.distributed import check_not_sharded
from overt.networks.first_look import FirstLook
from overt.networks.guard import parts_of
from overt.networks.jacobian import leaf
from overt.networks.modules import check_module, unwrapped
from overt.networks.probes import ORTHOGONAL_UP_TO, draw_probes, draw_signs, seed_of_call
from overt.networks.products import random_product
from overt.networks.second_order import deterministic, eager, graph_of_its_own
from overt.penalties.base import Penalty
from overt.penalties.reports import CompositionReport, Gradients, parameter_reports

Estimator = Literal["denoising", "vjp"]


class CompositionPenalty(Penalty):
    """weight × (1/L) Σ_l E_x‖J_l‖_F², an upper bound of E_x Σ_i σ_i(J_f(x))^{2/L} for f = f_L∘…∘f_1.

    J_l is the Jacobian of piece l where the pieces before it take x. By the chain rule J_f = J_L … J_1, and
    for matrices Σ σ_i(W)^{2/L} = min (1/L) Σ‖W_l‖_F² over W = W_L … W_1, attained where the factors are
    balanced, W_{l+1}ᵀW_{l+1} = W_l W_lᵀ (Dai, Karzand & Srebro 2021; L = 2 is the nuclear norm). Over all
    ways to write f as two pieces the least value is E_x‖J_f(x)‖_* itself (Scarvelis & Solomon 2024).

    It is pointwise: the measure of the Jacobian at each x, averaged, ``overt.measure(…, pointwise=True)``,
    where `JacobianPenalty` with depth L takes that of what the points have in common, M = E[JᵀJ]. Data on a
    curved surface need few directions at each point, and all of them together.

    Parameters
    ----------
    parts
        The pieces f_1, …, f_L in the order in which they run, each taking what the one before returns, a
        tensor (n, …); or an ``nn.Sequential``, whose layers are the pieces unless `cuts` are given. Skip
        connections must lie inside a piece. One module may be several pieces.
    weight
        Finite number ≥ 0. May be changed at any time.
    cuts
        Indices at which an ``nn.Sequential`` is cut: ``cuts=(2, 4)`` makes the pieces [:2], [2:4] and [4:].
    estimator
        ``"denoising"``: ‖J‖_F² = E‖f(z + sε) − f(z)‖²/s² with E[εεᵀ] = I, by forward passes alone;
        ``"vjp"``: ‖J‖_F² = E‖Jᵀv‖² with E[vvᵀ] = I (Hutchinson 1990), by a vector–Jacobian product of each
        piece, which is differentiated once more.
    sigma
        s of the denoising estimator as a multiple of the root mean square of a piece's inputs; by default
        0.01, in half precision 0.1.
    seed
        Of the random vectors.

    Raises
    ------
    TypeError, ValueError
        A parameter out of its range; cuts of what is no ``nn.Sequential``.

    Notes
    -----
    **Which estimator.** The default needs first derivatives only, so that any layer and kernel will do, fused
    attention too, and no graph of a gradient is kept. It has a bias, which vanishes with s (Scarvelis &
    Solomon 2024, Theorem 3.2; it is o(1) where f is differentiable, and of order s² only where f is smooth to
    third order). ``"vjp"`` has none, and suits half precision, in which differences lose digits. On one
    thread of a CPU they take about as long. Both draw in orthogonal blocks up to 128 entries: no error for
    linear pieces if the batch is a multiple of these.

    **Own pass.** As for `JacobianPenalty`: in evaluation mode, without a trace and checked at the first call;
    without ``torch.autocast``. FSDP is refused.

    References
    ----------
    Dai, Z., Karzand, M., Srebro, N. (2021). Representation costs of linear neural networks: analysis and
    design. NeurIPS.

    Scarvelis, C., Solomon, J. (2024). Nuclear norm regularization for deep learning. NeurIPS.

    Examples
    --------
    >>> import torch
    >>> import overt
    >>> encoder, decoder = torch.nn.Linear(6, 4), torch.nn.Linear(4, 6)
    >>> penalty = overt.CompositionPenalty([encoder, decoder], weight=1e-2)
    >>> penalty.p, penalty.penalty(torch.randn(10, 6)).ndim
    (1.0, 0)
    """

    calls: Tensor

    def __init__(
        self,
        parts: Sequence[nn.Module] | nn.Sequential,
        weight: float = 1e-2,
        *,
        cuts: int | Sequence[int] | None = None,
        estimator: Estimator = "denoising",
        sigma: float | None = None,
        seed: int = 0,
    ) -> None:
        model, self.cuts = _chain(parts, cuts)
        super().__init__(model, weight)
        self.estimator: Estimator = check_choice(estimator, "estimator", Estimator)
        self.sigma = optional(check_number, sigma, "sigma", above=0)
        self.seed = check_seed(seed)
        self._copied = False
        self._look = FirstLook(twice=self.estimator == "vjp")
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    @property
    def parts(self) -> list[nn.Module]:
        """The pieces, without wrappers, in the order in which they run."""
        layers = [unwrapped(layer) for layer in unwrapped(self.model)]
        if self.cuts is None:
            return layers
        ends = [0, *self.cuts, len(layers)]
        return [nn.Sequential(*layers[a:b]) for a, b in pairwise(ends)]

    @property
    def p(self) -> float:
        """2/L, the exponent of the measure that is bounded."""
        return 2 / len(self.parts)

    @eager
    def value(self, x: Tensor | None = None) -> Tensor:
        """The penalty without its weight, a 0-d tensor; `x` is a batch (n, ...) of floating-point inputs.

        Nothing is counted: the draws are those of the next call of `penalty`.
        """
        return self.terms(x, int(self.calls)).mean()

    @eager
    def penalty(self, x: Tensor | None = None) -> Tensor:
        """weight × value on a batch of inputs, to be added to the loss; new draws at each call.

        Calls under ``no_grad``, as in a validation loop, do not count.

        Raises
        ------
        TypeError, ValueError
            Inputs that are no floating-point batch, pieces that return something else, outputs that do not
            depend on the inputs, are not finite or, checked at the first call, depend on other inputs of the
            batch or differ between two passes; or a model that is sharded by FSDP.
        """
        if self.weight == 0.0:
            return self._zero()
        value = self.value(x)
        if torch.is_grad_enabled():
            self.calls += 1
        return self.weight * value

    def terms(self, x: Tensor | None, call: int) -> Tensor:
        """E‖J_l‖_F² of each piece on a batch, shape (L,), with the draws of the call of that number."""
        x = check_inputs(x)
        wanted = torch.is_grad_enabled()
        parts, seed = self.parts, seed_of_call(self.seed, call)
        check_not_sharded(self.model, *parts)
        twice = self.estimator == "vjp"
        with graph_of_its_own(wanted or twice), full_precision(x.device), ExitStack() as stack:
            modules = parts_of(self.model)
            known = self._look(lambda z: _through(parts, z), x, modules)
            stack.enter_context(deterministic(modules, x.device, twice=twice, **known._asdict()))
            x = leaf(x) if twice else x
            found = self._along(parts, x, seed, wanted)
            if found is None:
                self._copied = True  # a piece works in place; others are spared the copy
                found = self._along(parts, x, seed, wanted)
            assert found is not None
            return found

    def forward(self, x: Tensor | None = None) -> Tensor:
        """The same as `penalty`."""
        return self.penalty(x)

    @eager
    def report(self, x: Tensor, *, gradients: Gradients = "objective") -> CompositionReport:
        """What the penalty does: its terms, and its share of each parameter's gradient.

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
            terms = self.terms(x, max(0, int(self.calls) - 1))
            value = terms.mean()
        included = self.weight if int(self.calls) else 0.0
        layers = nn.ModuleList([unwrapped(layer) for layer in unwrapped(self.model)])
        return CompositionReport(
            rows=parameter_reports(value, dict(layers.named_parameters()), self.weight, included, gradients),
            weight=self.weight,
            value=float(value.detach()),
            terms=tuple(terms.tolist()),
        )

    def describe(self) -> dict[str, Any]:
        """The settings as plain data."""
        settings = {name: getattr(self, name) for name in ("estimator", "sigma", "seed")}
        cuts = None if self.cuts is None else list(self.cuts)
        return {**super().describe(), "parts": len(self.parts), "cuts": cuts, **settings}

    def _along(self, parts: list[nn.Module], x: Tensor, seed: int, graph: bool) -> Tensor | None:
        """The terms; None if a piece changed its inputs, which its term still needs."""
        generator = torch.Generator().manual_seed(seed)
        terms, z = [], x
        for number, part in enumerate(parts):
            given = z.clone() if self._copied or z is x else z
            before = given._version
            y = _output(part(given), number, len(x))
            if given is z and given._version != before:
                return None
            if self.estimator == "vjp":
                g = random_product(y.reshape(len(y), -1), z, generator, graph=graph)
                terms.append(_mean_square(g))
            else:
                terms.append(self._moved(part, z, y, generator))
            z = y
        if not is_finite(z):
            raise ValueError("the model's outputs are not finite on this batch; is the loss still finite?")
        return torch.stack(terms)

    def _moved(self, part: nn.Module, z: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """E‖f(z + sε) − f(z)‖²/s²."""
        sigma = self.sigma or (0.1 if z.dtype.itemsize < 4 else 0.01)
        square = widen(z).square().mean()
        # With its graph, so that the gradient is that of the value.
        s = sigma * torch.where(square > 0, square, 1.0).sqrt()
        return _mean_square(part(z + s.to(z) * _directions(z, generator)) - y) / s**2


def _chain(parts: object, cuts: object) -> tuple[nn.Module, tuple[int, ...] | None]:
    """What holds the pieces, and where it is cut."""
    expected = "a sequence of torch.nn.Modules or an nn.Sequential"
    whole = unwrapped(parts)
    if isinstance(whole, nn.Sequential):
        return cast(nn.Module, parts), _cuts(whole, cuts)
    if cuts is not None:
        raise ValueError("cuts: only an nn.Sequential is cut; the modules of a sequence are pieces already")
    if isinstance(parts, nn.Module) and not isinstance(parts, nn.ModuleList):
        remedy = "give its pieces in the order in which they run"
        raise TypeError(message("parts", expected, parts, remedy))
    try:
        pieces = list(cast(Any, parts))
    except TypeError:
        raise TypeError(message("parts", expected, parts)) from None
    for number, piece in enumerate(pieces):
        check_module(piece, f"parts[{number}]")
    if not pieces:
        raise ValueError("parts must hold one module or more, got none")
    return nn.ModuleList(pieces), None


def _cuts(model: nn.Sequential, cuts: object) -> tuple[int, ...] | None:
    if cuts is None:
        bare = [type(layer).__name__ for layer in model if next(layer.parameters(), None) is None]
        if bare or not len(model):
            what = f"{bare[0]} has no parameters and would be" if bare else "there is no layer to be"
            raise ValueError(f"parts: {what} a piece of its own; say where to cut, as in cuts=(2, 4)")
        return None
    found = check_sizes((cuts,) if is_integer(cuts) else cuts, "cuts", shortest=1)
    if sorted(set(found)) != list(found) or found[-1] >= len(model):
        remedy = f"this nn.Sequential has {len(model)} layers"
        raise ValueError(message("cuts", f"increasing indices below {len(model)}", found, remedy))
    return found


def _through(parts: Sequence[nn.Module], x: Tensor) -> Tensor:
    """The outputs of the chain in rows; the inputs stay as they are."""
    z = x.clone()
    for number, part in enumerate(parts):
        z = _output(part(z), number, len(x))
    return z.reshape(len(z), -1)


def _output(y: object, number: int, count: int) -> Tensor:
    where = f"parts[{number}]: expected a module that returns a tensor (n, …)"
    if not isinstance(y, Tensor) or not y.is_floating_point():
        kind = f"one of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(f"{where}, got {kind}; wrap it in one")
    if y.ndim == 0 or len(y) != count:
        raise ValueError(f"{where} for n = {count} inputs, got shape {tuple(y.shape)}")
    return y


def _directions(z: Tensor, generator: torch.Generator) -> Tensor:
    """ε with E[εεᵀ] = I for each input, of the shape of z."""
    size = z[0].numel()
    if size > ORTHOGONAL_UP_TO:
        return draw_signs(z.detach(), generator)
    return draw_probes(len(z), size, generator=generator, like=z).reshape(z.shape)


def _mean_square(rows: Tensor) -> Tensor:
    """The mean squared norm of rows (n, …)."""
    return widen(rows).reshape(len(rows), -1).square().sum(1).mean()
