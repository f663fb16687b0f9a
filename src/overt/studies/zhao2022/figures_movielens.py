"""MovieLens 100K: one table for the published splits and one for the random ones, never mixed."""

from __future__ import annotations

from collections.abc import Sequence

from overt.studies.base import Run
from overt.studies.claims.numbers import interval, listed, made, median, values
from overt.studies.report.charts import Interval, interval_chart
from overt.studies.report.figures import Cell, Figure, Table
from overt.studies.zhao2022.slices import chosen_by_validation, method_of

NAMES = {
    "biases": "biases alone",
    "deep": "depth 3, implicit",
    "control": "two factors, no penalty",
    "explicit": "penalty, two factors",
    "full": "penalty, full matrix (depth 1)",
}
KINDS = {"published splits u1–u5": False, "random splits": True}


def movielens(runs: Sequence[Run]) -> Figure | None:
    """Z8, Z9: test error of each method, a panel per kind of split; the reason where there are no data."""
    everything = [run for run in runs if run.config["group"] == "movielens"]
    if not everything:
        return None
    title = "MovieLens 100K"
    rows: list[tuple[Cell, ...]] = []
    data: list[dict[str, Cell]] = []
    panels = []
    for kind, random in KINDS.items():
        group = [run for run in made(everything) if (run.config["split"] == "random") == random]
        bars = []
        for method, name in NAMES.items():
            chosen = list(chosen_by_validation(group, method).values())
            rmse, rank = median(values(chosen, "test_rmse")), median(values(chosen, "effective_rank"))
            if rmse is None:
                continue
            bars.append(Interval(name, rmse.value, rmse.low, rmse.high))
            rows.append(
                (kind, name, rmse.value, interval(rmse), None if rank is None else rank.value, len(chosen))
            )
            data += [_row(kind, name, run) for run in group if method_of(run.config) == method]
        if bars:
            panels.append(
                interval_chart(
                    bars,
                    title=title,
                    panel=kind,
                    x_label="test RMSE (stars)",
                    id=f"movielens-{'random' if random else 'published'}",
                )
            )
    reasons = sorted({run.reason for run in everything if run.skipped})
    caption = (
        "Root mean squared error on the test ratings (943 users, 1 682 films, one to five stars). The "
        "published splits and the random ones, 80 % to 20 %, are kept apart: their numbers do not compare. "
        "Every method predicts the residual after the biases of users and films. A tenth of the training "
        "ratings chooses the step and the setting; the test ratings choose nothing. “Two factors”: W = W₂W₁ "
        "with inner width 100, trained with and without ‖W‖⁎/‖W‖F; the full 943×1 682 matrix, one "
        "decomposition per step, is run on one split of each kind. Medians over splits; lines: 95 % "
        "bootstrap intervals."
    )
    if reasons:
        caption += f" Skipped: {listed(reasons)}".rstrip(".") + "."
    columns_ = ("split", "method", "test RMSE (stars)", "interval", "effective rank", "splits")
    table = Table(columns_, rows) if rows else None
    return Figure("movielens", title, caption, svg=panels or None, table=table, data=data)


def _row(kind: str, name: str, run: Run) -> dict[str, Cell]:
    record, config = run.records[0], run.config
    row: dict[str, Cell] = {"kind": kind, "method": name, "split": config["split"], "seed": config["seed"]}
    row |= {"lr": config["lr"], "weight": config["weight"]}
    for key in ("test_rmse", "validation_rmse", "best_step", "effective_rank"):
        row[key] = record.get(key)
    return row


__all__ = ["movielens"]
