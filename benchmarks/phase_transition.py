"""Success of exact completion over (oversampling, rank), beside solvers that are told the rank.

    python benchmarks/phase_transition.py [--quick] [--grid | --arora] [--cells N,R,K;…] [--rhos A,B]
                                          [--seeds N] [--solvers A,B] [--records F.jsonl] [--picture F.png]
                                          [--out F.json] [--threads N]

Ground truth: U, V from the QR factors of Gaussian matrices, singular values geomspace(κ, 1, r). The
round(ρ r (2n − r)) entries are uniform without replacement, redrawn until each row and column holds at least
r. A run succeeds if ‖X − W‖_F < 1e-3 ‖W‖_F. Without --grid the cells are those of the table below. Its
reference rates are those of published solvers that are *told the rank* (MatrixIRLS, Kümmerle & Verdun 2021,
and alternating minimization with an annealed ridge). With --grid the cells cover (ρ, r) at --size and κ = 1,
and --picture draws them. --arora runs the instance of Arora, Cohen, Hu & Luo 2019 instead: a product of
Gaussian factors, n = 100, r = 10, 2000 entries uniformly (ρ = 1.05). It runs once with masks redrawn as
above, and once with masks as they are drawn. Many of these leave some row or column with fewer entries than
the rank.

Not every mask above ρ = 1 determines the matrix. `identifiable` counts the masks that do, by the rank of the
measurement map on the tangent space at the truth. Finished runs are appended to --records and not repeated.

Solvers: MatrixCompletion (without arguments), irls (rank-blind), irls:PROXY (the same, driven by another
continuous rank: participation_ratio is the squared normalized nuclear norm), told (irls told the rank),
nuclear, soft_impute, and networks under Adam: deep (three linear layers), penalty (one, with the normalized
nuclear norm), flat (one, without). Of these any may end in :refit, the exact fit at the largest gap of
singular values that the studies give to every arm. If its first attempt fails, irls makes further ones that
do not depend on the proxy. `first` counts the runs solved by the first attempt, and `solved
at` is the median step at which solved runs ended. If several solvers run, each is compared with the first one
over the same masks: `better` and `worse` count the masks solved by only one of the two, and `p` is the
p-value of the exact two-sided sign test.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from math import comb
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from _report import parser, print_table, write_json
from overt import functional as F
from overt.completion import irls, nuclear_norm_minimization, refit, soft_impute
from overt.completion.certificate import certificate
from overt.completion.irls.proxy import PROXIES
from overt.completion.result import Completion
from overt.problems import CompletionProblem, matrix_completion
from overt.studies.claims.statistics import proportion
from overt.studies.shared.completion_runs import Arm, model_of, penalty_of
from overt.studies.shared.recovery import gap_rank
from overt.training import Stopping, train

SUCCESS = 1e-3
STEPS = 10_000  # of each network


class Cell(NamedTuple):
    """One cell of the table: size, rank, condition number, oversampling, and the rate to reach.

    A condition number of None stands for Gaussian factors; ``redrawn`` for positions that leave each row and
    column at least r entries.
    """

    n: int
    rank: int
    kappa: float | None
    rho: float
    reference: str = ""
    seconds: float | None = None  # of the best solver told the rank
    redrawn: bool = True


CELLS = [
    Cell(100, 5, 1, 1.05, "0/4"),
    Cell(100, 5, 1, 1.1, "3/10"),
    Cell(100, 5, 1, 1.2, "8/10", 0.3),
    Cell(100, 5, 1, 1.5, "10/10"),
    Cell(100, 5, 1, 2.0, "", 0.1),
    Cell(100, 5, 10, 1.1, "0/4"),
    Cell(100, 5, 10, 1.2, "6/10", 4.7),
    Cell(100, 5, 10, 1.5, "10/10"),
    Cell(100, 5, 10, 2.0, "", 0.1),
    Cell(100, 10, 1, 1.05, "7/10"),
    Cell(100, 10, 1, 1.1, "10/10"),
    Cell(100, 10, 1, 1.2, "10/10", 0.4),
    Cell(100, 10, 1, 1.5, "10/10"),
    Cell(100, 10, 1, 2.0, "", 0.1),
    Cell(100, 10, 10, 1.05, "2/10"),
    Cell(100, 10, 10, 1.1, "5/10"),
    Cell(100, 10, 10, 1.2, "10/10", 0.6),
    Cell(100, 10, 10, 1.5, "10/10"),
    Cell(100, 10, 10, 2.0, "", 0.1),
    Cell(300, 10, 1, 1.05, "1/3"),
    Cell(300, 10, 1, 1.1, "3/3"),
    Cell(300, 10, 1, 1.2, "3/3", 4.9),
    Cell(300, 10, 1, 1.5, "3/3"),
    Cell(300, 10, 1, 2.0, "", 0.5),
    Cell(300, 10, 10, 1.05),
    Cell(300, 10, 10, 1.1, "0/3"),
    Cell(300, 10, 10, 1.2, "3/3", 3.8),
    Cell(300, 10, 10, 1.5, "3/3"),
    Cell(300, 10, 10, 2.0, "", 0.7),
]
QUICK = [
    Cell(100, 5, 1, 1.2, "8/10", 0.3),
    Cell(100, 5, 10, 1.2, "6/10", 4.7),
    Cell(100, 10, 10, 2.0, "", 0.1),
]


ARORA = [
    Cell(100, 10, None, 2000 / 1900, "8/10", 3.0),
    Cell(100, 10, None, 2000 / 1900, "", None, redrawn=False),
]

Answer = tuple[Tensor, int, dict[str, Any]]
Solver = Callable[[CompletionProblem, int], Answer]


def _estimator(problem: CompletionProblem, _rank: int) -> Answer:
    from overt.completion.estimator import MatrixCompletion

    X = torch.full(problem.shape, torch.nan, dtype=problem.y.dtype)
    X[problem.rows, problem.cols] = problem.y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unidentifiable masks warn; they are counted separately
        found = MatrixCompletion().fit(X.numpy())
    return torch.as_tensor(found.transform(X.numpy())), int(found.rank_), {}


def _network(depth: int, lr: float, weight: float) -> Solver:
    """Adam from a start of 1e-3, its rate held over half of the steps and then falling to zero."""

    def solve(problem: CompletionProblem, _rank: int) -> Answer:
        arm = Arm(0, depth, weight, lr=lr, max_steps=STEPS)
        model = model_of(problem, arm)
        W = train(
            model,
            problem,
            lr=lr,
            penalty=penalty_of(model, problem, arm),
            max_steps=STEPS,
            stopping=Stopping(stall_steps=STEPS),
            lr_schedule=lambda step: min(1.0, 2 * (1 - step / STEPS)),
        ).W
        return W, int(torch.linalg.matrix_rank(W, rtol=1e-3)), {}

    return solve


def _refitted(
    solve: Solver,
) -> Solver:
    """The same with the exact fit at the largest gap, where it meets the data."""

    def both(problem: CompletionProblem, rank: int) -> Answer:
        W = solve(problem, rank)[0]
        gap = gap_rank(F.singular_values(W), problem.n_observed, problem.shape)
        found = refit(problem, W, rank=gap)
        return (found.W if found.converged else W), gap, {}

    return both


def _solved(found: Completion) -> Answer:
    return found.W, found.rank, {}


def _proxy(name: str) -> Solver:
    def solve(problem: CompletionProblem, _rank: int) -> Answer:
        found = irls(problem, rank_proxy=name)
        attempt = found.history[-1].get("attempt", 0) if found.history else 0
        return found.W, found.rank, {"attempt": attempt, "steps": found.n_iter}

    return solve


RELAXED: dict[str, Solver] = {
    "nuclear": lambda problem, _: _solved(nuclear_norm_minimization(problem)),
    "soft_impute": lambda problem, _: _solved(soft_impute(problem)),
    "deep": _network(3, 1e-3, 0.0),
    "penalty": _network(1, 1e-2, 1e-2),
    "flat": _network(1, 1e-2, 0.0),
}
SOLVERS: dict[str, Solver] = {
    "MatrixCompletion": _estimator,
    "irls": lambda problem, _: _solved(irls(problem)),
    "told": lambda problem, rank: _solved(irls(problem, rank_proxy=rank)),
    **{f"irls:{name}": _proxy(name) for name in PROXIES},
    **RELAXED,
    **{f"{name}:refit": _refitted(solve) for name, solve in RELAXED.items()},
}


def instance(cell: Cell, seed: int) -> CompletionProblem:
    """The seeded problem of a cell."""
    n, r = cell.n, cell.rank
    return matrix_completion(
        (n, n),
        rank=r,
        n_observed=round(cell.rho * r * (2 * n - r)),
        seed=seed,
        condition_number=cell.kappa,
        min_per_line=r if cell.redrawn else 0,
    )


def judged(cell: Cell, seed: int, solver: str) -> dict[str, Any]:
    """Solve one instance and judge the answer."""
    problem = instance(cell, seed)
    wall, cpu = time.perf_counter(), time.process_time()
    W, rank, more = SOLVERS[solver](problem, cell.rank)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    error = problem.error(W)
    truth = problem.truth
    assert truth is not None
    known = certificate(problem, Completion.from_dense(truth, rank_tolerance=1e-9)).identifiable
    success = error < SUCCESS
    return {
        "error": error,
        "success": success,
        "rank": rank,
        "exact_rank": success and rank == cell.rank,
        "seconds": wall,
        "cpu_seconds": cpu,
        "identifiable": known,
        **more,
    }


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    known = tuple(row[name] for name in ("solver", "n", "rank_true", "kappa", "rho", "seed"))
    return (*known, row.get("redrawn", True))


def runs(cells: list[Cell], solvers: list[str], seeds: int, records: Path | None) -> Iterator[dict[str, Any]]:
    """All runs, those in ``records`` read back and the others made and appended one by one."""
    done: dict[tuple[Any, ...], dict[str, Any]] = {}
    if records is not None and records.is_file():
        for line in records.read_text().splitlines():
            row = json.loads(line)
            done[_key(row)] = row
    for cell in cells:
        for solver in solvers:
            for seed in range(seeds):
                n, r, kappa, rho = cell[:4]
                row = {"solver": solver, "n": n, "rank_true": r, "kappa": kappa, "rho": rho, "seed": seed}
                if not cell.redrawn:
                    row["redrawn"] = False
                if _key(row) not in done:
                    row |= judged(cell, seed, solver)
                    done[_key(row)] = row
                    if records is not None:
                        with records.open("a") as file:
                            file.write(json.dumps(row) + "\n")
                yield done[_key(row)]


def summary_row(cell: Cell, solver: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of the table."""
    successes = sum(row["success"] for row in rows)
    share = proportion(successes, len(rows))
    return {
        "n": cell.n,
        "r": cell.rank,
        "kappa": "Gaussian" if cell.kappa is None else cell.kappa,
        "rho": round(cell.rho, 4),
        "redrawn": cell.redrawn,
        "solver": solver,
        "success": f"{successes}/{len(rows)}",
        "interval": f"{share.low:.2f}–{share.high:.2f}",
        "identifiable": sum(row["identifiable"] is True for row in rows),
        "exact rank": sum(row["exact_rank"] for row in rows),
        "median error": statistics.median(row["error"] for row in rows),
        "told (reference)": cell.reference,
        "seconds": statistics.median(row["seconds"] for row in rows),
        "cpu": statistics.median(row["cpu_seconds"] for row in rows),
        "reference s": "" if cell.seconds is None else cell.seconds,
        **_first_attempts(rows),
    }


def _first_attempts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many runs the first attempt solved, and the median step at which solved runs ended."""
    solved = [row for row in rows if row["success"] and "attempt" in row]
    if not any("attempt" in row for row in rows):
        return {}
    steps = statistics.median(row["steps"] for row in solved) if solved else None
    return {"first": sum(row["attempt"] == 0 for row in solved), "solved at": steps}


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each solver against the first one over the same masks, over all cells together.

    ``all`` compares success of the whole solver, ``first`` of its first attempt alone.
    """
    names = list(dict.fromkeys(row["solver"] for row in rows))
    table = []
    for name in names[1:]:
        for what in ("all", "first"):
            won = {
                which: {_key(row)[1:]: _won(row, what) for row in rows if row["solver"] == which}
                for which in (names[0], name)
            }
            shared = sorted(set(won[name]) & set(won[names[0]]), key=str)
            better = sum(won[name][key] and not won[names[0]][key] for key in shared)
            worse = sum(won[names[0]][key] and not won[name][key] for key in shared)
            table.append(
                {
                    "solver": name,
                    "against": names[0],
                    "attempts": what,
                    "masks": len(shared),
                    "better": better,
                    "worse": worse,
                    "p": sign_test(better, worse),
                }
            )
    return table


def _won(row: dict[str, Any], what: str) -> bool:
    return bool(row["success"] and (what == "all" or row.get("attempt", 0) == 0))


def sign_test(better: int, worse: int) -> float:
    """Exact two-sided p-value of ``better`` against ``worse`` under a fair coin; 1 if both are 0."""
    n = better + worse
    tail = sum(comb(n, i) for i in range(min(better, worse) + 1)) / 2**n
    return min(1.0, 2 * tail)


def picture(table: list[dict[str, Any]], path: Path) -> None:
    """Success over (ρ, r), one panel for each solver."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    solvers = list(dict.fromkeys(row["solver"] for row in table))
    ranks = sorted({row["r"] for row in table})
    rhos = sorted({row["rho"] for row in table})
    figure, axes = plt.subplots(
        1, len(solvers), figsize=(3.2 * len(solvers), 3.4), squeeze=False, sharey=True
    )
    for axis, solver in zip(axes[0], solvers, strict=True):
        values = torch.full((len(ranks), len(rhos)), torch.nan)
        for row in table:
            if row["solver"] == solver:
                good, total = (int(part) for part in row["success"].split("/"))
                values[ranks.index(row["r"]), rhos.index(row["rho"])] = good / total
        axis.imshow(values, origin="lower", aspect="auto", vmin=0, vmax=1, cmap="cividis")
        axis.set_xticks(range(len(rhos)), [f"{rho:g}" for rho in rhos], rotation=60)
        axis.set_yticks(range(len(ranks)), [str(rank) for rank in ranks])
        axis.set_title(solver, fontsize=9)
        axis.set_xlabel("oversampling ρ")
    axes[0][0].set_ylabel("rank")
    figure.suptitle("Share of instances recovered (dark: none, bright: all)", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__ or "")
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--solvers", default="MatrixCompletion", help=f"of {', '.join(SOLVERS)}")
    options.add_argument(
        "--records", type=Path, metavar="FILE.jsonl", help="append runs here and skip its own"
    )
    options.add_argument("--grid", action="store_true", help="(ρ, r) grid instead of the table's cells")
    options.add_argument("--arora", action="store_true", help="the instance of Arora et al. 2019 instead")
    options.add_argument("--rhos", metavar="A,B", help="only the table's cells with these ρ")
    options.add_argument("--size", type=int, default=100, help="n of the grid")
    options.add_argument("--cells", metavar="N,R,K;…", help="only the table's cells with these n, r, κ")
    options.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the grid here")
    return options.parse_args()


def _cells(arguments: argparse.Namespace) -> list[Cell]:
    if arguments.grid:
        ranks = (
            (3, 5, 10) if arguments.quick else (3, 4, 5, 6, 8, 10, 15)
        )  # below 3 no mask near ρ = 1 covers all lines
        rhos = (1.1, 1.5, 3.0) if arguments.quick else (1.02, 1.05, 1.1, 1.2, 1.35, 1.5, 2.0, 3.0)
        cells = [Cell(arguments.size, rank, 1, rho) for rank in ranks for rho in rhos]
        return [cell for cell in cells if cell.rho * cell.rank * (2 * cell.n - cell.rank) <= cell.n**2]
    if arguments.arora:
        return ARORA
    cells = QUICK if arguments.quick else CELLS
    if arguments.cells:
        asked = {tuple(float(part) for part in one.split(",")) for one in arguments.cells.split(";")}
        cells = [cell for cell in cells if (cell.n, cell.rank, cell.kappa) in asked]
    if arguments.rhos:
        rhos = {float(part) for part in arguments.rhos.split(",")}
        cells = [cell for cell in cells if cell.rho in rhos]
    return cells


def main() -> None:
    """Run, print, and store what was asked for."""
    arguments = _arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    seeds = min(arguments.seeds, 3) if arguments.quick else arguments.seeds
    solvers = arguments.solvers.split(",")
    unknown = [name for name in solvers if name not in SOLVERS]
    if unknown:
        raise SystemExit(f"--solvers must be among {', '.join(SOLVERS)}; got {', '.join(unknown)}")
    table, every = [], []
    for cell in _cells(arguments):
        for solver in solvers:
            rows = list(runs([cell], [solver], seeds, arguments.records))
            every += rows
            table.append(summary_row(cell, solver, rows))
            print_table(table[-1:])
    print()
    print_table(table)
    if arguments.picture:
        picture(table, arguments.picture)
    comparison = compared(every)
    if comparison:
        print()
        print_table(comparison)
    settings = {"seeds": seeds, "solvers": solvers, "paired comparison": comparison}
    write_json(arguments.out, "phase_transition", table, settings)


if __name__ == "__main__":
    main()
