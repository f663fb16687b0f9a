"""What the feature machines share: parameters, the fit, and what can be read off it."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from overt._utils.estimators import DEVICE, RANDOM_STATE, Estimator, seed_of
from overt.features import fitting
from overt.features.gradient import sensitivity
from overt.features.inputs import Units, table, units_of
from overt.features.plots import draw_machine
from overt.features.predictor import Predictor

__all__ = ["FeatureMachine"]


class FeatureMachine(Estimator):
    """Base class of :class:`RFMRegressor` and :class:`RFMClassifier`, where parameters are described."""

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        "max_rounds": [Interval(numbers.Integral, 0, None, closed="left")],
        "max_centers": [Interval(numbers.Integral, 1, None, closed="left")],
        "random_state": RANDOM_STATE,
        "device": DEVICE,
    }

    def __init__(
        self,
        *,
        max_rounds: int = 4,
        max_centers: int = 2000,
        random_state: int | np.random.RandomState | np.random.Generator | None = 0,
        device: str | torch.device | None = None,
    ) -> None:
        self.max_rounds = max_rounds
        self.max_centers = max_centers
        self.random_state = random_state
        self.device = device

    def _fit_stack(self, X: NDArray[Any], Y: NDArray[np.float64], outputs: Units) -> None:
        """Fit the stack to targets Y (n, k) in the given units, and set the attributes of all machines."""
        random = check_random_state(seed_of(self.random_state) % 2**32)
        self._precision = np.float64 if len(X) <= fitting.EXACT_ROWS else np.float32
        self._inputs, self._outputs = units_of(X), outputs
        Z = torch.as_tensor(self._inputs.standardized(X, self._precision)).to(self.device)
        T = torch.as_tensor(outputs.standardized(Y, self._precision)).to(self.device)
        with torch.no_grad():
            fitted = fitting.fit_stack(
                Z, T, rounds=self.max_rounds, max_centers=self.max_centers, random=random
            )
            found = sensitivity(fitted.stack, Z, self._inputs, outputs)
        self._stack, self._rows = fitted.stack, fitted.rows.cpu().numpy()
        self._left_out = fitted.predictions.double().cpu().numpy()
        self._residuals = fitted.predictions - T[fitted.rows]
        self.path_, self.n_iter_ = fitted.path, fitted.n_iter
        self.M_factor_, self.rank_ = found.factor, found.rank
        self.subspace_, self.subspace_shares_ = found.directions, found.shares
        self.importances_ = found.importances

    @property
    def M_(self) -> NDArray[np.float64]:  # noqa: N802
        """M = E[∇f ∇fᵀ] of the predictor at the training inputs, shape (d, d), in the units of the data."""
        check_is_fitted(self, "M_factor_")
        with np.errstate(over="ignore", invalid="ignore"):
            found: NDArray[np.float64] = self.M_factor_.T @ self.M_factor_
        return found

    def to_torch(self) -> torch.nn.Module:
        """The predictor as a differentiable torch module, inputs (n, d) to outputs (n, k), in their units.

        ``overt.measure(est.to_torch(), X)`` measures it as any network; X has the module's precision,
        float64 after a fit to at most 10 000 rows and float32 after a larger one. The outputs of a classifier
        are its scores before calibration.
        """
        check_is_fitted(self, "M_factor_")
        return Predictor(self._stack, self._inputs, self._outputs, self._residuals)

    def plot(self, ax: Any = None, *, kind: str = "importances", most: int = 20) -> Any:
        """Draw what the model found.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            A new one by default.
        kind : {"importances", "path"}
            Shares of the gradient of the most important columns, or out-of-fold errors over rounds.
        most : int
            How many columns.

        Returns
        -------
        matplotlib.axes.Axes
        """
        check_is_fitted(self, "M_factor_")
        names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(self.n_features_in_)])
        return draw_machine(self.path_, self.importances_, names, ax, kind, most)

    def _table(self, X: Any) -> Tensor:
        """New inputs, checked and standardized."""
        check_is_fitted(self, "M_factor_")
        Z = self._inputs.standardized(table(self, X, reset=False), self._precision)
        return torch.as_tensor(Z).to(self._residuals.device)
