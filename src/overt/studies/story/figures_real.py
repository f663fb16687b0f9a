"""S7's figures: a photograph with pixels removed, and MovieLens 100K."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overt.studies.base import Run
from overt.studies.claims.numbers import (
    NAMES,
    columns,
    distinct,
    interval,
    listed,
    made,
    median,
    spread,
    values,
)
from overt.studies.report.figures import Cell, Figure, Table, encode_png
from overt.studies.story.config import chosen_by_validation

SHOWN = 0.3  # the share of kept pixels that is shown as pictures
ORDER = ("explicit", "deep", "nuclear_norm", "soft_impute")


def label(run: Run) -> str:
    """Name the method of a run on real input."""
    method = str(run.config["method"])
    if method == "deep":
        return f"depth {run.config['depth']}, implicit"
    return "depth 1, explicit" if method == "explicit" else NAMES.get(method, method)


def photographs(runs: Sequence[Run]) -> Figure | None:
    """The photograph as each method fills it, and the accuracy on the removed pixels."""
    group = made(runs, group="photograph")
    if not group:
        return None
    kept = min(distinct(group, "kept"), key=lambda share: abs(share - SHOWN))
    images = _pictures(made(group, kept=kept))
    rows, data = [], []
    for share in distinct(group, "kept"):
        for method in ORDER:
            some = made(group, kept=share, method=method)
            if not some:
                continue
            psnr, error, rank = (median(values(some, name)) for name in ("psnr", "error", "effective_rank"))
            rows.append(
                (
                    label(some[0]),
                    f"{100 * share:.0f} %",
                    psnr.value if psnr else None,
                    interval(psnr),
                    error.value if error else None,
                    rank.value if rank else None,
                    len(some),
                )
            )
            cells = columns(psnr, "psnr") | columns(error, "error") | columns(rank, "effective_rank")
            data.append({"method": label(some[0]), "kept": share, "seeds": len(some)} | cells)
    names = ("method", "pixels kept", "PSNR (dB)", "interval", "relative error", "effective rank", "seeds")
    height, width = group[0].config["height"], group[0].config["width"]
    seed = min(run.config["seed"] for run in made(group, kept=kept))
    caption = (
        f"A grey photograph of {height}×{width} pixels, most of which were removed at random and filled by "
        f"each method. The pictures are of seed {seed} with {100 * kept:.0f} % of the pixels kept; removed "
        "pixels are mid-grey. PSNR is measured on the removed pixels alone (higher is better), the relative "
        f"error on the whole picture. {spread(group, 'intervals')}"
    )
    return Figure(
        "photographs",
        "A photograph with pixels removed",
        caption,
        table=Table(names, rows),
        images=images,
        data=data,
    )


def _pictures(group: Sequence[Run]) -> list[tuple[str, bytes]]:
    """Observed, each method, truth, all of the lowest seed; a method without a picture is left out."""
    with_pictures = [run for run in group if "picture" in run.arrays and "truth" in run.arrays]
    if not with_pictures:
        return []
    first = with_pictures[0]
    chosen = made(with_pictures, seed=first.config["seed"])
    truth = np.asarray(first.arrays["truth"], dtype=np.float64)
    images = []
    if "observed" in first.arrays:
        holes = np.where(np.asarray(first.arrays["observed"], dtype=bool), truth, np.nan)
        images.append((f"observed: {100 * first.config['kept']:.0f} % of the pixels", encode_png(holes)))
    for method in ORDER:
        for run in made(chosen, method=method)[:1]:
            psnr = median(values(made(group, method=method), "psnr"))
            words = f"{label(run)}: PSNR {psnr.value:.1f} dB" if psnr else f"{label(run)}: diverged"
            images.append((words, encode_png(run.arrays["picture"])))
    return [*images, ("the photograph", encode_png(truth))]


def movielens(runs: Sequence[Run]) -> Figure | None:
    """Test error on MovieLens 100K; where the data set was out of reach, the reason."""
    everything = [run for run in runs if run.config["group"] == "movielens"]
    if not everything:
        return None
    group = made(everything)
    rows: list[tuple[Cell, ...]] = []
    data: list[dict[str, Cell]] = []
    for method in ("biases", "soft_impute", "deep", "explicit"):
        some = made(group, method=method)
        if not some:
            continue
        best = {id(record) for record in chosen_by_validation(some, method).values()}
        name = "explicit, two factors" if method == "explicit" else label(some[0])
        rows.append((name, *_scores([run for run in some if id(run.records[0]) in best])))
        for lr, weight in sorted({(run.config["lr"], run.config["weight"]) for run in some}):
            setting = {"lr": lr, "weight": weight} if method in ("deep", "explicit") else {}
            data.append({"method": name, **setting, **_numbers(made(some, lr=lr, weight=weight))})
    names = ("method", "test RMSE (stars)", "interval", "effective rank", "steps", "best step", "seeds")
    table = Table(names, rows) if rows else None
    caption = _movielens_caption(group, [run.reason for run in everything if run.skipped])
    return Figure("movielens", "MovieLens 100K", caption, table=table, data=data)


def _scores(runs: Sequence[Run]) -> tuple[Cell, ...]:
    """The cells of one row of the table, after the method's name."""
    rmse, rank = median(values(runs, "test_rmse")), median(values(runs, "effective_rank"))
    steps = [median(values(runs, name)) for name in ("steps", "best_step")]
    counts = [None if one is None else round(one.value) for one in steps]
    return (rmse.value if rmse else None, interval(rmse), rank.value if rank else None, *counts, len(runs))


def _numbers(runs: Sequence[Run]) -> dict[str, Cell]:
    """One setting of one method, for the data."""
    found: dict[str, Cell] = {"seeds": len(runs)}
    for name in ("test_rmse", "validation_rmse"):
        found |= columns(median(values(runs, name)), name)
    for name in ("effective_rank", "steps", "best_step"):
        estimate = median(values(runs, name))
        found[name] = None if estimate is None else estimate.value
    return found


def _movielens_caption(group: Sequence[Run], reasons: Sequence[str]) -> str:
    parts = []
    if group:
        parts.append(
            "Root mean squared error on the test ratings of split u1 (80 000 training and 20 000 test "
            "ratings, 943 users, 1 682 films; one to five stars). Every method predicts the residual after "
            "the biases of users and films; the explicit penalty is on the product of two factors of width "
            "100, which is also the width of the hidden layers at depth 3. A tenth of the training ratings, "
            "drawn by the seed, is kept out of training and chooses the best step and, for each seed, among "
            "the learning rates and weights tried, all of which are in the data; SoftImpute chooses its "
            f"weight within the rest. The test ratings choose nothing. {spread(group, 'intervals')}"
        )
    if reasons:
        which = "The other runs were" if group else "These runs were"
        parts.append(f"{which} skipped: {listed(sorted(set(reasons)))}".rstrip(".") + ".")
    return " ".join(parts)
