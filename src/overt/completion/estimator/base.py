"""What the estimators of a low-rank matrix share: parameters, choice of solver, fitted attributes."""

from __future__ import annotations

import numbers
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from overt._utils.estimators import DEVICE, RANDOM_STATE, Estimator, seed_of
from overt.completion.estimator.solvers import DEFAULT_PENALTY, PENALTIES, SolverOptions
from overt.completion.irls.proxy import PROXIES
from overt.completion.result import Completion, Triplet

_COUNT = Interval(numbers.Integral, 1, None, closed="left")


class LowRankEstimator(Estimator):
    """Base class of :class:`MatrixCompletion` and :class:`MatrixSensing`, where all parameters are described.

    A subclass lists its solvers in ``_parameter_constraints``, sets ``_dtype`` when it is fitted and hands
    what it found to :meth:`_record`, which sets the attributes that every estimator has. One with further
    parameters has an ``__init__`` of its own, as scikit-learn reads the parameters from its signature.
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        "solver": [StrOptions({"auto", "irls", "explicit", "nuclear"})],
        "rank_proxy": [StrOptions(set(PROXIES))],
        "penalty": [StrOptions(set(PENALTIES)), None],
        "depth": [_COUNT],
        "noise": [StrOptions({"auto"}), Interval(numbers.Real, 0, None, closed="left")],
        "heldout": [Interval(numbers.Real, 0, 1, closed="neither")],
        "max_rank": [_COUNT, None],
        "max_iter": [_COUNT, None],
        "tolerance": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "random_state": RANDOM_STATE,
        "device": DEVICE,
    }

    def __init__(
        self,
        solver: str = "auto",
        *,
        rank_proxy: str = "participation_ratio",
        penalty: str | None = DEFAULT_PENALTY,
        depth: int = 1,
        noise: str | float = "auto",
        heldout: float = 0.15,
        max_rank: int | None = None,
        max_iter: int | None = None,
        tolerance: float | None = None,
        random_state: Any = 0,
        device: str | torch.device | None = None,
    ) -> None:
        self.solver = solver
        self.rank_proxy = rank_proxy
        self.penalty = penalty
        self.depth = depth
        self.noise = noise
        self.heldout = heldout
        self.max_rank = max_rank
        self.max_iter = max_iter
        self.tolerance = tolerance
        self.random_state = random_state
        self.device = device

    def _options(self, scale: float, stacklevel: int, rounding: float = 1e-8) -> SolverOptions:
        """What the parameters ask of a solver, for observations in units of ``scale``.

        Another penalty or depth asks for ``"explicit"``. Warns where these have no effect, and refuses depth
        1 without any penalty.
        """
        if self.penalty is None and self.depth < 2:
            raise ValueError(
                "penalty=None needs depth ≥ 2; depth 1 without a penalty leaves missing entries as they are"
            )
        asked = self.penalty != DEFAULT_PENALTY or self.depth > 1
        if asked and self.solver not in ("auto", "explicit"):
            warnings.warn(
                f"penalty={self.penalty!r} and depth={self.depth} have no effect with solver={self.solver!r}"
                "; they belong to solver='explicit'",
                UserWarning,
                stacklevel=stacklevel + 1,
            )
        return SolverOptions(
            solver="explicit" if asked and self.solver == "auto" else self.solver,
            rank_proxy=self.rank_proxy,
            penalty=self.penalty,
            depth=self.depth,
            noise_std=None if isinstance(self.noise, str) else float(self.noise) / scale,
            max_rank=self.max_rank,
            max_iter=self.max_iter,
            tolerance=self.tolerance,
            seed=seed_of(self.random_state),
            rounding=rounding,
        )

    def _record(
        self, found: Completion, point: Triplet, solver: str, heldout_error: float, interrupted: bool
    ) -> None:
        """Set the attributes that every estimator has; ``point`` is the solution in the caller's units."""
        self.U_, self.singular_values_, self.Vt_ = map(self._array, point)
        self.rank_, self.effective_rank_ = found.rank, found.effective_rank
        self.converged_ = bool(found.converged and not interrupted)
        self.n_iter_, self.history_ = max(1, int(found.n_iter)), found.history
        self.solver_, self.heldout_error_ = solver, heldout_error
        self.message_ = "interrupted; this is the best model so far" if interrupted else found.message

    def _array(self, values: torch.Tensor) -> NDArray[np.floating[Any]]:
        return values.cpu().numpy().astype(self._dtype, copy=True)
