"""An explicit penalty on what a network is sensitive to: P_p,U of M = E[JᵀJ], by reweighting."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from overt._utils.checks import check_flag, check_integer, check_number, check_seed
from overt._utils.tensors import is_finite
from overt.linalg import Basis, make_basis
from overt.linalg.decompositions import full_precision
from overt.networks.batches import Batch, OneBatch, SideInputs, differentiable_batch
from overt.networks.distributed import own_rows, process_number, rows_of_all
from overt.networks.modules import Forward
from overt.networks.probes import seed_of_call
from overt.networks.products import Products
from overt.networks.second_order import eager, graph_of_its_own
from overt.networks.selection import selector_name
from overt.networks.target import OutputMap, Target
from overt.penalties.base import Penalty
from overt.penalties.bases import basis_name, check_basis, exponent_of
from overt.penalties.moments import BasisMoments, Moments, eigen_moments
from overt.penalties.reports import Gradients, JacobianReport, jacobian_report
from overt.penalties.scaling import Scales, Scaling

COLLAPSED = 1e-5  # of its largest tr M̄: a Jacobian of 0.3 % of the size it had


class JacobianPenalty(Penalty):
    """weight × P_p,U(M), where M = E_x[J(x)ᵀJ(x)] and J is the input–output Jacobian of a model.

    P_p,U(M) = Σ_i (diag(U M U*)_i)^{p/2}, and in the eigen basis tr M^{p/2}. With p = 2/L it is (over L) the
    representation cost of a linear network of depth L: for ``DeepLinear`` and the eigen basis the Schatten-p
    quasi-norm ‖W‖_p^p of the end-to-end matrix, for circular convolutions and the Fourier basis ℓ_p of the
    filter's coefficients, for diagonal networks and the identity basis ℓ_p of the weights. So p is a depth
    dial: 2 is the squared Frobenius norm of the Jacobian (Hoffman, Roberts & Yaida 2019), 1 a nuclear
    norm, and smaller values prefer fewer directions.

    The gradient is had by reweighting: at each call M̄ is a running average of M, and the gradient is that of
    tr(W M) with W = (p/2)(M̄ + εI)^{p/2−1} held fixed, which is the gradient of P_p(M + εI) where M̄ = M
    (Mohan & Fazel 2012 for the nuclear norm and below). One vector–Jacobian product a call, for the whole
    batch: g = J(x)ᵀ v with E[v vᵀ] = I, and tr(W M) = E[gᵀ W g].

    Parameters
    ----------
    model
        Any module whose first input is differentiable; its output's first dimension is the batch.
    p
        From 0 (exclusive) to 2; 1 by default.
    basis
        ``"eigen"``, or what `overt.linalg.make_basis` takes: ``"fourier"``, ``"identity"``, ``"dct"``,
        ``"haar"``, a matrix with orthonormal rows or a `overt.linalg.Basis`.
    weight
        Finite number ≥ 0. May be changed at any time. ``"auto"``: 1e-2, and 1e-3 for p < 1, where too much
        makes the network constant, see Notes.
    depth
        L ≥ 1, another name of p = 2/L.
    normalized
        Whether to penalize ‖σ‖_p/‖σ‖_2 instead, σ² being the diagonal: scale-invariant, between 1 and
        D^{1/p−1/2}, so that one weight serves all scales; at p = 1 in the eigen basis the normalized nuclear
        norm. No step is pushed to a larger or smaller Jacobian. Needs p < 2.
    outputs, layer
        Which map is differentiated: ``"logits"``, ``"probabilities"``, ``"margin"`` or a function of the
        model's output; or the activations of the submodule named `layer`.
    forward
        How the model is called, ``forward(model, x)``, side inputs after x or by name; by default
        ``model(x)``.
    share
        Share of the batch that is used, from the front; at least one input.
    every
        The penalty is computed at every `every`-th call and multiplied by it; other calls return 0, at no
        cost. The mean force is that of every call.
    probes
        Vector–Jacobian products a call.
    momentum
        Weight of the past in M̄, in [0, 1).
    floor
        ε as a multiple of tr(M̄)/D. Smaller is closer to P_p and has larger weights on unused directions.
    rank, refresh
        Eigen basis only. With more than 256 input entries M̄ is kept as `rank` directions and an even rest,
        see Notes; with fewer it is a matrix whose eigendecomposition is renewed at every `refresh`-th call.
    dims
        Which dimensions of an input the named basis transforms; see `overt.linalg.make_basis`.
    scaling
        Scales of the entries of an input: the penalty is that of the network as a function of x/scaling.
        ``"std"``: the standard deviations over the inputs so far; or a tensor such as ``X.std(0)``. For
        tables, whose columns have units of their own; see Notes.
    seed
        Of the probes.

    Raises
    ------
    TypeError, ValueError
        A parameter out of its range, or an unknown basis or map.

    Warns
    -----
    RuntimeWarning
        Once, when tr M̄ has fallen to 1e-5 of its largest value: the network has become constant, or its
        outputs were some 300 times larger than the targets at first, which the penalty cannot know.

    Notes
    -----
    **Value.** ``penalty(x)`` has the gradient above, and as its *value* weight × (2/p) tr(W M̄), of the
    running average: P_p(M̄) but for directions at ε and below, which count next to nothing.

    **Many directions.** Beyond `rank` directions a sketch spreads the rest over the whole complement: the
    value is too high, and too much of the force on the rest. With the default and a random 100×300 map at
    p = 1 (⅔) the value was 1.6 (1.9) times P_p and the gradient's cosine with the true one 0.94 (0.92), with
    σ_i = 1/i 1.2 (1.6) times and 0.93 (0.90); with `rank` = 100 both agreed. `report` says what is cut off.

    **Too large a weight.** For p < 1 a direction that matters little is pushed down the harder the less it
    matters. Where that holds for all of them, the network becomes a constant, which it cannot leave again;
    a warning says so. Begin at 1e-3 and multiply by 3 while the validation error falls.

    **Units of the inputs.** In other units of one input its column of the Jacobian has another size, and so
    more or less of the penalty. With `scaling` nothing changes. It is not the default: standardized inputs
    need none, pixels and embeddings have one unit, and a pixel at the border that hardly ever varies would be
    penalized hardly at all.

    **Own pass.** Without `y` the model runs once more, all of it in evaluation mode, since under batch
    statistics or dropout there is no Jacobian of one input. It leaves no trace: mode, buffers, attributes and
    the global random states are as before. The first call in each mode makes another pass, and refuses a
    model whose outputs differ from pass to pass even so, or depend on other inputs of the batch.

    **A setting to begin with.** On small sets of images (pixels of deviation 1, logits) p = 1 in the basis of
    pixels, ``basis="identity"``, had the best test accuracy of thirteen forms on both networks at 500 images,
    and a weight of 5e-3 the best likelihood on validation in 18 of 20 runs.
    The normalized forms did harm. Where few inputs matter p = ⅔ in the basis of inputs is far better than
    p = 2 (``examples/few_directions.py``). More in ``docs/penalties.md`` and in the study ``generalization``.

    **Parallel training.** The products of all processes are averaged into M̄, so that all keep the same
    weights; the model's gradients are averaged as DDP does it. FSDP is refused.

    Examples
    --------
    >>> import torch
    >>> import overt
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    >>> penalty = overt.JacobianPenalty(model, p=1.0, basis="eigen", weight=1e-2)
    >>> x = torch.randn(32, 8)
    >>> penalty.penalty(x).requires_grad
    True
    """

    calls: Tensor
    input_shape: Tensor

    def __init__(
        self,
        model: nn.Module,
        p: float | None = None,
        basis: str | Tensor | Basis = "eigen",
        weight: float | Literal["auto"] = "auto",
        *,
        depth: float | None = None,
        normalized: bool = False,
        outputs: OutputMap = "logits",
        layer: str | None = None,
        forward: Forward | None = None,
        share: float = 1.0,
        every: int = 1,
        probes: int = 1,
        momentum: float = 0.9,
        floor: float = 1e-3,
        rank: int = 32,
        refresh: int = 10,
        dims: tuple[int, ...] | None = None,
        scaling: Tensor | Scales | None = None,
        seed: int = 0,
    ) -> None:
        exponent = exponent_of(p, depth)
        if weight == "auto":
            weight = 1e-2 if exponent >= 1 else 1e-3
        super().__init__(model, weight)
        self.p = exponent
        self.normalized = check_flag(normalized, "normalized")
        if self.normalized and self.p == 2:
            raise ValueError("normalized with p=2 is the constant 1; choose p < 2")
        self.share = check_number(share, "share", above=0, most=1)
        self.momentum = check_number(momentum, "momentum", least=0, below=1)
        self.floor = check_number(floor, "floor", above=0, most=1)
        self.every = check_integer(every, "every", least=1)
        self.probes = check_integer(probes, "probes", least=1)
        self.rank = check_integer(rank, "rank", least=1)
        self.refresh = check_integer(refresh, "refresh", least=1)
        self.basis = basis
        self.dims = dims
        check_basis(basis, dims)
        self.outputs = outputs
        self.layer = layer
        self.call = forward
        self._products = Products(Target(model, outputs, layer, forward), model)
        self.seed = check_seed(seed)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("input_shape", torch.zeros(0, dtype=torch.int64))
        self.moments: Moments | None = None
        self.scaling = None if scaling is None else Scaling(scaling)
        self._largest, self._told = 0.0, False

    @eager
    def value(
        self, x: OneBatch | None = None, y: Tensor | None = None, *, side_inputs: SideInputs = None
    ) -> Tensor:
        """The penalty without its weight, a 0-d tensor, never 0 for `every`.

        Nothing is changed: M̄ is the running average with this batch, the probes those of the last call of
        `penalty`. In several processes each speaks for itself.
        """
        batch = self._checked(x, side_inputs)
        wanted = torch.is_grad_enabled()
        g = self._rows(batch, y, int(self.calls))
        with graph_of_its_own(wanted):
            return self._averaged(self._moments_for(batch.x).fork(), g, own_rows)

    @eager
    def penalty(
        self, x: OneBatch | None = None, y: Tensor | None = None, *, side_inputs: SideInputs = None
    ) -> Tensor:
        """weight × the penalty on a batch, to be added to the loss.

        Under ``no_grad``, as in validation, it is weight × `value`: nothing is changed or counted.

        Parameters
        ----------
        x
            Inputs (n, ...), floating point; of a dict the first entry, the others being side inputs by name.
        y
            The model's outputs for `x`, if they are there already with a graph that begins at an `x` that
            requires gradients: spares the forward pass. Not with layers in training mode that mix inputs.
        side_inputs
            What the model takes beside `x`, such as a mask or a time: a tensor (n, …), or several, which
            follow `x`, or a dict of them, given by name. With `share` they are cut as `x` is.

        Raises
        ------
        TypeError, ValueError
            Integer inputs (pass embeddings), an empty batch, outputs that do not depend on `x` or, checked at
            the first call, depend on other inputs of the batch or differ between two passes; a forward pass
            that fails, a Jacobian that is not finite, or a model that is sharded by FSDP. Nothing is changed
            or counted then.
        """
        if not torch.is_grad_enabled():
            value = self._zero() if self.weight == 0.0 else self.value(x, y, side_inputs=side_inputs)
            return self.weight * value
        call = int(self.calls)
        if self.weight == 0.0 or call % self.every:
            self.calls += 1
            return self._zero()
        batch = self._checked(x, side_inputs)
        seen = None if self.scaling is None else self.scaling.after(batch.x, rows_of_all)
        g = self._rows(batch, y, call + 1, seen)
        moments = self._moments_for(batch.x)
        value = self._averaged(moments, g, rows_of_all)
        # Nothing refuses the batch from here on.
        self.calls += 1
        self.moments = moments
        self.input_shape = torch.tensor(batch.x.shape[1:], dtype=torch.int64)
        if self.scaling is not None and seen is not None:
            self.scaling.seen = seen
        if not self.normalized:
            self._watch(float(moments.trace()))
        return self.weight * self.every * value

    def forward(
        self, x: OneBatch | None = None, y: Tensor | None = None, *, side_inputs: SideInputs = None
    ) -> Tensor:
        """The same as `penalty`."""
        return self.penalty(x, y, side_inputs=side_inputs)

    def spectrum(self) -> Tensor:
        """√diag(U M̄ U*) of the running average: descending in the eigen basis, else in basis order."""
        if self.moments is None:
            raise RuntimeError("there is no spectrum before the first penalty(x)")
        return self.moments.spectrum()

    @eager
    def report(
        self, x: OneBatch, *, side_inputs: SideInputs = None, gradients: Gradients = "objective"
    ) -> JacobianReport:
        """What the penalty does: the spectrum that it sees, and its share of each parameter's gradient.

        Call it between ``backward`` and the optimizer's step. Nothing is changed.

        Parameters
        ----------
        x, side_inputs
            The batch of the step, for a forward pass with the probes of the last call of `penalty`.
        gradients
            What the parameters' ``.grad`` hold: the gradient of loss plus penalty, or that of the loss alone.
            Without gradients the shares are None.
        """
        batch = self._checked(x, side_inputs)
        with graph_of_its_own():
            g = self._rows(batch, None, int(self.calls))
            moments = self._moments_for(batch.x)
            value = self._averaged(moments, g, own_rows if self.moments is None else None)
        last = int(self.calls) - 1
        included = self.weight * self.every if last >= 0 and last % self.every == 0 else 0.0
        parameters = dict(self._products.target.model.named_parameters())
        return jacobian_report(value, parameters, moments, self.weight, included, gradients)

    def describe(self) -> dict[str, Any]:
        """The settings as plain data."""
        scaled: str | Tensor | None = None
        if self.scaling is not None:
            scaled = "std" if self.scaling.given is None else self.scaling.given
        names = ["p", "normalized", "share", "every", "probes", "momentum", "floor"]
        names += ["rank", "refresh", "dims", "layer", "seed"]
        return {
            **super().describe(),
            "basis": basis_name(self.basis),
            "outputs": selector_name(self.outputs),
            **({} if self.call is None else {"forward": selector_name(self.call)}),
            **({} if scaled is None else {"scaling": basis_name(scaled)}),
            **{name: getattr(self, name) for name in names},
        }

    def _checked(self, x: OneBatch | None, side_inputs: SideInputs) -> Batch:
        batch = differentiable_batch(x, side_inputs)
        shape, first = tuple(batch.x.shape[1:]), tuple(self.input_shape.tolist())
        if self.moments is not None and shape != first:
            raise ValueError(
                f"x: inputs had shape {first} at first, now {shape}, and M is over the entries of one; pad "
                "to one shape, with the mask as a side input"
            )
        return batch

    def _rows(self, batch: Batch, y: Tensor | None, call: int, seen: Tensor | None = None) -> Tensor:
        """Scaled products, with the probes of a call, and scales after what was seen."""
        seed = seed_of_call(self.seed, call, process_number())
        g = self._products(batch, y, share=self.share, probes=self.probes, seed=seed)
        return g if self.scaling is None else g * self.scaling.scales(batch.x, seen).to(g.dtype)

    def _watch(self, trace: float) -> None:
        """Warn, once, of a network that has become constant."""
        self._largest = max(self._largest, trace)
        if self._told or trace >= COLLAPSED * self._largest:
            return
        self._told = True
        warnings.warn(
            f"the Jacobian's size √tr M̄ has fallen to {math.sqrt(trace / self._largest):.1g} of what it was: "
            f"the model is constant, or nearly (p={self.p:.3g}, weight={self.weight:.3g}); start again with "
            "a tenth of the weight, or raise it from 0 once the loss has fallen",
            RuntimeWarning,
            stacklevel=3,
        )

    def _averaged(self, moments: Moments, g: Tensor, rows_of: Callable[[Tensor], Tensor] | None) -> Tensor:
        with full_precision(g.device):
            seen = moments.seen(g)
            moments.follow(seen)
            if rows_of is not None:
                rows = rows_of(seen.detach())
                if not is_finite(moments.mass(rows).mean()):
                    raise ValueError(
                        f"the model's Jacobian is too large on this batch, its squares are beyond "
                        f"{rows.dtype}; is the loss still finite?"
                    )
                moments.update(rows)
            return self._reweighted(moments, seen)

    def _reweighted(self, moments: Moments, seen: Tensor) -> Tensor:
        total = moments.value()
        surrogate = moments.form(seen).mean()
        if not self.normalized:
            return total + (surrogate - surrogate.detach())
        # V = ‖σ‖_p/‖σ‖_2 = P^{1/p} T^{−1/2}, and dV = (V/2) d log R with R = tr(W M)/tr M, W held fixed. R is
        # invariant to scale, so that there is no force along it, whatever ε is and however M̄ lags behind.
        tiny = math.sqrt(torch.finfo(total.dtype).tiny)
        total, trace = total.clamp_min(tiny), moments.trace().clamp_min(tiny)
        ratio = surrogate / moments.mass(seen).mean().clamp_min(tiny)
        change = total ** (1 / self.p - 1) * trace.sqrt() / self.p * ratio
        return total ** (1 / self.p) / trace.sqrt() + (change - change.detach())

    def _moments_for(self, x: Tensor) -> Moments:
        if self.moments is None:
            return self._make_moments(tuple(x.shape[1:]))
        return self.moments

    def _make_moments(self, shape: tuple[int, ...]) -> Moments:
        settings = (self.p, self.floor, self.momentum)
        if not isinstance(self.basis, str) or self.basis != "eigen":
            return BasisMoments(make_basis(self.basis, shape, dims=self.dims), *settings)
        return eigen_moments(math.prod(shape), *settings, rank=self.rank, refresh=self.refresh)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The averages have the shape of the inputs, which a new penalty has not seen yet.
        shape = state_dict.get(f"{prefix}input_shape")
        if shape is not None:
            self.input_shape = torch.zeros_like(shape)
            self.moments = self._make_moments(tuple(shape.tolist())) if len(shape) else None
        if self.moments is not None:
            self.moments.make_room(state_dict, f"{prefix}moments.")
        super()._load_from_state_dict(state_dict, prefix, *rest)
