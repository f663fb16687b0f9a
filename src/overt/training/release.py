"""Hold a penalty until the ranks stand still, release it, and refit at these ranks, in any loop."""

from __future__ import annotations

from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Any

import torch
from torch import Tensor

from overt._utils.checks import check_integer, check_number, message, optional
from overt.networks.distributed import is_sharded
from overt.optim import SpectralDecay
from overt.penalties import SpectralPenalty
from overt.training.projection import FixedRank, can_project

# Relative to the largest singular value: what is below it is zero for a rank.
_NEGLIGIBLE = 1e-3


@dataclass(eq=False)
class HoldReleaseRefit:
    """Hold a penalty until the ranks of its matrices stand still, then train on at these ranks without it.

    For your own training loop, with any model and loss: call :meth:`step` after each step of the optimizer.
    `HoldUntilCollapse` does the same for `train`.

    *Hold.* Every `check_every` steps the spectra of the penalized matrices are checked. A matrix (m, n) has
    collapsed to rank k < min(m, n)/2 if its largest drop is behind the k-th singular value, with σ_{k+1} ≤
    gap·σ_k (those below 1e-3 σ₁ count as 1e-3 σ₁); and to rank 0 if σ₁ is at most gap times its largest value
    so far. The hold ends if at `patience` consecutive checks all matrices have collapsed, to the same ranks,
    and each σ_k is within a factor 1 ± drift of its value at the first of them. Leave matrices that will not
    collapse, such as the last one of a classifier, out of the penalty (`layers`).

    *Release and refit.* The weight is set to 0, because the penalty's bias shrinks what it keeps. Without it,
    closed directions would open again and fit noise. So each matrix is kept at its rank: the optimizer sees
    the part of the gradient that is tangent to the matrices of this rank, and after its step the matrix is
    projected on k left singular vectors. These follow by one step of subspace iteration, a few products with
    k columns and no decomposition.

    Parameters
    ----------
    penalty
        Its matrices are judged one by one. Convolutions with groups or as operators, parametrized matrices
        and the end-to-end matrix (``of="product"``) are released but not projected, because their rank is not
        the rank of a parameter.
    optimizer
        During the refit a hook on it makes the gradients tangent. L-BFGS, which computes them anew, is
        refused. A ``SpectralDecay`` whose own `penalty` is given stops its steps with the release.
    gap
        In (0, 1). Closed directions swing about zero by a few steps of the penalty's force, and further if
        its `every` is large: that must stay well below the gap.
    patience
        Number of consecutive checks, ≥ 1.
    refit_steps
        Steps at weight 0; None for as many as the loop makes.
    check_every
        Steps from one check to the next, ≥ 1. A check costs one SVD of each matrix.
    drift
        Positive.
    fit
        Largest loss at which a check counts; None for any. Give it where learning is stepwise: a network
        that has learned only its first few ranks stands still, too.

    Attributes
    ----------
    phase : str
        ``"hold"``, ``"refit"`` or ``"done"``.
    ranks : dict
        Of each matrix by its name, once released.
    uncollapsed : tuple of str
        The matrices that had not collapsed at the last check.
    released_at : int or None
        Steps made until the release.

    Raises
    ------
    TypeError, ValueError
        An argument out of its range, a penalty of another kind, parameters that processes share (FSDP2).

    Notes
    -----
    Under DDP all processes come to the same ranks, for they have the same parameters; a `fit` needs the mean
    of their losses.

    Examples
    --------
    >>> import torch
    >>> from overt import SpectralPenalty
    >>> from overt.training import HoldReleaseRefit
    >>> x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    >>> model = torch.nn.Linear(8, 8, bias=False)
    >>> penalty = SpectralPenalty(model, weight=0.1)
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    >>> schedule = HoldReleaseRefit(penalty, optimizer, refit_steps=200)
    >>> for _ in range(3000):
    ...     optimizer.zero_grad()
    ...     loss = (model(x) - x[:, :1]).square().mean() + penalty.penalty()
    ...     loss.backward()
    ...     _ = optimizer.step()
    ...     if schedule.step():
    ...         break
    >>> schedule.phase, schedule.ranks
    ('done', {'weight': 1})
    """

    penalty: SpectralPenalty = field(repr=False)
    optimizer: InitVar[torch.optim.Optimizer]
    gap: float = 0.1
    patience: int = 10
    refit_steps: int | None = 1000
    _: KW_ONLY
    check_every: int = 25
    drift: float = 0.25
    fit: float | None = None

    def __post_init__(self, optimizer: torch.optim.Optimizer) -> None:
        if not isinstance(self.penalty, SpectralPenalty):
            raise TypeError(message("penalty", "a SpectralPenalty", self.penalty))
        inner = optimizer.optimizer if isinstance(optimizer, SpectralDecay) else optimizer
        if not isinstance(inner, torch.optim.Optimizer) or isinstance(inner, torch.optim.LBFGS):
            raise TypeError(message("optimizer", "a torch.optim.Optimizer other than LBFGS", optimizer))
        self.gap = check_number(self.gap, "gap", above=0, below=1)
        self.patience = check_integer(self.patience, "patience", least=1)
        self.refit_steps = optional(check_integer, self.refit_steps, "refit_steps", least=1)
        self.check_every = check_integer(self.check_every, "check_every", least=1)
        self.drift = check_number(self.drift, "drift", above=0, finite=False)
        self.fit = optional(check_number, self.fit, "fit", above=0, finite=False)
        self._steps, self._count = 0, 0
        # Ranks and σ_k at the first of the checks that are counted.
        self._candidate: dict[str, int] = {}
        self._levels: dict[str, float] = {}
        self._peaks: dict[str, float] = {}  # the largest σ₁ so far
        self._kept: dict[str, FixedRank] = {}
        self.ranks: dict[str, int] = {}
        self.uncollapsed: tuple[str, ...] = ()
        self.released_at: int | None = None
        if any(is_sharded(t) for layer in self.penalty.penalized() for t in layer.parameters):
            raise ValueError(
                "penalty: parameters that processes share (FSDP2) cannot be projected; use DDP, or set "
                "penalty.weight = 0 by a rule of your own"
            )
        optimizer.register_step_pre_hook(self._before_step)

    @property
    def phase(self) -> str:
        """``"hold"``, ``"refit"`` or ``"done"``."""
        if self.released_at is None:
            return "hold"
        through = self.refit_steps is not None and self._steps - self.released_at >= self.refit_steps
        return "done" if through else "refit"

    def step(self, loss: float | Tensor | None = None) -> bool:
        """Check the matrices, or keep them at their ranks; call it after each step of the optimizer.

        Parameters
        ----------
        loss
            The training loss without the penalty, if there is a `fit`.

        Returns
        -------
        bool
            Whether the refit is done.

        Raises
        ------
        ValueError
            There is a `fit` and no `loss`.
        """
        if self.fit is not None and loss is None:
            raise ValueError(f"loss: fit={self.fit} is compared with it; call step(loss)")
        if self.phase == "done":
            return True
        self._steps += 1
        if self.released_at is not None:
            self._project()
        elif self._steps % self.check_every == 0 and self.penalty.weight > 0:
            self._look(self.fit is None or loss is None or float(loss) <= self.fit)
        return self.phase == "done"

    def _look(self, fits: bool) -> None:
        """Count a check; at the last one release the penalty."""
        found: dict[str, int] = {}
        levels: dict[str, float] = {}
        layers = self.penalty.penalized()
        for layer in layers:
            with torch.no_grad():
                s = layer.spectrum().sort(descending=True).values.tolist()
            rank = self._rank(layer.name, s)
            if rank is not None:
                found[layer.name], levels[layer.name] = rank, s[rank - 1] if rank else 0.0
        self.uncollapsed = tuple(layer.name for layer in layers if layer.name not in found)
        if self.uncollapsed or not fits:
            self._count = 0
        elif (
            self._count
            and found == self._candidate
            and all(abs(levels[name] - old) <= self.drift * old for name, old in self._levels.items())
        ):
            self._count += 1
        else:
            self._count, self._candidate, self._levels = 1, found, levels
        if self._count >= self.patience:
            self.ranks, self.released_at, self.penalty.weight = found, self._steps, 0.0
            self._project()

    def _rank(self, name: str, s: list[float]) -> int | None:
        """The rank of a collapsed matrix; None for any other."""
        self._peaks[name] = max(self._peaks.get(name, 0.0), s[0])
        if len(s) == 1:  # a vector has no direction to close
            return 1
        if s[0] <= self.gap * self._peaks[name]:
            return 0
        s = [max(value, _NEGLIGIBLE * s[0]) for value in s]
        drops = [s[k] / s[k - 1] for k in range(1, len(s))]
        least = min(drops)
        rank = drops.index(least) + 1
        return rank if least <= self.gap and 2 * rank < len(s) else None

    def _project(self) -> None:
        """Put each matrix back to its rank."""
        for layer in self.penalty.penalized():
            if layer.name in self._kept:
                self._kept[layer.name].retract(layer)
            elif layer.name in self.ranks and can_project(layer):
                self._kept[layer.name] = FixedRank(layer, self.ranks[layer.name])

    def _before_step(self, *_: Any) -> None:
        """Make the gradients tangent; a hook of the optimizer."""
        if self.phase == "refit":
            if not self._kept:  # taken up from a state
                self._project()
            for kept in self._kept.values():
                kept.project_gradient()

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, as JSON-able data."""
        return {
            "steps": self._steps,
            "count": self._count,
            "candidate": dict(self._candidate),
            "levels": dict(self._levels),
            "peaks": dict(self._peaks),
            "ranks": dict(self.ranks),
            "released_at": self.released_at,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave, and with it the weight of a released penalty.

        The singular vectors are computed anew, so the run goes on as before up to rounding.
        """
        if set(state) != set(self.state_dict()):
            raise ValueError(f"not a state of HoldReleaseRefit: {state}")
        self._steps, self._count = int(state["steps"]), int(state["count"])
        self._candidate, self._levels = dict(state["candidate"]), dict(state["levels"])
        self._peaks = dict(state["peaks"])
        self.ranks, self.released_at = dict(state["ranks"]), state["released_at"]
        self._kept = {}
        if self.released_at is not None:
            self.penalty.weight = 0.0
