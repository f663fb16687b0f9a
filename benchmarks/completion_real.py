"""Real data: a photograph with pixels removed, and film ratings.

    python benchmarks/completion_real.py [--quick] [--seeds N] [--out F.json] [--threads N]

Photograph: scikit-learn's china.jpg, gray, averaged down to 214×320, of which 20, 30 or 50 % of the pixels
are kept. Reported is the peak signal-to-noise ratio (PSNR) of the whole picture, with kept pixels as observed
and values clipped to [0, 1] for every method. scikit-learn's imputers run with their defaults, except that
`IterativeImputer`, which regresses each of 320 columns on all others, is bounded to 20 other columns, drawn
by correlation (n_nearest_features=20), and 3 rounds (max_iter=3).

Ratings: MovieLens 100K, published split u1, root mean square error on the 20 000 test ratings. Baselines are
the user and film biases (ridge 5, the library's default), and SoftImpute on their residuals. This part needs
the data (see `overt.problems.fetch`) and is skipped without it.

`seconds` is the wall time of fit and completion and `cpu` their processor time, which is fairer on a machine
that does other work too.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  (makes IterativeImputer importable)
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from _report import parser, print_table, write_json
from overt.completion import nuclear_norm_minimization, soft_impute
from overt.completion.estimator import MatrixCompletion
from overt.completion.result import Completion
from overt.problems import CompletionProblem, DataUnavailableError, fit_offsets, movielens_100k, photograph
from overt.problems import psnr as psnr_of

SIZE = (214, 320)
KEPT = (0.2, 0.3, 0.5)
Matrix = NDArray[np.float64]
Answer = tuple[Matrix, str]  # completed matrix and a remark


def _estimator(_: CompletionProblem, X: Matrix) -> Answer:
    found = MatrixCompletion(clip=(0, 1))
    filled = found.fit_transform(X)
    return filled, f"{found.solver_}, rank {found.rank_}"


def _solver(solve: Callable[[CompletionProblem], Completion]) -> Callable[..., Answer]:
    def run(problem: CompletionProblem, _: Matrix) -> Answer:
        found = solve(problem)
        return found.W.numpy(), f"rank {found.rank}" + ("" if found.converged else ", not converged")

    return run


def _imputer(make: Callable[[], Any]) -> Callable[..., Answer]:
    def run(_: CompletionProblem, X: Matrix) -> Answer:
        return make().fit_transform(X), ""

    return run


def _iterative() -> Any:
    return IterativeImputer(n_nearest_features=20, max_iter=3, random_state=0, keep_empty_features=True)


PHOTOGRAPH: dict[str, Callable[[CompletionProblem, Matrix], Answer]] = {
    "MatrixCompletion": _estimator,
    "soft_impute": _solver(soft_impute),
    "nuclear norm": _solver(nuclear_norm_minimization),
    "IterativeImputer": _imputer(_iterative),
    "KNNImputer": _imputer(lambda: KNNImputer(keep_empty_features=True)),
    "column means": _imputer(lambda: SimpleImputer(keep_empty_features=True)),
}


def _matrix(problem: CompletionProblem) -> Matrix:
    X = np.full(problem.shape, np.nan)
    X[problem.rows, problem.cols] = problem.y
    return X


def photograph_rows(kept: float, seeds: Sequence[int], methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One row for each method."""
    for name in methods:
        results = []
        for seed in seeds:
            problem = photograph(kept=kept, seed=seed, size=SIZE)
            X = _matrix(problem)
            started, cpu = time.perf_counter(), time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about convergence and the certificate
                W, remark = PHOTOGRAPH[name](problem, X)
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            filled = np.where(np.isnan(X), W.clip(0, 1), X)
            results.append((psnr_of(torch.as_tensor(filled), problem.truth), seconds, remark, cpu))
        yield {
            "data": f"photograph {kept:.0%} kept",
            "method": name,
            "PSNR dB": float(np.mean([one[0] for one in results])),
            "spread dB": float(np.ptp([one[0] for one in results])),
            "seconds": float(np.median([one[1] for one in results])),
            "cpu": float(np.median([one[3] for one in results])),
            "remark": results[0][2],
        }


def _ratings_estimator(problem: CompletionProblem, clip: str | None) -> tuple[NDArray[Any], str]:
    found = MatrixCompletion(clip=clip).fit_triplets(problem.rows, problem.cols, problem.y, problem.shape)
    assert problem.heldout is not None
    rows, cols, _ = problem.heldout
    said = f"{found.solver_}, rank {found.rank_}, own estimate {found.heldout_error_:.4f}"
    return found.predict(rows.numpy(), cols.numpy()), said


def _biases(problem: CompletionProblem) -> tuple[NDArray[Any], str]:
    assert problem.heldout is not None
    rows, cols, _ = problem.heldout
    return fit_offsets(problem, "biases").at(rows, cols).numpy(), ""


def _ratings_soft_impute(problem: CompletionProblem) -> tuple[NDArray[Any], str]:
    assert problem.heldout is not None
    rows, cols, _ = problem.heldout
    centred, offsets = problem.center("biases")
    found = soft_impute(centred)
    return (offsets.at(rows, cols) + found.at(rows, cols)).numpy(), f"rank {found.rank}"


RATINGS: dict[str, Callable[[CompletionProblem], tuple[NDArray[Any], str]]] = {
    "MatrixCompletion": lambda problem: _ratings_estimator(problem, None),
    "MatrixCompletion, clip='observed'": lambda problem: _ratings_estimator(problem, "observed"),
    "biases": _biases,
    "biases + soft_impute": _ratings_soft_impute,
}


def ratings_rows() -> Iterator[dict[str, Any]]:
    """One row for each method; none if the data are not available."""
    try:
        problem = movielens_100k("u1")
    except DataUnavailableError as error:
        print(f"ratings skipped: {error}")
        return
    assert problem.heldout is not None
    values = problem.heldout[2].numpy()
    for name, method in RATINGS.items():
        started, cpu = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # films without a rating, the certificate
            predicted, remark = method(problem)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        error = float(np.sqrt(np.mean((predicted - values) ** 2)))
        yield {
            "data": "MovieLens 100K u1",
            "method": name,
            "RMSE": error,
            "seconds": seconds,
            "cpu": cpu,
            "remark": remark,
        }


def main() -> None:
    """Run, print, and store what was asked for."""
    options = parser(__doc__ or "")
    options.add_argument("--seeds", type=int, default=2)
    options.add_argument("--note", default="", help="stored with the results, such as what else was running")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads or 1)
    seeds = range(1 if arguments.quick else arguments.seeds)
    methods = [name for name in PHOTOGRAPH if not (arguments.quick and name == "IterativeImputer")]
    table: list[dict[str, Any]] = []
    for kept in (0.3,) if arguments.quick else KEPT:
        for row in photograph_rows(kept, seeds, methods):
            table.append(row)
            print_table([row])
    if not arguments.quick:
        for row in ratings_rows():
            table.append(row)
            print_table([row])
    print()
    print_table(table, ["data", "method", "PSNR dB", "RMSE", "seconds", "cpu", "remark"])
    settings = {
        "size": SIZE,
        "kept": KEPT,
        "seeds": list(seeds),
        "image": "china.jpg",
        "note": arguments.note,
    }
    write_json(arguments.out, "completion_real", table, settings)


if __name__ == "__main__":
    main()
