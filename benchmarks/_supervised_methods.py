"""The supervised learners that benchmarks/tables_supervised.py compares, and how each chooses its settings.

A method is a function of a `Split` and a seed, and returns a predictor: numbers for a regression, whose
training targets have mean 0 and variance 1, and probabilities of the classes otherwise. Nothing sees the test
rows. What is chosen from, by what:

* ``ridge``: 33 penalties by closed-form leave-one-out error; for classes logistic regression with 12
  penalties by log loss in five folds.
* ``kernel ridge``: Laplace and Gaussian kernels, 6 bandwidths (multiples of the median distance) and 10
  ridges each, 120 settings by closed-form leave-one-out error. Classes are fitted as indicators and become
  probabilities by a softmax; its temperature is fitted to the leave-one-out predictions.
* ``boosting``: LightGBM, its default and 39 random settings, by the error in five folds, in which early
  stopping chooses the number of trees, too.
* ``random forest``: 300 trees, 4 shares of columns and 3 sizes of leaves, by out-of-bag error.
* ``xRFM, 12 settings``: 2 bandwidths, 3 ridges, diagonal or full matrix, and the round, by a fifth of the
  training rows, then fitted to all.
* ``xRFM, tuned``: pytabkit's own search with its own space and its 50 settings; up to 500 training rows in
  five folds, whose models are averaged, above by a fifth of the rows, then five folds with the setting.
* ``xRFM, ensemble``: the same search, with pytabkit's greedy ensemble (Caruana et al. 2004) in the place of
  the best setting.
* ``Overt``: `overt.RFMRegressor` and `overt.RFMClassifier` as they are.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _apart import installed
from _supervised_data import Matrix, Split
from _supervised_scores import log_loss

Predictor = Callable[[Matrix], NDArray[Any]]
FOLDS = 5


@dataclass(frozen=True)
class Method:
    """How to fit a learner, and what has to be installed."""

    module: str
    fit: Callable[[Split, int], Predictor]
    asked_for: bool = False
    """Whether it runs only if it is named."""

    def missing(self) -> str:
        """What is not there; empty if the method can run."""
        if not installed(self.module):
            return f"{self.module} is not installed"
        if self.module == "overt":
            import overt

            return "" if hasattr(overt, "RFMRegressor") else "this version of Overt has no RFMRegressor"
        return ""


def _of(model: Any, split: Split) -> Predictor:
    """The predictor of a fitted estimator of scikit-learn's kind, with a column for every class."""
    if not split.classes:
        return lambda X: np.asarray(model.predict(X), dtype=float).ravel()

    def probabilities(X: Matrix) -> Matrix:
        found = np.zeros((len(X), split.classes))
        found[:, np.asarray(model.classes_, dtype=int)] = model.predict_proba(X)
        return found

    return probabilities


def _folds(split: Split, seed: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Rows to fit and rows to judge by; shares of the classes are kept where each has enough rows."""
    from sklearn.model_selection import KFold, StratifiedKFold

    enough = split.classes and np.bincount(split.y, minlength=split.classes).min() >= FOLDS
    kind = StratifiedKFold if enough else KFold
    return list(kind(FOLDS, shuffle=True, random_state=seed).split(split.X, split.y))


# ---- linear ----------------------------------------------------------------------------------------------


def _ridge(split: Split, seed: int) -> Predictor:
    from sklearn.linear_model import LogisticRegression, RidgeCV

    if not split.classes:
        return _of(RidgeCV(len(split.X) * np.logspace(-6, 2, 33)).fit(split.X, split.y), split)

    def fitted(C: float, X: Matrix, y: NDArray[Any]) -> Predictor:
        return _of(LogisticRegression(C=C, max_iter=1000).fit(X, y), split)

    def error(C: float) -> float:
        return float(
            np.mean(
                [
                    log_loss(fitted(C, split.X[a], split.y[a])(split.X[b]), split.y[b])
                    for a, b in _folds(split, seed)
                ]
            )
        )

    return fitted(min(np.logspace(-4, 3, 12), key=error), split.X, split.y)


# ---- kernels ---------------------------------------------------------------------------------------------

BANDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
RIDGES = tuple(np.logspace(-8, 1, 10))
KERNELS: Mapping[str, Callable[[Matrix], Matrix]] = {
    "laplace": lambda t: np.exp(-t),
    "gaussian": lambda t: np.exp(-(t**2) / 2),
}


def left_out(w: Matrix, V: Matrix, VY: Matrix, ridge: float) -> tuple[Matrix, Matrix]:
    """Coefficients of kernel ridge regression and its leave-one-out residuals, by K = V diag(w) Vᵀ.

    The residual of row i is a_i / ((K + λI)⁻¹)_ii (Allen 1974; Golub, Heath & Wahba 1979).
    """
    inverse = 1 / (np.maximum(w, 0) + ridge)
    A = V @ (inverse[:, None] * VY)
    return A, A / ((V**2) @ inverse)[:, None]


def _kernel_ridge(split: Split, _: int) -> Predictor:
    from scipy.linalg import eigh
    from scipy.spatial.distance import cdist

    codes = np.eye(split.classes)[split.y] if split.classes else split.y[:, None]
    mean = codes.mean(0)
    Y = codes - mean
    D = cdist(split.X, split.X)
    median = np.median(D[np.triu_indices(len(D), 1)]) or 1.0
    best: tuple[float, str, float, Matrix, Matrix] | None = None
    for name, kernel in KERNELS.items():
        for band in BANDS:
            w, V = eigh(kernel(D / (band * median)), overwrite_a=True, check_finite=False)
            VY = V.T @ Y
            for ridge in RIDGES:
                A, residual = left_out(w, V, VY, ridge)
                error = float((residual**2).mean())
                if best is None or error < best[0]:
                    best = (error, name, band * median, A, codes - residual)
    assert best is not None
    _, name, length, A, predicted = best

    def values(X: Matrix) -> Matrix:
        return KERNELS[name](cdist(X, split.X) / length) @ A + mean

    if not split.classes:
        return lambda X: values(X)[:, 0]
    sharp = sharpness(predicted, split.y)
    return lambda X: softmax(sharp * values(X))


def sharpness(scores: Matrix, labels: NDArray[Any]) -> float:
    """The factor whose softmax of the scores has the least log loss.

    Labels are smoothed as by Platt (1999): a class of m rows counts as (m + 1)/(m + 2) certain. Otherwise
    scores that separate the classes would ask for endless certainty.
    """
    counts = np.bincount(labels, minlength=scores.shape[1])
    sure = (counts + 1) / (counts + 2)
    targets = np.repeat(((1 - sure) / (len(counts) - 1))[labels][:, None], len(counts), 1)
    targets[np.arange(len(labels)), labels] = sure[labels]

    def loss(factor: float) -> float:
        return -float((targets * np.log(softmax(factor * scores))).sum())

    return min(map(float, np.logspace(-0.5, 2, 26)), key=loss)


def softmax(scores: Matrix) -> Matrix:
    """Probabilities by row."""
    raised = np.exp(scores - scores.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


# ---- trees -----------------------------------------------------------------------------------------------


def _boosting_settings(seed: int) -> Iterator[dict[str, Any]]:
    yield {}
    rng = np.random.default_rng([seed, 1])
    for _ in range(39):
        yield {
            "learning_rate": float(np.exp(rng.uniform(np.log(0.02), np.log(0.3)))),
            "num_leaves": round(np.exp(rng.uniform(np.log(3), np.log(63)))),
            "min_child_samples": round(np.exp(rng.uniform(np.log(2), np.log(50)))),
            "colsample_bytree": float(rng.uniform(0.3, 1)),
            "subsample": float(rng.uniform(0.5, 1)),
            "subsample_freq": 1,
            "reg_lambda": float(np.exp(rng.uniform(np.log(1e-3), np.log(30)))),
        }


def _boosting(split: Split, seed: int) -> Predictor:
    import lightgbm as lgb

    kind = lgb.LGBMClassifier if split.classes else lgb.LGBMRegressor
    fixed = {
        "n_jobs": 1,
        "verbosity": -1,
        "random_state": seed,
        "deterministic": True,
        "force_col_wise": True,
    }
    metric = "l2" if not split.classes else "binary_logloss" if split.classes == 2 else "multi_logloss"
    folds = _folds(split, seed)

    def tried(settings: dict[str, Any]) -> tuple[float, int]:
        errors, trees = [], []
        for a, b in folds:
            model = kind(n_estimators=1000, **fixed, **settings)
            stop = lgb.early_stopping(30, verbose=False)
            judged = [(split.X[b], split.y[b])]
            model.fit(split.X[a], split.y[a], eval_set=judged, eval_metric=metric, callbacks=[stop])
            errors.append(model.best_score_["valid_0"][metric])
            trees.append(model.best_iteration_)
        return float(np.mean(errors)), max(1, round(float(np.mean(trees))))

    chosen = min(((*tried(one), one) for one in _boosting_settings(seed)), key=lambda found: found[0])
    model = kind(n_estimators=chosen[1], **fixed, **chosen[2]).fit(split.X, split.y)
    return _of(model, split)


def _forest(split: Split, seed: int) -> Predictor:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    best: tuple[float, Any] | None = None
    for columns in ("sqrt", 1 / 3, 2 / 3, 1.0):
        for leaf in (1, 3, 8):
            settings = {"n_estimators": 300, "max_features": columns, "min_samples_leaf": leaf}
            settings |= {"oob_score": True, "n_jobs": 1, "random_state": seed}
            if split.classes:
                model = RandomForestClassifier(**settings).fit(split.X, split.y)
                error = log_loss(model.oob_decision_function_, model.classes_.searchsorted(split.y))
            else:
                model = RandomForestRegressor(**settings).fit(split.X, split.y)
                error = float(np.mean((model.oob_prediction_ - split.y) ** 2))
            if best is None or error < best[0]:
                best = (error, model)
    assert best is not None
    return _of(best[1], split)


# ---- recursive feature machines --------------------------------------------------------------------------


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _twelve() -> Iterator[tuple[dict[str, Any], float]]:
    for diagonal in (False, True):
        for bandwidth in (5.0, 20.0):
            for ridge in (1e-3, 3e-2, 1.0):
                yield {"kernel": "l2", "bandwidth": bandwidth, "exponent": 1.0, "diag": diagonal}, ridge


def _xrfm(split: Split, seed: int) -> Predictor:
    import torch
    from xrfm import xRFM

    X = torch.from_numpy(split.X).float()
    y = torch.from_numpy(split.y) if split.classes else torch.from_numpy(split.y).float()
    a, b = (torch.from_numpy(rows) for rows in _folds(split, seed)[0])

    def fitted(model: dict[str, Any], ridge: float, rows: torch.Tensor, rounds: int, search: bool) -> Any:
        fit = {"reg": ridge, "iters": rounds, "verbose": False}
        fit |= {"early_stop_rfm": search, "return_best_params": search}
        settings = {"model": dict(model), "fit": fit}
        metric = "logloss" if split.classes else "mse"
        learner = xRFM(
            settings,
            device="cpu",
            tuning_metric=metric,
            classification_mode="prevalence" if split.classes else "zero_one",
            random_state=seed,
            n_threads=1,
            verbose=False,
        )
        with _quiet():
            return learner.fit(X[rows], y[rows], X[b], y[b])

    def predictor(learner: Any) -> Predictor:
        call = learner.predict_proba if split.classes else learner.predict
        return lambda Z: np.asarray(call(torch.from_numpy(Z).float()), dtype=float).reshape(
            (len(Z), split.classes) if split.classes else len(Z)
        )

    best: tuple[float, dict[str, Any], float, int] | None = None
    for model, ridge in _twelve():
        learner = fitted(model, ridge, a, 5, True)
        found, truth = predictor(learner)(split.X[b.numpy()]), split.y[b.numpy()]
        error = log_loss(found, truth) if split.classes else float(np.mean((found - truth) ** 2))
        if best is None or error < best[0]:
            best = (error, model, ridge, learner.trees[0]["model"].best_iter)
    assert best is not None
    return predictor(fitted(best[1], best[2], torch.arange(len(X)), best[3], False))


SEARCH_FOLDS_UP_TO = 500
SAMPLED = ("bandwidth", "p_interp", "exponent", "reg", "diag", "kernel_type")


def _pytabkit(ensemble: bool) -> Callable[[Split, int], Predictor]:
    def fit(split: Split, seed: int) -> Predictor:
        from pytabkit.models.sklearn import sklearn_interfaces as kit

        search = kit.XRFM_HPO_Classifier if split.classes else kit.XRFM_HPO_Regressor
        single = kit.XRFM_D_Classifier if split.classes else kit.XRFM_D_Regressor
        common: dict[str, Any] = {"device": "cpu", "n_threads": 1, "random_state": seed}
        if split.classes:
            common["val_metric_name"] = "cross_entropy"
        y = split.y if split.classes else split.y.astype(np.float32)
        folds = FOLDS if len(split.X) <= SEARCH_FOLDS_UP_TO else 1
        with _quiet():
            model = search(n_cv=folds, use_caruana_ensembling=ensemble, **common).fit(split.X, y)
            if folds == 1 and not ensemble:
                drawn = model.fit_params_["sub_fit_params"]
                setting = {name: drawn[name] for name in SAMPLED if name in drawn}
                model = single(n_cv=FOLDS, **common, **setting).fit(split.X, y)
        return _of(model, split)

    return fit


def _overt(split: Split, seed: int) -> Predictor:
    import overt

    kind = overt.RFMClassifier if split.classes else overt.RFMRegressor
    model = kind()
    if "random_state" in model.get_params():
        model.set_params(random_state=seed)
    return _of(model.fit(split.X, split.y), split)


METHODS: Mapping[str, Method] = {
    "Overt": Method("overt", _overt),
    "kernel ridge": Method("sklearn", _kernel_ridge),
    "ridge": Method("sklearn", _ridge),
    "boosting": Method("lightgbm", _boosting),
    "random forest": Method("sklearn", _forest),
    "xRFM, 12 settings": Method("xrfm", _xrfm),
    "xRFM, tuned": Method("pytabkit", _pytabkit(False)),
    "xRFM, ensemble": Method("pytabkit", _pytabkit(True), asked_for=True),
}
REFERENCE = "kernel ridge"
