"""Seconds of one step of the matrix-free solvers over the number of observed entries, at fixed rank.

    python benchmarks/completion_cost.py [--quick] [--threads N] [--out F.json] [--picture F.svg]

The matrices are products of Gaussian factors of rank 10. Entries are drawn uniformly at oversampling ρ = 2,
so that rows, columns and entries grow together. At every size the start is the perturbed truth. Timed are:

* `cg`: one conjugate-gradient step of the reduced system, which both solvers share;
* `irls`: one reweighted step of `irls`, its singular triplets included;
* `refit`: one Gauss–Newton step of the refit, which is also the step of `factored`;
* `irls rest` and `refit rest`: the same without their conjugate-gradient steps, whose number is reported.

The exponent is the slope of log(seconds) over log(entries) with its 95 % interval from the residuals; 1 is
linear. Seconds are processor time of the fastest repeat, which other processes disturb least.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from _report import parser, print_table, write_json
from overt.completion.irls.engine import EntriesEngine
from overt.completion.refit.normal import (
    ReducedSolver,
    ReducedSystem,
    factor_grams,
    solve_rows,
    variable_projection_step,
)
from overt.linalg import orthonormal_basis
from overt.problems import matrix_completion

RANK, RHO = 10, 2.0
KEPT = 85  # singular triplets that irls keeps at this oversampling, whatever the size
SIZES = (500, 1000, 2000, 4000, 8000, 16_000, 32_000, 50_000)
QUICK = (500, 1000, 2000, 4000)
PARTS = ("cg", "irls", "irls rest", "refit", "refit rest")


def fastest(function: Callable[[], object], repeats: int) -> float:
    """Processor seconds of the fastest of the repeats, after one that is not counted."""
    function()
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        function()
        seconds.append(time.process_time() - began)
    return min(seconds)


class State:
    """A problem and a point near its solution."""

    def __init__(self, n: int) -> None:
        problem = matrix_completion(
            (n, n), rank=RANK, n_observed=round(RHO * RANK * (2 * n - RANK)), seed=0, min_per_line=0
        )
        factors = problem.truth_factors
        assert factors is not None
        generator = torch.Generator().manual_seed(1)
        near = [
            orthonormal_basis(part + 0.1 * part.std() * _noise(part, generator)).contiguous()
            for part in (factors.U, factors.V)
        ]
        self.U, self.V = near
        self.engine = EntriesEngine(problem)
        self.engine.dense = False
        self.engine.previous = self.engine.y.new_zeros(KEPT)
        self.s = n * torch.linspace(1.0, 0.5, RANK, dtype=torch.float64) / math.sqrt(RANK)

    def cg(self, steps: int) -> object:
        """Conjugate gradients for a fixed number of steps."""
        return self.system.solve(self.right, 0.0, max_iter=steps)

    def prepare(self) -> None:
        """The reduced system that :meth:`cg` solves."""
        entries, y = self.engine.entries, self.engine.y
        metric = 0.1 * torch.eye(RANK, dtype=torch.float64)
        rows = factor_grams(entries.row_grams(self.V))
        self.system = ReducedSystem(entries, self.U, self.V, rows, metric)
        self.right = entries.times_t(y, self.U)

    def irls(self) -> int:
        """Make one reweighted step; return its number of conjugate-gradient steps."""
        before = self.engine.solver.iterations
        self.engine.step((self.U, self.s, self.V.mT), 0.1 * float(self.s[-1]), 0.0, KEPT)
        return self.engine.solver.iterations - before

    def refit(self) -> int:
        """Make one Gauss–Newton step, solve for the rows; return the number of conjugate-gradient steps."""
        entries, y, solver = self.engine.entries, self.engine.y, ReducedSolver()
        U = self.U * self.s
        misfit = entries.predict(U, self.V) - y
        step, _ = variable_projection_step(entries, U, self.V, misfit, 0.1, 0.0, solver)
        V = orthonormal_basis(self.V + step)
        entries.predict(solve_rows(entries, y, V, 0.0), V)
        return solver.iterations


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=torch.float64)


def measured(n: int, repeats: int) -> dict[str, Any]:
    """Seconds of each part at one size."""
    state = State(n)
    state.prepare()
    cg = (fastest(lambda: state.cg(11), repeats) - fastest(lambda: state.cg(1), repeats)) / 10
    row: dict[str, Any] = {"n": n, "entries": state.engine.k, "cg": cg}
    for name, step in (("irls", state.irls), ("refit", state.refit)):
        count = step()
        row[f"{name} cg steps"] = count
        row[name] = fastest(step, repeats)
        row[f"{name} rest"] = row[name] - count * cg
    return row


def exponent(entries: list[int], seconds: list[float]) -> dict[str, float]:
    """Slope of log(seconds) over log(entries) and its 95 % interval."""
    line = stats.linregress([math.log(k) for k in entries], [math.log(s) for s in seconds])
    half = float(stats.t.ppf(0.975, len(entries) - 2)) * float(line.stderr)
    return {"exponent": float(line.slope), "low": float(line.slope) - half, "high": float(line.slope) + half}


def picture(rows: list[dict[str, Any]], fits: list[dict[str, Any]], path: Path) -> None:
    """Seconds over entries for each part, with the fitted exponents and a line of slope 1."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    entries = [row["entries"] for row in rows]
    figure, axis = plt.subplots(figsize=(6.2, 4.2))
    names = {
        "cg": "one conjugate-gradient step",
        "irls": "one reweighted step",
        "irls rest": "… without conjugate gradients",
        "refit": "one Gauss–Newton step",
        "refit rest": "… without conjugate gradients",
    }
    for (name, label), marker in zip(names.items(), "osv^D", strict=True):
        fit = next(fit for fit in fits if fit["part"] == name)
        power = f"|Ω|^{fit['exponent']:.2f} [{fit['low']:.2f}, {fit['high']:.2f}]"
        style = "--" if name.endswith("rest") else "-"
        axis.loglog(
            entries, [row[name] for row in rows], style, marker=marker, ms=4, label=f"{label}: {power}"
        )
    base = rows[0]["cg"] / 2
    axis.loglog(entries, [base * k / entries[0] for k in entries], ":", color="grey", label="linear")
    axis.set_xlabel(f"observed entries |Ω| (rank {RANK}, ρ = {RHO:g})")
    axis.set_ylabel("processor seconds")
    axis.set_ylim(top=axis.get_ylim()[1] * 30)  # room for the legend above the lines
    axis.legend(frameon=False, fontsize=7.5, loc="upper left")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _arguments() -> argparse.Namespace:
    options = parser(__doc__ or "")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the costs here")
    return options.parse_args()


def main() -> None:
    """Time all sizes, fit the exponents, print and store."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads or 1)
    rows = []
    for n in QUICK if arguments.quick else SIZES:
        rows.append(measured(n, arguments.repeats))
        print_table(rows[-1:])
    entries = [row["entries"] for row in rows]
    fits = [{"part": part} | exponent(entries, [row[part] for row in rows]) for part in PARTS]
    print()
    print_table(rows)
    print()
    print_table(fits)
    if arguments.picture:
        picture(rows, fits, arguments.picture)
    settings = {"rank": RANK, "rho": RHO, "repeats": arguments.repeats, "exponents": fits}
    write_json(arguments.out, "completion_cost", rows, settings)


if __name__ == "__main__":
    main()
