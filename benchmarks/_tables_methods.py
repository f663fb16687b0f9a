"""The imputers that benchmarks/tables.py compares: functions of a table with missing cells and a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
DRAWS = 3  # of a multiple imputation; one of IterativeImputer, which fits anew for each
LEVEL = 0.9


@dataclass(frozen=True)
class Filled:
    """A completed table, and what else a method can say of it, computed when asked."""

    values: Matrix
    draws: Callable[[], list[Matrix]] | None = None
    interval: Callable[[], tuple[Matrix, Matrix]] | None = None
    """Bounds of the missing cells, in the order of ``numpy.nonzero``."""


@dataclass(frozen=True)
class Method:
    """How to run an imputer."""

    module: str
    run: Callable[[Matrix, int], Filled]
    main_only: bool = False
    """Whether it is too slow for other patterns than the main ones."""


def _overt(**options: Any) -> Callable[[Matrix, int], Filled]:
    def run(X: Matrix, seed: int) -> Filled:
        import overt

        estimator = overt.MatrixCompletion(random_state=seed, **options)
        values = estimator.fit_transform(X)
        missing = np.nonzero(np.isnan(X))

        def draws() -> list[Matrix]:
            return list(estimator.sample(DRAWS, random_state=seed))

        def interval() -> tuple[Matrix, Matrix]:
            low, high = estimator.predict_interval(*missing, level=LEVEL)
            return low, high

        return Filled(values, draws, interval)

    return run


def _means(X: Matrix, _: int) -> Filled:
    return Filled(np.where(np.isnan(X), np.nanmean(X, axis=0), X))


def _iterative(X: Matrix, seed: int) -> Filled:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    def draws() -> list[Matrix]:
        return [IterativeImputer(sample_posterior=True, random_state=seed).fit_transform(X)]

    return Filled(IterativeImputer(random_state=seed).fit_transform(X), draws)


def _standardized(X: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    mean, std = np.nanmean(X, axis=0), np.nanstd(X, axis=0)
    std = np.where(std > 0, std, 1.0)
    return (X - mean) / std, mean, std


def _neighbours(X: Matrix, _: int) -> Filled:
    from sklearn.impute import KNNImputer

    Z, mean, std = _standardized(X)
    return Filled(KNNImputer().fit_transform(Z) * std + mean)


def _forest(X: Matrix, seed: int) -> Filled:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    Z, mean, std = _standardized(X)
    trees = RandomForestRegressor(n_estimators=30, max_features="sqrt", n_jobs=1, random_state=seed)
    imputer = IterativeImputer(trees, max_iter=3, random_state=seed)
    return Filled(imputer.fit_transform(Z) * std + mean)


def _miceforest(X: Matrix, seed: int) -> Filled:
    import miceforest
    import pandas as pd

    frame = pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])])
    kernel = miceforest.ImputationKernel(frame, num_datasets=DRAWS, random_state=seed)
    kernel.mice(3, num_threads=1, verbose=False)
    every = [kernel.complete_data(one).to_numpy(dtype=float) for one in range(DRAWS)]
    return Filled(np.mean(every, axis=0), lambda: every)


METHODS: Mapping[str, Method] = {
    "Overt": Method("overt", _overt()),
    "Overt, best": Method("overt", _overt(quality="best")),
    "IterativeImputer": Method("sklearn.impute", _iterative),
    "KNNImputer": Method("sklearn.impute", _neighbours),
    "random forests": Method("sklearn.impute", _forest, main_only=True),
    "miceforest": Method("miceforest", _miceforest, main_only=True),
    "column means": Method("sklearn.impute", _means),
}
REFERENCE, FLOOR = "IterativeImputer", "column means"
