"""A spectral penalty as steps of its own, beside those of any optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from overt._utils.checks import check_callable, check_number, is_integer, message, optional
from overt.networks.distributed import put_whole, whole
from overt.optim.relative import relative_step
from overt.penalties import SpectralPenalty
from overt.penalties.layers import Layer

LENGTH = 1e-3
_OWN = "spectral_decay"


class SpectralDecay(Optimizer):
    """An optimizer, and after each of its steps one of fixed relative length along a spectral penalty.

    W ← W − η ‖W‖_F G/‖G‖_F for each matrix, G the gradient of a functional such as ‖W‖_*/‖W‖_F.

    The optimizer sees the gradient of the loss alone, as in AdamW (Loshchilov & Hutter 2019), whose decay is
    this step for the squared Frobenius norm. Its moments and its preconditioner do not mix with the penalty,
    whose step is as long under gradient descent as it is under Adam.

    Parameters
    ----------
    optimizer
        Any ``torch.optim.Optimizer``: SGD, Muon, L-BFGS, one of your own. Schedulers of the learning rate,
        gradient scalers and hooks take the ``SpectralDecay`` in its place; `param_groups` and `state` are
        those of the optimizer itself.
    model
        Whose matrices are stepped: those that the optimizer trains, chosen as in ``SpectralPenalty``.
    functional
        See ``SpectralPenalty``. It must be one that falls with the rank: steps that shrink all singular
        values alike, as those of the nuclear norm, select nothing.
    length
        η in [0, 1), the length of a step relative to the matrix; the key ``"length"`` of a parameter group
        overrides it for this group and may be set at any time.
    schedule
        Factor of the length as a function of the number of steps made, such as ``lambda step: 1 - step /
        total`` or ``overt.training.Warmup``; None for 1. The learning rate's own schedule counts, too: see
        Notes.
    **settings
        Of the ``SpectralPenalty``: `layers`, `layer_weights` (factors of the length), `of`, `options`,
        `method`, `every`, `norm_cap` and others.

    Attributes
    ----------
    optimizer : torch.optim.Optimizer
        The one inside.
    penalty : SpectralPenalty
        Whose gradient is followed. Its weight has no effect on the length; at 0 no step is taken. So
        ``HoldReleaseRefit(decay.penalty, decay)`` stops the steps at the ranks found, and refits there.

    Raises
    ------
    TypeError, ValueError
        No optimizer or model, a number out of its range, settings that ``SpectralPenalty`` refuses, or a
        model none of whose penalized matrices the optimizer trains.

    Notes
    -----
    **Learning rate.** Where a scheduler lowers the learning rate of a group below the one that it had (its
    ``"initial_lr"`` if a scheduler was there first), the length falls by the same factor, as the decay of
    AdamW does: otherwise the penalty would go on when training has come to rest. A larger rate does not make
    the step longer.

    **Guards.** The gradient of a scale-invariant functional grows like 1/‖W‖_F, but the step is as long as
    it is told. It is orthogonal to W, so it would make W longer, over many steps without bound where no data
    hold it. So W gets its norm back wherever a step has made it longer. `norm_cap` is a further guard where
    the norm of the solution is known.

    **Factors.** What has a length is a matrix or a kernel, each of several that one parameter holds (experts,
    gates), or each factor of an adapter or of the end-to-end product. A zero factor gets no step, nor does a
    parameter without a gradient (``.grad`` is None). Experts whose adapters share two factors share the
    step, at the largest of their weights.

    **every = k.** Each step is taken, along directions that are k steps old at most, see ``SpectralPenalty``;
    they are part of ``state_dict()``, from which a run resumes bit for bit.

    **Parallel training.** Under DDP all processes take the same step. Parameters of FSDP2 are gathered for a
    decomposition, and stepped where they are.

    Examples
    --------
    >>> import torch
    >>> from overt.optim import SpectralDecay
    >>> model = torch.nn.Sequential(torch.nn.Linear(20, 20), torch.nn.ReLU(), torch.nn.Linear(20, 1))
    >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> optimizer = SpectralDecay(sgd, model, layers="0", every=10)
    >>> scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    >>> x, y = torch.randn(8, 20), torch.randn(8, 1)
    >>> torch.nn.functional.mse_loss(model(x), y).backward()
    >>> optimizer.step()
    >>> scheduler.step()
    """

    optimizer: Optimizer
    penalty: SpectralPenalty

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        functional: str | Callable[[Tensor], Tensor] = "normalized_nuclear_norm",
        *,
        length: float = LENGTH,
        schedule: Callable[[int], float] | None = None,
        **settings: Any,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(message("optimizer", "a torch.optim.Optimizer", optimizer))
        if isinstance(optimizer, SpectralDecay):
            raise TypeError("optimizer is a SpectralDecay already; give the optimizer inside, or another one")
        if "weight" in settings:
            raise TypeError("weight has no effect on a step of fixed length; give length")
        self.length = check_number(length, "length", least=0, below=1)
        self.schedule = optional(check_callable, schedule, "schedule")
        self._steps = 0
        # Not Optimizer.__init__: groups and state are the inner optimizer's. This makes hooks alone.
        self.__setstate__({"optimizer": optimizer})
        self._tie_lengths()
        self.penalty = _OfOptimizer(optimizer, model, functional, settings)

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of the optimizer inside."""
        return self.optimizer.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The state of the optimizer inside, by parameter."""
        return self.optimizer.state

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """The defaults of the optimizer inside."""
        return self.optimizer.defaults

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """The optimizer's step, then the penalty's.

        Parameters
        ----------
        closure
            Passed on, see the optimizer.

        Returns
        -------
        The loss, if there is a closure.
        """
        loss = self.optimizer.step() if closure is None else self.optimizer.step(closure)
        lengths = self._lengths()
        self._steps += 1
        if lengths and self.penalty.weight > 0:
            self._decay(lengths)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """The same as the optimizer's."""
        self.optimizer.zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the optimizer; its matrices are stepped if they are among the chosen ones."""
        self.optimizer.add_param_group(param_group)
        self._tie_lengths()

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's, with one more entry: the number of steps and the directions that are kept."""
        for before in self._optimizer_state_dict_pre_hooks.values():
            before(self)
        own = {"steps": self._steps, "penalty": dict(self.penalty.state_dict())}
        state: dict[str, Any] = {**self.optimizer.state_dict(), _OWN: own}
        for after in self._optimizer_state_dict_post_hooks.values():
            state = cast(Any, after)(self, state) or state
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave.

        The state of an optimizer without this wrapper is taken up, too: steps are counted from 0 and
        directions made anew.

        Raises
        ------
        ValueError
            It is the state of other groups or other matrices.
        """
        state = dict(state_dict)
        for before in self._optimizer_load_state_dict_pre_hooks.values():
            state = cast(Any, before)(self, state) or state
        own = dict(state.pop(_OWN, {"steps": 0, "penalty": {}}))
        if set(own) != {"steps", "penalty"} or not is_integer(own["steps"]):
            raise ValueError(f"not a state of SpectralDecay: {_OWN!r} has the entries {sorted(own)}")
        self.penalty.load_state_dict(own["penalty"])
        self.optimizer.load_state_dict(state)
        self._tie_lengths()
        self._steps = int(own["steps"])
        for after in self._optimizer_load_state_dict_post_hooks.values():
            after(self)

    def __getstate__(self) -> dict[str, Any]:
        names = ("optimizer", "length", "schedule", "penalty", "_steps")
        return {name: self.__dict__[name] for name in names}

    def _tie_lengths(self) -> None:
        """Give each group a length, and the learning rate that it is for."""
        for group in self.param_groups:
            group.setdefault("length", self.length)
            if "lr" in group:
                group.setdefault("length_lr", float(group.get("initial_lr", group["lr"])))

    def _lengths(self) -> dict[Tensor, float]:
        """The present length for each parameter that moves."""
        factor = 1.0
        if self.schedule is not None:
            factor = check_number(self.schedule(self._steps), f"schedule({self._steps})", least=0)
        found: dict[Tensor, float] = {}
        for group in self.param_groups:
            length = factor * check_number(group["length"], "length of a group", least=0, below=1)
            if length > 0 and "lr" in group:
                length *= min(1.0, float(group["lr"]) / group["length_lr"]) if group["length_lr"] > 0 else 1.0
            if length > 0:
                found.update((p, length) for p in group["params"] if p.grad is not None)
        return found

    def _decay(self, lengths: dict[Tensor, float]) -> None:
        steps = {p: layers for p, layers in self._penalized().items() if p in lengths}
        if not steps:
            return
        with torch.enable_grad():
            value = self.penalty.penalty()
            found = torch.autograd.grad(value, list(steps), allow_unused=True)
        gradients = cast(Sequence[Tensor | None], found)
        for (parameter, layers), gradient in zip(steps.items(), gradients, strict=True):
            if gradient is None:  # the end-to-end matrix is made of others
                continue
            length = lengths[parameter]
            if all(layer is None or layer.cut is None for layer in layers):
                factor = max(1.0 if layer is None else layer.weight for layer in layers)
                relative_step(parameter, gradient, length * factor)
                continue
            # Matrices in one parameter are views of all of it: its shards may lie along any dimension.
            W, G = whole(parameter.detach()), whole(gradient).contiguous()
            for layer in filter(None, layers):
                relative_step(layer.part_of(W), layer.part_of(G), length * layer.weight)
            put_whole(parameter, W)

    def _penalized(self) -> dict[Tensor, list[Layer | None]]:
        """Each parameter, with the matrices that are made of it; None for the end-to-end matrix."""
        found: dict[Tensor, list[Layer | None]] = {}
        with torch.no_grad():
            for layer in self.penalty.penalized():
                if not layer.parameters:  # the end-to-end matrix is made of any of them
                    found |= {p: [None] for p in self.penalty.model.parameters()}
                for p in layer.parameters:
                    found.setdefault(p, []).append(layer)
        return found


class _OfOptimizer(SpectralPenalty):
    """A penalty on those matrices of a model whose parameters an optimizer trains."""

    def __init__(
        self, optimizer: Optimizer, model: nn.Module, functional: Any, settings: dict[str, Any]
    ) -> None:
        self._optimizer: Optimizer | None = (
            None  # all matrices are looked at, so that refusals name the cause
        )
        super().__init__(model, functional, **settings)
        with torch.no_grad():
            names = [layer.name for layer in self.penalized()]
            self._optimizer = optimizer
            if not self.penalized():
                raise ValueError(
                    f"optimizer trains none of the penalized matrices ({', '.join(names[:8])}); give it the "
                    "parameters of the same model, or choose other matrices by layers="
                )

    def penalized(self, product: Tensor | None = None) -> list[Layer]:
        layers = super().penalized(product)
        if self._optimizer is None:
            return layers
        trained = {p for group in self._optimizer.param_groups for p in group["params"]}
        if self.of == "product":
            return layers if trained.intersection(self.model.parameters()) else []
        return [layer for layer in layers if trained.intersection(layer.parameters)]
