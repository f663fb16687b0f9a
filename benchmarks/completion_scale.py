"""Time and memory of large completions, and the cost of one iteration over the number of entries.

    python benchmarks/completion_scale.py [--quick] [--full] [--out F.json] [--threads N] [--picture F.svg]

The matrices are rank-10 products of Gaussian factors without noise, observed at uniform positions. Each size
runs in a process of its own, so that `peak MiB` is its own peak resident memory, torch included. The error is
estimated on 100 000 random positions. `per entry` is seconds per step and observed entry, which is constant
if the cost is linear in the number of entries. --picture draws the seconds per step. --full adds
20 000 × 20 000 with 8 million entries (some minutes).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from _report import parser, print_table, write_json
from overt.completion import irls
from overt.problems import CompletionProblem

RANK = 10
SIZES = [(500, 2.0), (1000, 2.0), (2000, 2.0), (4000, 2.0)]
QUICK = [(300, 2.0), (600, 2.0), (1200, 2.0)]
FULL = (20_000, 8_000_000 / (RANK * (40_000 - RANK)))


def one(n: int, rho: float, threads: int) -> dict[str, Any]:
    """Complete one matrix; return its row of the table."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    U = torch.randn(n, RANK, generator=generator, dtype=torch.float64)
    V = torch.randn(n, RANK, generator=generator, dtype=torch.float64)
    k = round(rho * RANK * (2 * n - RANK))
    flat = torch.randint(n * n, (round(1.1 * k),), generator=generator).unique()
    flat = flat[torch.randperm(len(flat), generator=generator)[:k]]
    rows, cols = flat // n, flat % n
    y = torch.cat(
        [(U[a] * V[b]).sum(1) for a, b in zip(rows.split(100_000), cols.split(100_000), strict=True)]
    )
    problem = CompletionProblem(rows=rows, cols=cols, y=y, shape=(n, n))
    began = time.perf_counter()
    found = irls(problem, attempts=1)
    seconds = time.perf_counter() - began
    rows, cols = (torch.randint(n, (100_000,), generator=generator) for _ in range(2))
    truth = (U[rows] * V[cols]).sum(1)
    return {
        "n": n,
        "entries": len(y),
        "rank": found.rank,
        "converged": found.converged,
        "error": float((found.at(rows, cols) - truth).norm() / truth.norm()),
        "steps": found.n_iter,
        "seconds": seconds,
        "per entry": seconds / max(1, found.n_iter) / len(y),
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def apart(n: int, rho: float, threads: int) -> dict[str, Any]:
    """Run :func:`one` in a fresh process."""
    command = [sys.executable, __file__, "--one", json.dumps([n, rho, threads])]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    row: dict[str, Any] = json.loads(answer.splitlines()[-1])
    return row


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds a step over the number of entries, beside a line of slope 1."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    stepped = [row for row in rows if row["steps"] > 0]
    entries = [row["entries"] for row in stepped]
    seconds = [row["seconds"] / row["steps"] for row in stepped]
    figure, axis = plt.subplots(figsize=(4.5, 3.4))
    axis.loglog(entries, seconds, "o-", label=f"irls, rank {RANK}")
    linear = [seconds[0] * k / entries[0] for k in entries]
    axis.loglog(entries, linear, "--", color="grey", label="linear")
    axis.set_xlabel("observed entries")
    axis.set_ylabel("seconds per step")
    axis.legend(frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run the sizes asked for."""
    options = parser(__doc__ or "")
    options.add_argument("--full", action="store_true", help="add the largest size")
    options.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the cost of a step here")
    options.add_argument("--one", help="internal: one run as JSON [n, rho, threads]")
    arguments = options.parse_args()
    if arguments.one:
        print(json.dumps(one(*json.loads(arguments.one))))
        return
    threads = arguments.threads or torch.get_num_threads()
    tasks = list(QUICK if arguments.quick else SIZES)
    if arguments.full:
        tasks.append(FULL)
    rows = []
    for n, rho in tasks:
        rows.append(apart(n, rho, threads))
        print_table(rows[-1:])
    print()
    print_table(rows)
    if arguments.picture:
        picture(rows, arguments.picture)
    write_json(arguments.out, "completion_scale", rows, {"rank": RANK, "threads": threads})


if __name__ == "__main__":
    main()
