"""The methods that benchmarks/ratings.py compares: how each is fitted, and which settings are tried.

A method fits to a split's training ratings and answers with a function of positions. Overt is used by its
public estimator alone. The first setting of a grid is the package's own default.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from _ratings_data import Split

LEVEL = 0.9
Values = NDArray[np.floating[Any]]
Rows = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Fitted:
    """What a fit can be asked: values at positions, and for some the bounds of the interval of ``LEVEL``."""

    predict: Callable[[Rows, Rows], Values]
    interval: Callable[[Rows, Rows], tuple[Values, Values]] | None = None


@dataclass(frozen=True)
class Method:
    """A method, the module it needs, its settings, and the largest set that is affordable."""

    module: str
    fit: Callable[..., Fitted]
    grid: Sequence[Mapping[str, Any]] = ({},)
    largest: int = 10**9
    """Ratings it is run on at most."""
    tuned_to: int = 10**9
    """Ratings on which settings are tried at most; beyond, those of ML-100K 90/10 are taken."""


def triplets(rows: Rows, cols: Rows, y: Values, shape: tuple[int, int]) -> sp.coo_array:
    """Ratings as a sparse matrix."""
    return sp.coo_array((y, (rows, cols)), shape=shape)


# ---- baseline and Overt ----------------------------------------------------------------------------------


def biases(split: Split, _: int, *, ridge: float) -> Fitted:
    """Mean plus the biases of users and items, by 20 rounds of ridge regression."""
    mean = float(split.y.mean())
    a, b = (np.zeros(size) for size in split.shape)
    for _round in range(20):
        for own, other, index, across in ((a, b, split.rows, split.cols), (b, a, split.cols, split.rows)):
            rest = np.bincount(index, split.y - mean - other[across], len(own))
            own[:] = rest / (np.bincount(index, minlength=len(own)) + ridge)
    return Fitted(lambda rows, cols: mean + a[rows] + b[cols])


def overt_completion(split: Split, seed: int, **options: Any) -> Fitted:
    """The estimator; nothing is set but what `options` says."""
    import overt

    estimator = overt.MatrixCompletion(random_state=seed, **options)
    estimator.fit_triplets(split.rows, split.cols, split.y, split.shape)
    return Fitted(estimator.predict, lambda rows, cols: estimator.predict_interval(rows, cols, level=LEVEL))


# ---- cmfrec, LensKit, Surprise ---------------------------------------------------------------------------


def cmfrec_cmf(split: Split, seed: int, **settings: Any) -> Fitted:
    """Alternating least squares with biases (Cortes 2018)."""
    from cmfrec import CMF

    model = CMF(random_state=seed, nthreads=1, verbose=False, precompute_for_predictions=False, **settings)
    model.fit(X=triplets(split.rows, split.cols, split.y, split.shape))
    return Fitted(lambda rows, cols: model.predict(user=rows, item=cols))


def lenskit_biased(split: Split, seed: int, **settings: Any) -> Fitted:
    """LensKit's BiasedMF."""
    import pandas as pd
    from lenskit.als import BiasedMFScorer
    from lenskit.data import ItemList, RecQuery, from_interactions_df
    from lenskit.training import TrainingOptions

    frame = pd.DataFrame({"user_id": split.rows, "item_id": split.cols, "rating": split.y})
    scorer = BiasedMFScorer(**settings)
    scorer.train(from_interactions_df(frame), TrainingOptions(rng=seed))
    mean = float(split.y.mean())

    def predict(rows: Rows, cols: Rows) -> Values:
        values = np.full(len(rows), np.nan)
        order = np.argsort(rows, kind="stable")
        users, starts = np.unique(rows[order], return_index=True)
        for user, chosen in zip(users, np.split(order, starts[1:]), strict=True):
            found = scorer(RecQuery(user_id=user), ItemList(item_ids=cols[chosen]))
            values[chosen] = found.scores()
        return np.where(np.isnan(values), mean, values)

    return Fitted(predict)


def surprise_factors(kind: str) -> Callable[..., Fitted]:
    """Surprise's SVD or SVDpp, by stochastic gradient descent."""

    def fit(split: Split, seed: int, **settings: Any) -> Fitted:
        import pandas as pd
        import surprise

        frame = pd.DataFrame({"user": split.rows, "item": split.cols, "rating": split.y})
        data = surprise.Dataset.load_from_df(frame, surprise.Reader(rating_scale=(1, 5)))
        model = getattr(surprise, kind)(random_state=seed, **settings)
        model.fit(data.build_full_trainset())

        def predict(rows: Rows, cols: Rows) -> Values:
            return np.array([model.predict(u, i).est for u, i in zip(rows, cols, strict=True)])

        return Fitted(predict)

    return fit


# ---- myFM ------------------------------------------------------------------------------------------------


def myfm_bayes(split: Split, seed: int, *, rank: int, sweeps: int, who: bool = False) -> Fitted:
    """Bayesian factorization machine by Gibbs sampling (Rendle 2013); `who` adds who rated what, both sides.

    Without side information it is Bayesian probabilistic matrix factorization with biases. `who` is SVD++
    with its mirror: a user's row holds the items that he rated, each 1/√(their number), and an item's row its
    users. A quarter of the sweeps is burnt in. The interval is of draws of value and noise, one each kept
    sweep.
    """
    import myfm

    kept = sweeps - sweeps // 4
    m, n = split.shape
    seen = sp.csr_array((np.ones(len(split.y)), (split.rows, split.cols)), shape=split.shape)
    sides = []
    for mask in (seen, seen.T.tocsr()):
        size = mask.shape[0]
        count = np.maximum(np.asarray(mask.sum(1)).ravel(), 1)
        parts = [sp.eye_array(size), *([sp.diags_array(count**-0.5) @ mask] if who else [])]
        sides.append(sp.csr_matrix(sp.hstack(parts)))

    def blocks(rows: Rows, cols: Rows) -> list[Any]:
        pairs = zip((rows, cols), sides, strict=True)
        return [myfm.RelationBlock(index.astype(np.int64).tolist(), side) for index, side in pairs]

    def empty(rows: Rows) -> sp.csr_matrix:
        return sp.csr_matrix((len(rows), 0), dtype=np.float64)

    model = myfm.MyFMRegressor(rank=rank, random_seed=seed)
    model.fit(
        empty(split.rows),
        split.y.astype(float),
        X_rel=blocks(split.rows, split.cols),
        n_iter=sweeps,
        n_kept_samples=kept,
        group_shapes=[m, n, n, m] if who else [m, n],
        callback=lambda *_: (False, None),
    )

    def interval(rows: Rows, cols: Rows) -> tuple[Values, Values]:
        rng = np.random.default_rng(seed)
        noise = [hyper.alpha**-0.5 for hyper in model.history_.hypers[-kept:]]
        X, relations = empty(rows), blocks(rows, cols)
        draws = [
            one.predict_score(X, relations) + std * rng.standard_normal(len(rows))
            for one, std in zip(model.predictor_.samples, noise, strict=True)
        ]
        low, high = np.quantile(np.array(draws, dtype=np.float32), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        return low, high

    return Fitted(lambda rows, cols: model.predict(empty(rows), blocks(rows, cols)), interval)


def _grid(**choices: Sequence[Any]) -> list[dict[str, Any]]:
    """All combinations, the last name changing fastest."""
    return [dict(zip(choices, one, strict=True)) for one in itertools.product(*choices.values())]


_WEIGHTS = (10.0, 5.0, 15.0, 20.0)
_IMPLICIT = {"add_implicit_features": [True], "w_implicit": (0.5, 0.1)}
_SGD = (
    {},  # 100 factors, 20 epochs, rate 0.005, weight 0.02
    *_grid(n_factors=(20, 100), n_epochs=[40], lr_all=[0.005], reg_all=(0.06, 0.08)),
    {"n_factors": 100, "n_epochs": 60, "lr_all": 0.005, "reg_all": 0.1},
)

METHODS: Mapping[str, Method] = {
    "biases": Method("numpy", biases, _grid(ridge=(5.0, 2.0, 1.0))),
    "cmfrec": Method(
        "cmfrec",
        cmfrec_cmf,
        [
            *_grid(k=(40, 20, 10), lambda_=_WEIGHTS),
            *_grid(k=(40, 20), lambda_=(0.1, 0.15, 0.2), scale_lam=[True]),
        ],
    ),
    "cmfrec, implicit features": Method(
        "cmfrec", cmfrec_cmf, _grid(k=(40, 20), lambda_=_WEIGHTS, **_IMPLICIT)
    ),
    "LensKit BiasedMF": Method(
        "lenskit",
        lenskit_biased,
        [{}, *_grid(embedding_size=(25, 50, 100), regularization=(0.15, 0.2, 0.25))],
        tuned_to=200_000,
    ),
    "Surprise SVD": Method("surprise", surprise_factors("SVD"), _SGD, tuned_to=200_000),
    "Surprise SVD++": Method(
        "surprise",
        surprise_factors("SVDpp"),
        [{}, *_grid(n_epochs=[30], reg_all=(0.05, 0.08))],
        largest=200_000,
    ),
    "myFM": Method("myfm", myfm_bayes, _grid(rank=(10, 20), sweeps=[200])),
    "myFM, who rated what": Method(
        "myfm", myfm_bayes, _grid(rank=(10, 20), sweeps=[200], who=[True]), tuned_to=200_000
    ),
    "Overt": Method("overt", overt_completion),
    "Overt, who rated what": Method("overt", overt_completion, [{"implicit": True, "quality": "best"}]),
}
REFERENCE = "cmfrec"
