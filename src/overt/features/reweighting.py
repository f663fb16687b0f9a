"""Iterative reweighting of any learner by its own M = E[JᵀJ]."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overt._utils.checks import check_choice, check_flag, check_integer, check_seed, optional
from overt.features.examples import Examples, examples, names_of, split
from overt.features.learners import Fitted, Measuring, Outputs, learner, stops_early
from overt.features.losses import Loss, check_loss
from overt.features.powers import reweighting_exponent
from overt.features.result import Reweighted, Round, effective_rank
from overt.features.weighting import Weighting, own_shape

_DEPTHS = {"eigen": (2.0, math.inf), "identity": (math.inf,)}
_PATIENCE = 2  # rounds without a lower error after which a path ends


def reweighted(
    fit: Any,
    X: Any,
    y: Any,
    basis: str = "auto",
    depth: float | None = None,
    *,
    rounds: int = 6,
    validation: Any = 0.2,
    loss: Loss = "auto",
    dims: Any = None,
    outputs: Outputs = "logits",
    method: str = "exact",
    probes: int = 16,
    max_samples: int | None = None,
    refit: bool | None = None,
    seed: int = 0,
) -> Reweighted:
    """Fit a learner, measure M = E[JᵀJ] of the fit, multiply inputs by M^{α/2}, fit again, choose the round.

    With α = 1 − p/2 = 1 − 1/L this is iterative reweighting for P_p(M), p = 2/L, the functional that depth-L
    linear networks prefer: a learner that shrinks its weights feels directions that it has found useful as
    larger. For ridge regression a round is the step of reweighted least squares for a Schatten quasi-norm of
    the coefficients; for kernels it is a recursive feature machine (Radhakrishnan et al. 2024). It gains
    where the target depends on few directions (eigenbasis) or few entries (identity basis) of the inputs and
    the learner sees some of that. A learner that standardizes its inputs itself undoes the weights of the
    identity basis: standardize before `reweighted`.

    There are no sample weights. A function may have its own for the rows of X where ``validation`` is a pair:
    then each fit is to all of them, in their order.

    Parameters
    ----------
    fit : callable or estimator
        ``fit(X, y) -> model``, such as a training loop, or a scikit-learn regressor, classifier or pipeline,
        of which clones are fitted. The function gets inputs and targets as they are given here, tensors or
        arrays, and makes a new model each time: a torch module or differentiable function, or anything with
        ``predict``. If it names them, it also gets ``seed``, ``generator`` (a new torch.Generator with that
        seed) and ``validation``, the held-out pair, to stop early by. A learner that draws from global
        random states is as random as before.
    X : Tensor or array-like, shape (n, …)
        Inputs, best standardized. For images and embeddings see ``dims``.
    y : Tensor or array-like, shape (n, …)
        Targets.
    basis : {"auto", "eigen", "identity"}
        ``"eigen"`` multiplies the flattened inputs by a matrix, ``"identity"`` each entry by a number, from
        the diagonal of M. ``"auto"`` tries both.
    depth : float, optional
        L ≥ 1, infinity too; α = 1 − 1/L, in both bases. By default 2 and infinity in the eigenbasis, that is
        α = ½ (which suits kernels) and α = 1 (which suits networks), and infinity in the identity basis.
        Depth 1 has no weights.
    rounds : int
        Refits at most for each basis and depth. A path ends early after two without a lower error.
    validation : float or (X, y)
        Share that is held out, stratified by labels, or held-out examples.
    loss : str or callable
        What is compared on them: ``"squared"``, ``"cross_entropy"`` or ``"error"`` (the share of wrong
        labels), or a function of outputs and targets to one number for each example; of a classifier it gets
        probabilities, or decision values where there are none. ``"auto"``: cross-entropy for labels, where
        there are outputs for each class, which are scores before the softmax if a torch model gives them;
        wrong labels for classifiers without probabilities; the squared error otherwise.
    dims : int or tuple of int, optional
        The last dimensions of an input, which have weights of their own; the others share them. All by
        default. Embeddings (n, tokens, e) take ``dims=-1``: one e × e matrix for all tokens.
    outputs : {"logits", "probabilities"}
        What M is of. For classifiers that only predict, the decision function, or the logarithms of
        probabilities where there is none.
    method, probes, max_samples
        How a torch model is measured, see :func:`overt.measure`. Other models are measured by central finite
        differences, 2 D predictions for each input. ``max_samples`` limits the inputs for both.
    refit : bool, optional
        Whether to fit once more with the chosen weights, on all examples, held-out ones too. By default where
        these were a share of X and the learner does not stop early by them.
    seed : int
        Of the split, the probes and the learner.

    Returns
    -------
    Reweighted
        ``predict``, ``transform``, ``module``, ``plot``, ``M_``, ``root_``, ``n_iter_``, ``rank_``,
        ``path_``. A round is chosen only if its validation error is below that of round 0, the plain learner,
        by more than one standard error of the difference; of these rounds the best. So ``n_iter_ == 0`` says
        that no structure was found.

    Raises
    ------
    TypeError, ValueError
        Wrong arguments; columns beyond 1e±75, whose squares over- or underflow; a learner that returns no
        model, or whose first fit predicts NaN; predictions that jump, as those of trees and nearest
        neighbours; models that cannot be measured.

    Warns
    -----
    UserWarning
        A later round diverges, or the weights change nothing.

    References
    ----------
    Radhakrishnan, A., Beaglehole, D., Pandit, P., Belkin, M. (2024). Mechanism for feature learning in neural
    networks and backpropagation-free machine learning models. Science 383(6690).

    Daubechies, I., DeVore, R., Fornasier, M., Güntürk, C. S. (2010). Iteratively reweighted least squares
    minimization for sparse recovery. Communications on Pure and Applied Mathematics 63(1).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.kernel_ridge import KernelRidge
    >>> from overt.features import reweighted
    >>> X = np.random.default_rng(0).standard_normal((200, 10))
    >>> found = reweighted(KernelRidge(kernel="rbf", gamma=0.1, alpha=0.1), X, np.sin(2 * X[:, 0]))
    >>> found.basis_, int(found.M_.argmax())
    ('identity', 0)
    """
    check_choice(basis, "basis", ("auto", "eigen", "identity"))
    exponent = None if depth is None else reweighting_exponent(depth)
    rounds = check_integer(rounds, "rounds", least=1)
    loss = check_loss(loss)
    seed = check_seed(seed)
    how = Measuring(
        check_choice(outputs, "outputs", ("logits", "probabilities")),
        check_choice(method, "method", ("exact", "sketch")),
        check_integer(probes, "probes", least=1),
        optional(check_integer, max_samples, "max_samples", least=1),
        seed,
    )
    fitting = learner(fit, seed)
    again = _refits(refit, fit, validation)
    data = examples(X, y)
    search = _Search(
        fitting, *split(data, validation, seed), own_shape(dims, tuple(data.X.shape[1:])), loss, how
    )
    bases = ("eigen", "identity") if basis == "auto" else (basis,)
    best = first = search.plain(bases[0])
    path = [first.point]
    for one in bases:
        alphas = map(reweighting_exponent, _DEPTHS[one]) if exponent is None else (exponent,)
        for alpha in alphas:
            for trial in search.path(first, one, alpha, rounds):
                path.append(trial.point)
                clear = trial.point.gain > trial.point.stderr
                if clear and trial.point.validation_error < best.point.validation_error:
                    best = trial
    if again:
        best = search.again(best, data)
    return _result(best, path, data, search.shape, names_of(X))


def _refits(refit: bool | None, fit: Any, validation: Any) -> bool:
    """Whether all examples are to be fitted in the end."""
    given, early = isinstance(validation, (tuple, list)), stops_early(fit)
    if refit is None:
        return not (given or early)
    if check_flag(refit, "refit") and given:
        raise ValueError(
            "refit=True adds what was held out of X, but validation is given apart; use refit=False"
        )
    if refit and early:
        raise ValueError("refit=True leaves nothing for fit to stop early by (validation=); use refit=False")
    return bool(refit)


@dataclass(frozen=True, eq=False)
class _Trial:
    """A fit, its losses on held-out examples, and M in its basis (round 0: in the first one)."""

    fitted: Fitted
    losses: Tensor
    M: Tensor
    basis: str
    point: Round


@dataclass(frozen=True, eq=False)
class _Search:
    """Fits one after another, each with the weights of the last."""

    fitting: Callable[[Examples, Examples, Weighting | None], Fitted]
    data: Examples
    held: Examples
    shape: tuple[int, ...]
    loss: Loss
    how: Measuring

    def plain(self, basis: str) -> _Trial:
        """Round 0."""
        trial = self._trial(None, basis, 0.0, None)
        if trial is None:
            raise ValueError(
                "fit: the learner's outputs, or the losses, are NaN or infinite on the held-out examples; "
                "give one that does not diverge"
            )
        return trial

    def path(self, first: _Trial, basis: str, alpha: float, rounds: int) -> Iterator[_Trial]:
        """The rounds after round 0 in a basis, until M is zero, the learner diverges or nothing is gained."""
        last, M, lowest, since = first, first.M, first.point.validation_error, 0
        if basis != first.basis:
            M = self._measure(first.fitted, self.data.X, basis)
        for _ in range(rounds if alpha > 0 else 0):
            if not bool(M.any()):  # a constant function has no directions
                return
            weighting = Weighting.of(M, alpha, basis, self.shape)
            trial = self._trial(weighting, basis, alpha, first, last.point.round + 1)
            if trial is None:
                warnings.warn(
                    f"round {last.point.round + 1} ({basis} basis): the learner diverges on the reweighted "
                    "inputs and the path ends here; a smaller learning rate would let it go on",
                    UserWarning,
                    stacklevel=3,
                )
                return
            if last is first and basis == "identity" and _same(first, trial, self.held.X):
                warnings.warn(
                    "fit: the learner does not feel the scale of its inputs, so that the identity basis has "
                    "no effect; standardize inputs before overt.reweighted rather than inside the learner",
                    UserWarning,
                    stacklevel=3,
                )
                return
            yield trial
            last, M, since = trial, trial.M, since + 1
            if trial.point.validation_error < lowest:
                lowest, since = trial.point.validation_error, 0
            if since == _PATIENCE:
                return

    def again(self, best: _Trial, data: Examples) -> _Trial:
        """The chosen fit, on all examples."""
        fitted = self.fitting(data, self.held, best.fitted.weighting)
        return replace(best, fitted=fitted, M=self._measure(fitted, data.X, best.basis))

    def _trial(
        self, weighting: Weighting | None, basis: str, alpha: float, first: _Trial | None, number: int = 0
    ) -> _Trial | None:
        """A fit with these weights; None if it diverges."""
        fitted = self.fitting(self.data, self.held, weighting)
        losses = fitted.losses(self.held, self.loss)
        if not bool(losses.isfinite().all()):
            return None
        gains = torch.zeros_like(losses) if first is None else first.losses - losses
        M = self._measure(fitted, self.data.X, basis)
        point = Round(
            basis=None if weighting is None else basis,
            alpha=alpha,
            round=number,
            validation_error=float(losses.mean()),
            gain=float(gains.mean()),
            stderr=float(gains.std() / len(gains) ** 0.5),
            effective_rank=effective_rank(M, basis),
        )
        return _Trial(fitted, losses, M, basis, point)

    def _measure(self, fitted: Fitted, X: Tensor, basis: str) -> Tensor:
        return fitted.moment(X, basis, self.shape, self.how)


def _same(first: _Trial, trial: _Trial, X: Tensor) -> bool:
    """Whether weights that are not all alike have changed no prediction."""
    weighting = trial.fitted.weighting
    if weighting is None or bool((weighting.root - 1).abs().max() < 1e-3):
        return False
    found = [t.fitted.predict(X) for t in (first, trial)]
    one, other = (np.asarray(part.cpu() if isinstance(part, Tensor) else part) for part in found)
    return one.dtype.kind == "f" and bool(np.abs(one - other).max() <= 1e-9 * np.abs(one).max())


def _result(
    best: _Trial, path: list[Round], data: Examples, shape: tuple[int, ...], names: list[str] | None
) -> Reweighted:
    weighting = best.fitted.weighting
    if weighting is None:
        size = math.prod(shape)
        root = torch.eye(size) if best.basis == "eigen" else torch.ones(shape)
    else:
        root = weighting.root
    given = [part.numpy() if data.arrays else part.to(data.X) for part in (best.M, root.double().clone())]
    return Reweighted(
        model=best.fitted.model,
        n_iter_=best.point.round,
        basis_=best.point.basis,
        M_=given[0],
        root_=given[1],
        alpha_=best.point.alpha,
        rank_=effective_rank(best.M, best.basis),
        path_=tuple(path),
        _fitted=best.fitted,
        _like=data.X[:1].clone(),
        _shape=shape,
        _names=names,
    )
