"""The explicit route over the number of observations: success, exact rank, largest entry, steps and seconds.

Completion of a 100×100 matrix of rank 5 with default settings, ten seeds a row. Masks that leave a row or
column with fewer entries than the rank are redrawn if the number of entries allows it (from 1250 on), because
no method could complete them. Each row gives the oversampling ratio ρ = |Ω| / (r (2n − r)); ρ = 1 means as
many entries as degrees of freedom. An Adam step costs one 100×100 singular
value decomposition, about 20 n³ = 2e7 flops.
"""

from __future__ import annotations

import statistics

import torch

from _report import parser, print_table, write_json
from overt.completion import Completion, explicit, irls
from overt.problems import CompletionProblem, matrix_completion

N, RANK = 100, 5
COUNTS = (975, 1000, 1100, 1250, 1500, 2000, 3000, 5000)


def judged(found: Completion, problem: CompletionProblem) -> dict[str, float | bool]:
    """Error, largest entry and cost of one run, and whether it recovered the matrix."""
    W = found.W
    error = problem.error(W)
    return {
        "recovered": error <= 1e-5 and found.rank == RANK,
        "error": error,
        "largest": float(W.abs().max()) / problem.max_abs_observed,
        "steps": found.n_iter,
        "seconds": found.seconds,
    }


def main() -> None:
    """Run the table."""
    options = parser(__doc__ or "")
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    given = options.parse_args()
    torch.set_num_threads(given.threads or 1)
    seeds = range(2 if given.quick else given.seeds)
    rows = []
    for count in [2000] if given.quick else given.counts:
        for name, solve in (("explicit", explicit), ("irls", irls)):
            results = []
            for seed in seeds:
                per_line = RANK if count >= 1250 else 0
                problem = matrix_completion(
                    (N, N), rank=RANK, n_observed=count, seed=seed, min_per_line=per_line
                )
                results.append(judged(solve(problem), problem))
            rows.append(
                {
                    "entries": count,
                    "rho": count / (RANK * (2 * N - RANK)),
                    "route": name,
                    "recovered": f"{sum(bool(r['recovered']) for r in results)}/{len(results)}",
                    "median error": statistics.median(float(r["error"]) for r in results),
                    "largest entry": max(float(r["largest"]) for r in results),
                    "median steps": statistics.median(float(r["steps"]) for r in results),
                    "median seconds": statistics.median(float(r["seconds"]) for r in results),
                }
            )
            print_table(rows[-1:])
    print_table(rows)
    settings = {"n": N, "rank": RANK, "seeds": list(seeds), "counts": given.counts}
    write_json(given.out, "explicit", rows, settings)


if __name__ == "__main__":
    main()
