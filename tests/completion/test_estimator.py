"""MatrixCompletion: recovery, every kind of input, new rows, attributes, solvers."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from overt import MatrixCompletion, functional
from overt.completion.estimator.solvers import PENALTIES, SOLVERS
from overt.problems import CompletionProblem, matrix_completion

Array = NDArray[np.float64]


def instance(noise: float = 0.0, **options: Any) -> CompletionProblem:
    settings: dict[str, Any] = {"shape": (40, 30), "rank": 2, "n_observed": 600, "seed": 0}
    settings |= options
    return matrix_completion(settings.pop("shape"), noise=noise, **settings)


def holes(problem: CompletionProblem) -> Array:
    X = np.full(problem.shape, np.nan)
    X[problem.rows, problem.cols] = problem.y
    return X


def relative(found: Any, problem: CompletionProblem) -> float:
    assert problem.truth is not None
    truth = problem.truth.numpy()
    return float(np.linalg.norm(np.asarray(found) - truth) / np.linalg.norm(truth))


def model_values(est: MatrixCompletion) -> Array:
    low_rank = est.U_ * est.singular_values_ @ est.Vt_
    return np.asarray(low_rank + est.offset_ + est.row_offsets_[:, None] + est.column_offsets_)


# ---- recovery ----------------------------------------------------------------------------------------------


def test_exact_data_is_recovered_with_its_rank() -> None:
    problem = instance()
    est = MatrixCompletion()
    completed = est.fit_transform(holes(problem))
    assert relative(completed, problem) < 1e-8
    assert (est.rank_, est.converged_, est.identifiable_) == (2, True, True)
    assert est.effective_rank_ == pytest.approx(2, abs=0.2)
    assert est.heldout_error_ < 1e-8
    assert est.noise_std_ == 0
    assert est.n_iter_ >= 1
    assert est.history_


@pytest.mark.slow
def test_the_hard_regime_is_tried_hard() -> None:
    problem = matrix_completion((40, 40), rank=3, n_observed=290, seed=4, min_per_line=3)
    est = MatrixCompletion().fit(holes(problem))
    assert est.rank_ == 3
    assert relative(model_values(est), problem) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "noise"), [("auto", 0.05), ("bayes", 0.3)])
def test_noise_is_estimated_and_averaged_out(solver: str, noise: float) -> None:
    problem = instance(noise)
    est = MatrixCompletion(solver).fit(holes(problem))
    assert est.solver_ == "bayes"
    assert est.singular_values_[2:].max(initial=0) < 0.25 * est.singular_values_[1]
    assert est.identifiable_ is None
    assert est.noise_std_ == pytest.approx(noise, rel=0.2)
    floor = noise * np.sqrt(2 * (40 + 30 - 2) / 600)
    assert relative(model_values(est), problem) < 1.6 * floor
    low, high = est.heldout_interval_
    assert low < est.heldout_error_ < high
    assert est.heldout_error_ < est.baseline_error_


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_offsets_are_taken_when_they_help() -> None:
    generator = np.random.default_rng(0)
    truth = 10 + generator.normal(size=(60, 1)) + 2 * generator.normal(size=40)
    X = truth + 0.5 * generator.normal(size=truth.shape)
    X[generator.random(X.shape) < 0.85] = np.nan
    errors = {}
    for offsets in ("auto", None, "mean"):
        est = MatrixCompletion("soft_impute", offsets=offsets, certify=False).fit(X)
        errors[offsets] = np.sqrt(np.mean((model_values(est) - truth) ** 2))
        assert est.row_offsets_.any() == (offsets == "auto")
    assert errors["auto"] < 0.95 * min(errors[None], errors["mean"])
    own = np.sqrt(np.mean((model_values(MatrixCompletion("bayes").fit(X)) - truth) ** 2))
    assert own < 1.3 * errors["auto"]


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["irls", "bayes", "nuclear", "soft_impute", "explicit"])
def test_every_solver_completes_an_easy_matrix(solver: str) -> None:
    problem = instance(n_observed=800)
    est = MatrixCompletion(solver, offsets=None).fit(holes(problem))
    assert est.solver_ == solver
    bias = {"nuclear": 0.05, "soft_impute": 0.05, "bayes": 1e-3}
    assert relative(model_values(est), problem) < bias.get(solver, 1e-6)


@pytest.mark.slow
def test_deep_linear_network_is_the_implicit_reference() -> None:
    problem = instance(n_observed=900, rank=1)
    est = MatrixCompletion(penalty=None, depth=3, offsets=None).fit(holes(problem))
    assert est.solver_ == "explicit"
    assert est.rank_ == 1
    assert est.converged_
    assert est.identifiable_ is None
    assert est.underdetermined_rows_ == []
    assert 100 < est.n_iter_ < 10_000
    assert relative(model_values(est), problem) < 0.01


@pytest.mark.slow
def test_a_short_budget_of_the_network_is_told() -> None:
    est = MatrixCompletion(penalty=None, depth=3, offsets=None, max_iter=600)
    with pytest.warns(ConvergenceWarning, match="depth 3: max_steps=600"):
        est.fit(holes(instance(n_observed=900, rank=1)))
    assert not est.converged_
    assert est.n_iter_ == 600


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["irls", "nuclear", "auto"])
def test_a_told_noise_level_is_used(solver: str) -> None:
    problem = instance(0.2)
    est = MatrixCompletion(solver, noise=0.2, offsets=None).fit(holes(problem))
    assert relative(model_values(est), problem) < 0.5


def test_a_wider_and_a_taller_matrix() -> None:
    for shape in ((15, 80), (80, 15)):
        problem = instance(shape=shape, n_observed=700)
        assert relative(MatrixCompletion().fit_transform(holes(problem)), problem) < 1e-8


# ---- input -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_inputs_give_the_same_model() -> None:
    problem = instance()
    X = holes(problem)
    rows, cols, y = problem.rows.numpy(), problem.cols.numpy(), problem.y.numpy()
    reference = model_values(MatrixCompletion().fit(X))
    others = [
        MatrixCompletion().fit(pd.DataFrame(X)),
        MatrixCompletion().fit(torch.as_tensor(X)),
        MatrixCompletion().fit(sparse.csr_array((y, (rows, cols)), shape=X.shape)),
        MatrixCompletion().fit(sparse.coo_matrix((y, (rows, cols)), shape=X.shape)),
        MatrixCompletion().fit_triplets(rows, cols, y, shape=X.shape),
        MatrixCompletion().fit(X.tolist()),
    ]
    for est in others:
        np.testing.assert_allclose(model_values(est), reference, atol=1e-9)


def test_stored_zeros_are_observations() -> None:
    X = np.outer(np.exp(np.sin(np.arange(6.0))), np.exp(np.cos(np.arange(5.0))))
    X[0] = 0.0
    rows, cols = np.nonzero(np.arange(30).reshape(6, 5) % 3)
    stored = sparse.csr_array((X[rows, cols], (rows, cols)), shape=X.shape)
    np.testing.assert_allclose(MatrixCompletion().fit_transform(stored), X, atol=1e-9)


def test_data_frames_keep_names_and_kind() -> None:
    X = holes(instance())
    names = [f"column {j}" for j in range(30)]
    frame = pd.DataFrame(X, columns=names, index=[f"row {i}" for i in range(40)])
    est = MatrixCompletion().set_output(transform="pandas")
    completed = est.fit_transform(frame)
    assert list(completed.columns) == names
    assert list(completed.index) == list(frame.index)
    assert list(est.get_feature_names_out()) == names
    assert list(est.feature_names_in_) == names
    with pytest.raises(ValueError, match="feature names"):
        est.transform(frame[names[::-1]])


@pytest.mark.slow
def test_polars_frames_with_nulls() -> None:
    X = holes(instance())
    frame = pl.DataFrame(X, schema=[f"c{j}" for j in range(30)]).fill_nan(None)
    completed = MatrixCompletion().set_output(transform="polars").fit_transform(frame)
    assert isinstance(completed, pl.DataFrame)
    np.testing.assert_allclose(completed.to_numpy(), MatrixCompletion().fit_transform(X), atol=1e-12)


def test_nullable_pandas_integers() -> None:
    frame = pd.DataFrame({"a": [1, 2, None, 4], "b": [2, None, 6, 8], "c": [3, 6, 9, None]}, dtype="Int64")
    completed = MatrixCompletion().fit_transform(frame)
    np.testing.assert_allclose(completed, np.outer([1, 2, 3, 4], [1, 2, 3]), atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_type_follows_the_input(dtype: Any) -> None:
    X = holes(instance()).astype(dtype)
    est = MatrixCompletion().fit(X)
    for value in (est.transform(X), est.predict([0], [1]), est.U_, est.Vt_, est.singular_values_):
        assert value.dtype == dtype


def test_input_is_left_alone() -> None:
    X = holes(instance())
    kept = X.copy()
    MatrixCompletion().fit_transform(X)
    np.testing.assert_array_equal(X, kept)


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (np.full((3, 3), np.nan), "no observed entry"),
        (np.array([[1.0, np.inf]]), "infinity"),
        (np.zeros((0, 3)), "0 sample"),
        (np.zeros(3), "2D array"),
    ],
)
def test_bad_matrices_are_refused(X: Array, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        MatrixCompletion().fit(X)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"solver": "magic"}, "solver"),
        ({"rank_proxy": "rank"}, "rank_proxy"),
        ({"depth": 0}, "depth"),
        ({"heldout": 1.0}, "heldout"),
        ({"noise": -1.0}, "noise"),
        ({"offsets": "rows"}, "offsets"),
        ({"clip": (2.0, 1.0)}, "low < high"),
        ({"clip": (1.0,)}, "clip"),
        ({"clip": (math.nan, 1.0)}, "clip"),
        ({"inference": "guess"}, "inference"),
        ({"inference": "variational", "implicit": True}, "use inference='sampling'"),
        ({"penalty": None}, "depth ≥ 2"),
        ({"penalty": "nonsense", "solver": "explicit"}, "nonsense"),
    ],
)
def test_bad_parameters_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        MatrixCompletion(**options).fit(holes(instance()))


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_penalty_that_does_not_exist_is_refused_whatever_the_solver(solver: str) -> None:
    with pytest.raises(ValueError, match="'penalty' parameter"):
        MatrixCompletion(solver, penalty="foo").fit(holes(instance()))


def test_penalties_are_the_functionals_without_further_arguments() -> None:
    W = torch.eye(3)
    usable = set()
    for name in set(functional.__all__) - {"singular_values"}:
        try:
            getattr(functional, name)(W)
        except (TypeError, ValueError):
            continue
        usable.add(name)
    assert set(PENALTIES) == usable


@pytest.mark.parametrize("options", [{"penalty": "stable_rank"}, {"depth": 2}])
def test_a_penalty_or_depth_without_effect_is_told(options: dict[str, Any]) -> None:
    X = np.outer(np.arange(1.0, 9.0), np.arange(1.0, 7.0))
    X[::3, ::2] = np.nan
    with pytest.warns(UserWarning, match="no effect with solver='irls'"):
        MatrixCompletion("irls", **options).fit(X)


@pytest.mark.slow
def test_another_penalty_asks_for_the_explicit_solver() -> None:
    X = np.outer(np.arange(1.0, 9.0), np.arange(1.0, 7.0))
    X[::3, ::2] = np.nan
    assert MatrixCompletion(penalty="effective_rank").fit(X).solver_ == "explicit"
    assert MatrixCompletion().fit(X).solver_ == "irls"


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_a_tuple_of_triplets_is_not_read_as_a_matrix(kind: Any) -> None:
    triplets = (kind([0, 1, 2, 2]), kind([0, 1, 0, 1]), kind([1.0, 2.0, 3.0, 4.0]))
    with pytest.raises(ValueError, match="fit_triplets"):
        MatrixCompletion().fit(triplets)
    with pytest.raises(ValueError, match="fit_triplets"):
        MatrixCompletion().fit_transform(triplets)
    assert MatrixCompletion().fit_transform(np.stack([np.arange(1.0, 5.0)] * 3)).shape == (3, 4)


# ---- answers -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_predict_reads_the_model_and_checks_positions() -> None:
    problem = instance(0.1)
    est = MatrixCompletion("bayes").fit(holes(problem))
    rows, cols = np.arange(30), np.arange(30)
    np.testing.assert_allclose(est.predict(rows, cols), model_values(est)[rows, cols])
    assert est.predict([], []).shape == (0,)
    for bad, error, words in (
        ([40], ValueError, "rows must lie in 0 … 39, got 40"),
        ([-1], ValueError, "rows must lie in 0 … 39, got -1"),
        ([0.5], TypeError, "rows must be whole numbers"),
    ):
        with pytest.raises(error, match=words):
            est.predict(bad, [0])
    with pytest.raises(ValueError, match="one shape"):
        est.predict([1, 2], [0])
    with pytest.raises(NotFittedError):
        MatrixCompletion().predict([0], [0])


@pytest.mark.slow
def test_predict_of_rows_is_the_model_even_where_something_is_observed() -> None:
    X = holes(instance(0.3))
    est = MatrixCompletion("bayes").fit(X)
    seen = ~np.isnan(X)
    np.testing.assert_array_equal(est.transform(X)[seen], X[seen])
    assert (est.predict(X)[seen] != X[seen]).any()
    np.testing.assert_allclose(est.predict(X)[~seen], est.transform(X)[~seen])


def test_new_rows_are_folded_in() -> None:
    whole = instance(shape=(60, 30), n_observed=1000)
    assert whole.truth is not None
    X = holes(whole)
    est = MatrixCompletion().fit(X[:40])
    new = est.transform(X[40:])
    missing = np.isnan(X[40:])
    enough = (~missing).sum(1) > 2
    truth = whole.truth.numpy()[40:]
    assert np.abs(new - truth)[enough].max() < 1e-6


@pytest.mark.slow
def test_fold_in_of_training_rows_agrees_with_the_fit() -> None:
    X = holes(instance(0.1))
    est = MatrixCompletion("bayes")
    fitted = est.fit_transform(X)
    assert np.sqrt(np.mean((est.transform(X) - fitted) ** 2)) < 0.1


@pytest.mark.slow
def test_observed_entries_are_kept_unless_asked_otherwise() -> None:
    X = holes(instance(0.3))
    seen = ~np.isnan(X)
    np.testing.assert_array_equal(MatrixCompletion("bayes").fit_transform(X)[seen], X[seen])
    est = MatrixCompletion("bayes", keep_observed=False)
    completed = est.fit_transform(X)
    np.testing.assert_allclose(completed, est.predict(*np.indices(X.shape)), rtol=1e-12)
    np.testing.assert_allclose(completed, model_values(est), atol=0.5)  # but for limits of predictions
    assert (completed[seen] != X[seen]).any()


@pytest.mark.slow
def test_clip_bounds_what_is_filled_in() -> None:
    X = holes(instance(0.3))
    missing = np.isnan(X)
    assert np.abs(MatrixCompletion("bayes", clip=(-0.5, 0.5)).fit_transform(X)[missing]).max() <= 0.5
    est = MatrixCompletion("bayes", clip="observed").fit(X)
    low, high = np.nanmin(X), np.nanmax(X)
    predicted = est.predict(*np.nonzero(missing))
    assert predicted.min() >= low
    assert predicted.max() <= high


def test_pipeline_clone_and_pickle() -> None:
    X = holes(instance())
    pipeline = make_pipeline(StandardScaler(), MatrixCompletion(offsets=None))
    completed = pipeline.fit_transform(X)
    assert np.isfinite(completed).all()
    est = MatrixCompletion(max_rank=4).fit(X)
    assert clone(est).max_rank == 4
    again = pickle.loads(pickle.dumps(est))  # noqa: S301
    np.testing.assert_array_equal(again.transform(X), est.transform(X))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_answer() -> None:
    X = holes(instance(0.2))
    first, second = (MatrixCompletion("bayes").fit(X) for _ in range(2))
    np.testing.assert_array_equal(first.transform(X), second.transform(X))


def test_refit_on_triplets_forgets_feature_names() -> None:
    est = MatrixCompletion().fit(pd.DataFrame(holes(instance()), columns=[f"c{j}" for j in range(30)]))
    rows, cols = np.divmod(np.arange(24), 4)
    est.fit_triplets(rows, cols, (rows + 1.0) * (cols + 1.0))
    assert est.n_features_in_ == 4
    assert not hasattr(est, "feature_names_in_")


# ---- trust -------------------------------------------------------------------------------------------------


def test_empty_rows_and_columns_are_warned_about_and_get_the_means() -> None:
    X = holes(instance())
    X[3], X[:, 5] = np.nan, np.nan
    with pytest.warns(UserWarning, match="hold no observation") as warned:
        est = MatrixCompletion().fit(X)
    assert sum("hold no observation" in str(w.message) for w in warned) == 2
    values = model_values(est)
    others = np.setdiff1d(np.arange(40), [3])
    kept = np.setdiff1d(np.arange(30), [5])
    np.testing.assert_allclose(values[3, kept], values[np.ix_(others, kept)].mean(0), atol=1e-9)
    np.testing.assert_allclose(values[others, 5], values[np.ix_(others, kept)].mean(1), atol=1e-9)
    assert est.identifiable_ is False
    assert 3 in est.underdetermined_rows_
    assert 5 in est.underdetermined_columns_


@pytest.mark.slow
def test_two_unconnected_blocks_are_reported() -> None:
    block = np.outer(np.exp(np.sin(np.arange(10.0))), np.exp(np.cos(np.arange(8.0))))
    X = np.full((20, 16), np.nan)
    X[:10, :8], X[10:, 8:] = block, -2 * block
    with pytest.warns(UserWarning, match="fall into 2 parts"):
        est = MatrixCompletion("irls").fit(X)
    assert est.identifiable_ is False


def test_certificate_can_be_left_out() -> None:
    assert MatrixCompletion(certify=False).fit(holes(instance())).identifiable_ is None


@pytest.mark.slow
def test_the_row_of_a_huge_outlier_is_reported_and_the_others_are_exact() -> None:
    """The outlier and an exact matrix make one of a rank more, but no other entry bears it out."""
    problem = instance()
    X = holes(problem)
    row, col = np.argwhere(~np.isnan(X))[5]
    X[row, col] = 1e12
    with pytest.warns(UserWarning, match=rf"observe more in row\(s\) {row}[ ,]"):
        est = MatrixCompletion().fit(X)
    assert problem.truth is not None
    error = np.abs(est.predict(*np.indices(X.shape)) - problem.truth.numpy())
    assert len(est.underdetermined_rows_) <= 2
    assert np.delete(error, est.underdetermined_rows_, 0).max() < 1e-3
    hidden = np.isnan(X[row])
    assert np.abs(est.predict(np.full(30, row), np.arange(30)))[hidden].max() < 10


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["nuclear", "soft_impute"])
def test_nothing_but_noise_falls_back_on_the_column_means(solver: str) -> None:
    generator = np.random.default_rng(3)
    X = generator.normal(size=(20, 15))
    X[generator.random(X.shape) < 0.4] = np.nan
    with pytest.warns(ConvergenceWarning, match="column means"):
        est = MatrixCompletion(solver).fit(X)
    assert (est.solver_, est.converged_, est.rank_) == ("column_mean", False, 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_nothing_but_noise_is_completed_by_about_the_column_means() -> None:
    """On 30 held-out entries chance decides whether a model looks better than them; then it does no harm."""
    ratios = []
    for seed in range(6):
        generator = np.random.default_rng(seed)
        X = generator.normal(size=(20, 15))
        hidden = np.nonzero(generator.random(X.shape) < 0.4)
        seen = X.copy()
        seen[hidden] = np.nan
        error = MatrixCompletion("bayes").fit(seen).predict(*hidden) - X[hidden]
        ratios.append(np.linalg.norm(error) / np.linalg.norm(np.nanmean(seen, 0)[hidden[1]] - X[hidden]))
    assert np.mean(ratios) < 1.05
    assert max(ratios) < 1.1


def test_noise_without_structure_falls_back_on_the_column_means() -> None:
    X = np.random.default_rng(3).normal(size=(40, 6)) + 10 * np.arange(6.0)
    X[::3, ::2] = np.nan
    with pytest.warns(ConvergenceWarning, match="column means"):
        est = MatrixCompletion(offsets=None, solver="soft_impute").fit(X)
    assert est.solver_ == "column_mean"
    assert est.converged_ is False
    np.testing.assert_allclose(est.predict([0], [0]), np.nanmean(X[:, 0]))


def test_bounds_of_another_kind_are_refused() -> None:
    with pytest.raises(TypeError, match=r"clip must be a number, got 'low'; give \(low, high\)"):
        MatrixCompletion(clip=("low", "high")).fit(holes(instance()))  # type: ignore[arg-type]
