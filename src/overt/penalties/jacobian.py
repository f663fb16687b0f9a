"""An explicit penalty on what a network is sensitive to: P_p,U of M = E[JᵀJ], by reweighting."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from overt.linalg import make_basis
from overt.measures.target import OutputMap, Target
from overt.penalties.arguments import number_in, whole_number
from overt.penalties.base import Penalty
from overt.penalties.moments import BasisMoments, DenseMoments, Moments, SketchMoments
from overt.penalties.passes import MIXING, check_twice_differentiable, deterministic, plain_module
from overt.penalties.probes import draw_probes

__all__ = ["JacobianPenalty"]

DENSE_UP_TO = 256
"""Number of entries of an input up to which the eigen basis keeps M̄ as a matrix."""


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
        From 0 (exclusive) to 2.
    basis
        ``"eigen"``, or what `overt.linalg.make_basis` takes: ``"fourier"``, ``"identity"``, ``"dct"``,
        ``"haar"`` or a matrix with orthonormal rows.
    weight
        Finite number ≥ 0. May be changed at any time.
    normalized
        Whether to penalize ‖σ‖_p/‖σ‖_2 instead, σ² being the diagonal: scale-invariant, between 1 and
        D^{1/p−1/2}, so that one weight serves all scales; at p = 1 in the eigen basis the normalized nuclear
        norm. Needs p < 2.
    outputs, layer
        Which map is differentiated: ``"logits"``, ``"probabilities"``, ``"margin"`` or a function of the
        model's output; or the activations of the submodule named `layer`.
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
        Eigen basis only. With more than 256 input entries M̄ is kept as `rank` directions and an even rest;
        with fewer it is a matrix whose eigendecomposition is renewed at every `refresh`-th call.
    dims
        Which dimensions of an input the named basis transforms; see `overt.linalg.make_basis`.
    seed
        Of the probes.

    Raises
    ------
    TypeError, ValueError
        A parameter out of its range, or an unknown basis or map.

    Notes
    -----
    ``penalty(x)`` has the gradient above, and as its *value* weight × P_p(M̄ + εI), of the running average, so
    that what is logged is what is penalized. Layers that mix the inputs of a batch or draw random numbers
    (batch norm, dropout) are in evaluation mode during the penalty's own forward pass, for there is no
    Jacobian of one input otherwise.

    In several processes (``torch.distributed``) the products of all are averaged into M̄, so that all keep the
    same weights; the model's gradients are averaged as the wrapper does it.

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
        p: float = 1.0,
        basis: str | Tensor = "eigen",
        weight: float = 1e-2,
        *,
        normalized: bool = False,
        outputs: OutputMap = "logits",
        layer: str | None = None,
        share: float = 1.0,
        every: int = 1,
        probes: int = 1,
        momentum: float = 0.9,
        floor: float = 1e-3,
        rank: int = 32,
        refresh: int = 10,
        dims: tuple[int, ...] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(model, weight)
        self.p = number_in(p, "p", 0, 2, low_open=True)
        if normalized and self.p == 2:
            raise ValueError("normalized with p=2 is the constant 1; choose p < 2")
        self.normalized = bool(normalized)
        self.share = number_in(share, "share", 0, 1, low_open=True)
        self.momentum = number_in(momentum, "momentum", 0, 1, high_open=True)
        self.floor = number_in(floor, "floor", 0, 1, low_open=True)
        self.every = whole_number(every, "every")
        self.probes = whole_number(probes, "probes")
        self.rank = whole_number(rank, "rank")
        self.refresh = whole_number(refresh, "refresh")
        if isinstance(basis, str) and basis == "eigen" and dims is not None:
            raise ValueError("dims: the eigen basis has no dimensions to choose; leave it out")
        self.basis = basis
        self.dims = dims
        self._check_basis()
        self._target = (
            Target(plain_module(model), outputs, layer),
        )  # in a tuple: nothing of it is registered
        self.seed = whole_number(seed, "seed", least=0)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("input_shape", torch.zeros(0, dtype=torch.int64))
        self.moments: Moments | None = None

    def value(self, x: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        """The penalty without its weight, a 0-d tensor; see `penalty`, but never 0 for `every`."""
        if x is None:
            raise TypeError("x: the Jacobian penalty needs the batch of inputs: penalty(x)")
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"x: expected a floating-point tensor, got {kind}; pass embeddings for token ids")
        if x.ndim < 2 or len(x) == 0:
            raise ValueError(f"x: expected a batch (n, ...) of one input or more, got shape {tuple(x.shape)}")
        moments = self._moments_for(x)
        return self._reweighted(moments, self._products(x, y))

    def penalty(self, x: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        """weight × the penalty on a batch, to be added to the loss.

        Parameters
        ----------
        x
            Inputs (n, ...), floating point.
        y
            The model's outputs for `x`, if they are there already with a graph that begins at an `x` that
            requires gradients: spares the forward pass. Not with layers in training mode that mix inputs.

        Raises
        ------
        TypeError, ValueError
            Integer inputs (pass embeddings), an empty batch, outputs that do not depend on `x`, or a Jacobian
            that is not finite.
        """
        call = int(self.calls)
        self.calls += 1
        if self.weight == 0.0 or call % self.every:
            return self._zero()
        return self.weight * self.every * self.value(x, y)

    def forward(self, x: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        """The same as `penalty`."""
        return self.penalty(x, y)

    def spectrum(self) -> Tensor:
        """√diag(U M̄ U*) of the running average: descending in the eigen basis, else in basis order."""
        if self.moments is None:
            raise RuntimeError("there is no spectrum before the first penalty(x)")
        return self.moments.spectrum()

    def describe(self) -> dict[str, Any]:
        """The settings as plain data."""
        names = (
            "p",
            "normalized",
            "share",
            "every",
            "probes",
            "momentum",
            "floor",
            "rank",
            "refresh",
            "dims",
        )
        basis = self.basis if isinstance(self.basis, str) else "matrix"
        return {**super().describe(), "basis": basis, **{name: getattr(self, name) for name in names}}

    def _check_basis(self) -> None:
        if isinstance(self.basis, Tensor) and self.basis.ndim == 2:
            make_basis(self.basis, (self.basis.shape[1],))
        elif isinstance(self.basis, Tensor) or self.basis != "eigen":
            make_basis(self.basis, (1,))

    def _products(self, x: Tensor, y: Tensor | None) -> Tensor:
        """g = J(x)ᵀ v in rows, (probes × n, D), with a graph."""
        used = max(1, round(self.share * len(x)))
        with torch.enable_grad():
            if y is None:
                x = x[:used].detach().requires_grad_()
                with deterministic(self.model):
                    y = self._target[0](x)
            else:
                _check_given(self.model, x, y)
                if self._target[0].layer is not None:
                    raise ValueError("y: the activations of a layer are penalized; leave y out")
                if self.moments is None or not int(self.moments.updates):
                    check_twice_differentiable(y)
                y = self._target[0].mapped(y, len(y))
            generator = torch.Generator().manual_seed(self._probe_seed())
            found = [self._product(x, y[:used], generator) for _ in range(self.probes)]
        g = torch.cat(found).flatten(1)
        if not bool(torch.isfinite(g.detach()).all()):
            raise ValueError("the model's Jacobian is not finite on this batch; is the loss still finite?")
        return g.float() if g.dtype in (torch.float16, torch.bfloat16) else g

    def _product(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        v = draw_probes(len(y), y.shape[1], generator=generator, like=y)
        found = torch.autograd.grad(y, x, v, create_graph=True, allow_unused=True)[0]
        if found is None:
            raise ValueError("x: the outputs do not depend on it")
        return found[: len(y)]

    def _probe_seed(self) -> int:
        """A function of seed, call and process: a resumed run draws what it would have drawn."""
        rank = torch.distributed.get_rank() if _distributed() else 0
        return (self.seed * 1_000_003 + int(self.calls) * 1009 + rank) % 2**63

    def _reweighted(self, moments: Moments, g: Tensor) -> Tensor:
        moments.update(_of_all_processes(g.detach()))
        total, trace = moments.value(), moments.trace()
        surrogate = moments.form(g).mean()
        if not self.normalized:
            return total + (surrogate - surrogate.detach())
        # ‖σ‖_p/‖σ‖_2 = P^{1/p} T^{−1/2}; its differential is the value times dP/(pP) − dT/(2T).
        trace = trace.clamp_min(math.sqrt(torch.finfo(trace.dtype).tiny))
        value = total ** (1 / self.p) / trace.sqrt()
        change = value * (surrogate / (self.p * total) - g.square().sum(-1).mean() / (2 * trace))
        return value + (change - change.detach())

    def _moments_for(self, x: Tensor) -> Moments:
        shape = tuple(x.shape[1:])
        if self.moments is None:
            dtype = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
            self.moments = self._make_moments(shape).to(device=x.device, dtype=dtype)
            self.input_shape = torch.tensor(shape, dtype=torch.int64)
        elif shape != tuple(self.input_shape.tolist()):
            raise ValueError(f"x: inputs had shape {tuple(self.input_shape.tolist())} at first, now {shape}")
        return self.moments

    def _make_moments(self, shape: tuple[int, ...]) -> Moments:
        size = math.prod(shape)
        settings = (self.p, self.floor, self.momentum)
        if not isinstance(self.basis, str) or self.basis != "eigen":
            return BasisMoments(make_basis(self.basis, shape, dims=self.dims), *settings)
        if size <= DENSE_UP_TO:
            return DenseMoments(size, *settings, self.refresh)
        return SketchMoments(size, *settings, self.rank)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The averages have the shape of the inputs, which a new penalty has not seen yet.
        shape = state_dict.get(f"{prefix}input_shape")
        if shape is not None and len(shape):
            self.input_shape = torch.zeros_like(shape)
            self.moments = self._make_moments(tuple(shape.tolist()))
            for name, _ in list(self.moments.named_buffers()):
                stored = state_dict.get(f"{prefix}moments.{name}")
                if stored is not None:
                    setattr(self.moments, name, torch.zeros_like(stored))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _check_given(model: nn.Module, x: Tensor, y: Tensor) -> None:
    if not x.requires_grad or not isinstance(y, Tensor) or y.grad_fn is None or len(y) != len(x):
        raise ValueError(
            "y: expected the model's outputs for x with their graph, x having required gradients before the "
            "forward pass; or leave y out"
        )
    mixing = [m for m in model.modules() if isinstance(m, MIXING) and m.training]
    if mixing:
        raise ValueError(
            f"y: {type(mixing[0]).__name__} in training mode mixes the inputs of a batch; leave y out, and "
            "the penalty runs a forward pass of its own"
        )


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _of_all_processes(g: Tensor) -> Tensor:
    if not _distributed() or torch.distributed.get_world_size() == 1:
        return g
    parts = [torch.empty_like(g) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, g.contiguous())
    return torch.cat(parts)
