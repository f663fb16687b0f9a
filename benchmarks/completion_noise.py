"""Completion of noisy data over the signal-to-noise ratio: defaults beside an oracle and beside the floor.

    python benchmarks/completion_noise.py [--quick] [--seeds N] [--out F.json] [--threads N]

Gaussian 100×100 matrices of rank 5; round(ρ r (2n − r)) entries uniformly without replacement, at least 5 in
each row and column; Gaussian noise of 10^(−dB/20) times the RMS entry. Errors are ‖X − W‖_F / ‖W‖_F over the
whole matrix, W being the truth without noise. Compared are:

* ``MatrixCompletion()`` without arguments, with its model's values at every position;
* the oracle: the same ridge-regularized factors at the true rank, started at the truth, with the ridge of the
  smallest true error over a grid of 14 in steps of √2, and 0;
* the floor: noise · √(dof / |Ω|), dof = r (2n − r), the error of least squares on the tangent space at the
  truth for entries spread evenly. A ridge may fall below it where the noise is as large as the signal.

The bar: median ratio to the oracle at most 1.25. Intervals are 95 % bootstrap intervals of the median over
seeds. `seconds` is the wall time of ``fit`` and `cpu` its processor time, which is
fairer on a machine that does other work too.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from _report import parser, print_table, write_json
from overt.completion import refit
from overt.completion.estimator import MatrixCompletion
from overt.completion.result import Completion
from overt.problems import CompletionProblem, matrix_completion
from overt.studies.claims.statistics import bootstrap

N, RANK = 100, 5
DECIBELS = (5, 10, 20, 30, 40)
RHOS = (2.0, 4.0)
BAR = 1.25


def instance(rho: float, decibel: float, seed: int) -> CompletionProblem:
    """The seeded problem of a cell."""
    count = round(rho * RANK * (2 * N - RANK))
    noise = 10 ** (-decibel / 20)
    return matrix_completion((N, N), rank=RANK, n_observed=count, seed=seed, noise=noise, min_per_line=RANK)


def oracle(problem: CompletionProblem, noise: float) -> tuple[float, float]:
    """Smallest true error over the ridges at the true rank, and that ridge in units of the noise's norm."""
    assert problem.truth is not None
    m, n = problem.shape
    unit = noise * (math.sqrt(problem.n_observed / m) + math.sqrt(problem.n_observed / n))
    start = Completion.from_dense(problem.truth, rank_tolerance=1e-9)
    best = (math.inf, math.nan)
    for multiple in (*(2 ** (-step / 2) for step in range(14)), 0.0):
        found = refit(problem, start, rank=RANK, ridge=multiple * unit, max_iter=30)
        best = min(best, (problem.error(found.W), multiple))
    return best


def judged(rho: float, decibel: float, seed: int) -> dict[str, Any]:
    """One run."""
    problem, noise = instance(rho, decibel, seed), 10 ** (-decibel / 20)
    X = np.full(problem.shape, np.nan)
    X[problem.rows, problem.cols] = problem.y
    started, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an uncertain certificate warns; errors are measured here
        found = MatrixCompletion().fit(X)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    grid = np.indices(problem.shape).reshape(2, -1)
    error = problem.error(torch.as_tensor(found.predict(*grid).reshape(problem.shape)))
    best, multiple = oracle(problem, noise)
    floor = noise * math.sqrt(RANK * (2 * N - RANK) / problem.n_observed)
    return {
        "rho": rho,
        "dB": decibel,
        "seed": seed,
        "error": error,
        "oracle": best,
        "floor": floor,
        "to_oracle": error / best,
        "to_floor": error / floor,
        "oracle_multiple": multiple,
        "rank": found.rank_,
        "solver": found.solver_,
        "seconds": seconds,
        "cpu": cpu,
        "noise_estimate": found.noise_std_ / noise,
    }


def summary_row(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One line of the table."""

    def interval(name: str) -> tuple[float, str]:
        found = bootstrap([run[name] for run in runs], np.median, label=name)
        spread = "" if found.low is None else f"{found.low:.2f}–{found.high:.2f}"
        return found.value, spread

    (to_oracle, oracle_spread), (to_floor, floor_spread) = interval("to_oracle"), interval("to_floor")

    def middle(name: str) -> float:
        return float(np.median([run[name] for run in runs]))

    return {
        "rho": runs[0]["rho"],
        "dB": runs[0]["dB"],
        "error": middle("error"),
        "oracle": middle("oracle"),
        "floor": middle("floor"),
        "error/oracle": to_oracle,
        "interval": oracle_spread,
        "worst": max(run["to_oracle"] for run in runs),
        "within bar": to_oracle <= BAR,
        "error/floor": to_floor,
        "floor interval": floor_spread,
        "ranks": ",".join(str(run["rank"]) for run in runs),
        "noise est.": middle("noise_estimate"),
        "seconds": middle("seconds"),
        "cpu": middle("cpu"),
    }


def main() -> None:
    """Run, print, and store what was asked for."""
    options = parser(__doc__ or "")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--note", default="", help="stored with the results, such as what else was running")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads or 1)
    seeds = range(min(arguments.seeds, 2) if arguments.quick else arguments.seeds)
    decibels, rhos = ((10, 30), (4.0,)) if arguments.quick else (DECIBELS, RHOS)
    table, every = [], []
    for rho in rhos:
        for decibel in decibels:
            runs = [judged(rho, decibel, seed) for seed in seeds]
            every += runs
            table.append(summary_row(runs))
            print_table(table[-1:])
    print()
    print_table(table)
    settings = {"n": N, "rank": RANK, "seeds": list(seeds), "bar": BAR, "note": arguments.note, "runs": every}
    write_json(arguments.out, "completion_noise", table, settings)


if __name__ == "__main__":
    main()
