"""``overt complete``: a table of observed entries in, a table of predictions out."""

from __future__ import annotations

import math
from pathlib import Path

import click

__all__ = ["complete"]

_FILE = click.Path(path_type=Path)
_SOLVERS = ("auto", "irls", "bayes", "explicit", "nuclear", "soft_impute")


@click.command()
@click.argument("ratings", type=_FILE)
@click.option("--out", type=_FILE, required=True, help="Predictions to write, .csv, .tsv or .parquet.")
@click.option("--overwrite", is_flag=True, help="Replace output files that are there already.")
@click.option("--ask", "pairs", type=_FILE, help="Table of pairs to predict.  [default: all pairs]")
@click.option("--all", "everything", is_flag=True, help="Predict all pairs, even if they are very many.")
@click.option(
    "--columns",
    metavar="ROW,COL,VALUE",
    help="Names or numbers from 1 of the columns.  [default: row,col,value if so named, or the first three]",
)
@click.option(
    "--header/--no-header", default=None, help="Whether text files start with names.  [default: detect]"
)
@click.option("--delimiter", help="Between the fields of text files.  [default: detect , tab ; or ::]")
@click.option("--clip", nargs=2, type=float, metavar="LOW HIGH", help="Bounds of the predictions.")
@click.option("--clip-observed", is_flag=True, help="Bound them by the smallest and largest observed value.")
@click.option(
    "--solver", type=click.Choice(_SOLVERS), default="auto", show_default=True, help="How to complete."
)
@click.option(
    "--duplicates",
    type=click.Choice(("error", "mean", "last")),
    default="error",
    show_default=True,
    help="What to do with a pair that occurs more than once.",
)
@click.option("--spectrum", type=_FILE, help="Picture of the singular values to draw, .svg or .png.")
@click.option("--summary", type=_FILE, help="Summary to write as JSON.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of held-out entries."
)
def complete(
    ratings: Path,
    out: Path,
    overwrite: bool,
    pairs: Path | None,
    everything: bool,
    columns: str | None,
    header: bool | None,
    delimiter: str | None,
    clip: tuple[float, float] | None,
    clip_observed: bool,
    solver: str,
    duplicates: str,
    spectrum: Path | None,
    summary: Path | None,
    seed: int,
) -> int:
    """Complete a matrix from observed entries.

    RATINGS is a table with the columns row, column and value in CSV (also tab, ; or :: between fields) or
    Parquet. Ids may be any text or numbers; blanks around them in text files are ignored. Rank and
    regularization are chosen from the data.

    Predictions are the model's values, at observed pairs too. For an unknown row the prediction is the
    column's mean, for an unknown column the row's mean, and for both the mean of all values. PAIRS is read by
    the column names of RATINGS if it has them, and else by its first two columns.

    Ctrl-C during the fit keeps the best model so far and writes its predictions.
    """
    from overt.cli.completing import Request, run

    return run(
        Request(
            ratings=ratings,
            out=out,
            overwrite=overwrite,
            pairs=pairs,
            everything=everything,
            columns=columns,
            header=header,
            delimiter=delimiter,
            clip="observed" if clip_observed and clip is None else _bounds(clip, clip_observed),
            solver=solver,
            duplicates=duplicates,
            spectrum=spectrum,
            summary=summary,
            seed=seed,
        )
    )


def _bounds(clip: tuple[float, float] | None, observed: bool) -> tuple[float, float] | None:
    if clip is None:
        return None
    if observed:
        raise click.UsageError("--clip and --clip-observed exclude each other; give one")
    if not -math.inf < clip[0] < clip[1] < math.inf:
        raise click.UsageError(f"--clip takes LOW < HIGH, got {clip[0]:g} {clip[1]:g}")
    return clip
