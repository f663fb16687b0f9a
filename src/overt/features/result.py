"""What `reweighted` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from overt import functional as F
from overt.features.examples import names_of, read_inputs
from overt.features.learners import Fitted, TorchFitted
from overt.features.plots import draw_reweighted
from overt.linalg import eigh


@dataclass(frozen=True)
class Round:
    """One fit.

    Attributes
    ----------
    basis : str or None
        Of the weights; None for round 0, whose inputs have none.
    alpha : float
        Exponent of M in the weights; 0 for round 0.
    round : int
        How often M was measured before.
    validation_error : float
        Mean loss of the held-out examples; infinite if the learner diverged.
    gain, stderr : float
        By how much the error is below that of round 0, and the standard error of this difference, example by
        example.
    effective_rank : float
        Of M of this fit: exp of the entropy of its normalized values (Roy & Vetterli 2007), √eig(M), or √diag
        M in the identity basis.
    """

    basis: str | None
    alpha: float
    round: int
    validation_error: float
    gain: float
    stderr: float
    effective_rank: float


@dataclass(frozen=True, eq=False, repr=False)
class Reweighted:
    """A learner behind weights of its inputs that it has found itself; made by :func:`overt.reweighted`.

    Attributes
    ----------
    model
        The fitted model; it takes ``transform(X)``.
    n_iter_ : int
        The round that was chosen. 0: the plain learner, no structure was found.
    basis_ : str or None
        Of the chosen weights; None for the plain learner.
    M_ : Tensor or ndarray
        E[JᵀJ] of this predictor by the inputs, over those of the fit: (D, D), or in the identity basis its
        diagonal, of the shape of an input. Of the last dimensions alone if ``dims`` says so.
    root_ : Tensor or ndarray
        M^{α/2} of the round before, which inputs are multiplied by, of the shape of ``M_``; tr M^α is the
        number of entries. Ones (or the identity matrix) for the plain learner.
    alpha_ : float
        The exponent of the chosen weights, 0 for the plain learner.
    rank_ : float
        Effective rank of ``M_``.
    path_ : tuple of Round
        All fits.
    """

    model: Any
    n_iter_: int
    basis_: str | None
    M_: Any
    root_: Any
    alpha_: float
    rank_: float
    path_: tuple[Round, ...]
    _fitted: Fitted
    _like: Tensor  # one input (1, …)
    _shape: tuple[int, ...]  # of what has weights
    _names: list[str] | None  # of the columns of a frame

    def transform(self, X: Any) -> Any:
        """Inputs times ``root_``, as the model takes them, a tensor or an array as X is."""
        inputs, arrays = self._read(X)
        found = self._fitted.transform(inputs)
        return found.numpy() if arrays else found

    def predict(self, X: Any) -> Any:
        """Predictions for inputs as they were before the weights.

        A torch model's outputs, in evaluation mode and without gradients; what ``predict`` of another says,
        such as labels. What else it can do takes transformed inputs:
        ``result.model.predict_proba(result.transform(X))``.

        Parameters
        ----------
        X : Tensor or array-like, shape (n, …)

        Returns
        -------
        Tensor or ndarray
            As X is.
        """
        inputs, arrays = self._read(X)
        found = self._fitted.predict(inputs)
        if isinstance(found, Tensor):
            return found.cpu().numpy() if arrays else found
        return found if arrays or found.dtype.kind not in "biuf" else torch.as_tensor(found)

    @property
    def module(self) -> nn.Module:
        """A torch model with its weights in front as a frozen layer; it takes inputs as they were.

        ``Sequential(Linear without bias, model)``, or with an entry-by-entry factor in place of the linear
        layer; the model itself in round 0. Its parameters are the model's, not copies.

        Raises
        ------
        AttributeError
            The learner's models are no modules.
        """
        if not isinstance(self._fitted, TorchFitted):
            raise AttributeError(
                "module: the learner is no torch module; call predict, or model on transform(X)"
            )
        return self._fitted.module(self._like)

    def plot(self, ax: Any = None, *, kind: str = "importances", most: int = 20) -> Any:
        """Draw what was found.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            A new one by default.
        kind : {"importances", "path"}
            Shares of the diagonal of ``M_``: bars of the most important entries, or a picture where an input
            has rows and columns, summed over what it has besides. Or validation errors over rounds.
        most : int
            How many bars.

        Returns
        -------
        matplotlib.axes.Axes
        """
        M = torch.as_tensor(self.M_).double().cpu()
        squares = M if M.shape == self._shape else M.diagonal().reshape(self._shape)
        shares = (squares / squares.sum().clamp_min(torch.finfo(squares.dtype).tiny)).numpy()
        return draw_reweighted(self.path_, self._chosen, shares, self._names, ax, kind, most)

    @property
    def _chosen(self) -> Round:
        key = self.basis_, self.alpha_, self.n_iter_
        return next(p for p in self.path_ if (p.basis, p.alpha, p.round) == key)

    def _read(self, X: Any) -> tuple[Tensor, bool]:
        inputs, arrays = read_inputs(X)
        names = names_of(X)
        if names is not None and self._names is not None and names != self._names:
            raise ValueError(
                f"X: the fit had the columns {self._names!s:.60}, got {names!s:.60}; order them alike"
            )
        if inputs.shape[1:] != self._like.shape[1:]:
            raise ValueError(
                f"X: the fit had inputs of shape {tuple(self._like.shape[1:])}, got {tuple(inputs.shape[1:])}"
            )
        return inputs, arrays

    def __repr__(self) -> str:
        where = (
            f"round {self.n_iter_}, {self.basis_} basis, alpha {self.alpha_:g}"
            if self.n_iter_
            else "round 0, no weights"
        )
        return (
            f"Reweighted({where}, effective rank {self.rank_:.3g}, validation error "
            f"{self._chosen.validation_error:.4g}, plain {self.path_[0].validation_error:.4g})"
        )


def effective_rank(M: Tensor, basis: str) -> float:
    """Of M, or of its diagonal in the identity basis; 0 for M = 0."""
    squares = (M.flatten() if basis == "identity" else eigh(M)[0]).clamp_min(0)
    return float(F.effective_rank(singular_values=squares.sqrt())) if bool(squares.any()) else 0.0
