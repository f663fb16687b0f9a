"""A completion from a table to a table, step by step."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from overt._utils.console import stage
from overt._utils.errors import UsageError
from overt._utils.signals import Interrupted, Interrupts
from overt.cli.completion_summary import draw_spectrum, summarize, summary_lines, write_summary
from overt.cli.fitting import Fit, fit
from overt.cli.opening import open_source
from overt.cli.output import TABLES, check_output
from overt.cli.parquet_source import import_pyarrow
from overt.cli.predictions import Asked, Predictor, ask, write_all, write_asked
from overt.cli.sources import PARQUET, Wanted, column_names
from overt.cli.terminal import echo
from overt.cli.triplets import Triplets, read_triplets

__all__ = ["Request", "run"]

_MANY = 10_000_000  # pairs above which --all has to be said


@dataclass(frozen=True)
class Request:
    """What ``overt complete`` was asked for; see the help of its options."""

    ratings: Path
    out: Path
    pairs: Path | None = None
    everything: bool = False
    columns: str | None = None
    header: bool | None = None
    delimiter: str | None = None
    clip: tuple[float, float] | Literal["observed"] | None = None
    solver: str = "auto"
    duplicates: str = "error"
    spectrum: Path | None = None
    summary: Path | None = None
    overwrite: bool = False
    seed: int = 0


def run(request: Request) -> int:
    """Read, fit, write and say what came of it.

    Returns
    -------
    int
        The exit code: 0, or 128 + the signal's number after an interruption.

    Raises
    ------
    OvertError
        If something is wrong with the request or a file; nothing has been written over then.
    """
    started = time.perf_counter()
    _check_files(request)
    try:
        with Interrupts():
            triplets, asked = _read(request)
        m, n = triplets.shape
        with stage(f"fitting {m} × {n} to {triplets.values.size} entries of {request.ratings}"):
            fitted = fit(triplets, solver=request.solver, clip=request.clip, random_state=request.seed)
        with Interrupts():
            facts = _write(request, triplets, asked, fitted, started)
    except KeyboardInterrupt as stop:
        signum = stop.signum if isinstance(stop, Interrupted) else signal.SIGINT
        name = signal.Signals(signum).name
        echo(f"overt: stopped by {name} before the end; no file is left half-written", err=True)
        return 128 + signum
    echo(*summary_lines(facts))
    _tell(fitted, asked)
    return 0 if fitted.signum is None else 128 + fitted.signum


def _check_files(request: Request) -> None:
    """Refuse what cannot work before anything is read."""
    if request.everything and request.pairs is not None:
        raise UsageError("--ask and --all exclude each other; give one")
    inputs = [path for path in (request.ratings, request.pairs) if path is not None]
    pictures = (".svg", ".png")
    outputs = [(request.out, "--out", TABLES), (request.spectrum, "--spectrum", pictures)]
    outputs.append((request.summary, "--summary", (".json",)))
    seen: dict[Path, str] = {}
    for path, option, suffixes in outputs:
        if path is None:
            continue
        check_output(path, suffixes, inputs, option, overwrite=request.overwrite)
        whole = path.parent.resolve() / path.name
        if whole in seen:
            raise UsageError(f"{seen[whole]} and {option} name the same file {path}; give two")
        seen[whole] = option
    if request.out.suffix.lower() in PARQUET:
        import_pyarrow(request.out)


def _read(request: Request) -> tuple[Triplets, Asked | None]:
    """Read the observations, and the pairs too, so that a mistake in them shows before the fit."""
    columns = column_names(request.columns)
    wanted = Wanted(columns)
    source = open_source(request.ratings, wanted, header=request.header, delimiter=request.delimiter)
    with stage(f"reading {request.ratings}", unit="entries", quiet=True) as advance:
        triplets = read_triplets(source, request.duplicates, advance)
    if request.pairs is not None:
        return triplets, ask(request.pairs, triplets, columns, request.header, request.delimiter)
    m, n = triplets.shape
    if m * n > _MANY and not request.everything:
        raise UsageError(
            f"{m} × {n} are {m * n:,} pairs: say which to predict with --ask PAIRS, or --all to have them all"
        )
    return triplets, None


def _write(
    request: Request, triplets: Triplets, asked: Asked | None, fitted: Fit, started: float
) -> dict[str, Any]:
    """Write the files and return the summary."""
    model, out = fitted.model, request.out
    observed = float(triplets.values.min()), float(triplets.values.max())
    predictor = Predictor(model, triplets, observed if request.clip == "observed" else request.clip)
    m, n = triplets.shape
    count = m * n if asked is None else asked.pairs
    if request.spectrum is not None:
        draw_spectrum(request.spectrum, model.singular_values_, model.effective_rank_)
    with stage(f"writing {out}", count) as advance:
        if asked is None:
            write_all(out, triplets, predictor, advance)
        else:
            write_asked(out, asked, triplets, predictor, advance)
    facts = summarize(
        triplets,
        fitted,
        seconds=time.perf_counter() - started,
        predictions=count,
        unknown_pairs=0 if asked is None else asked.unknown,
        out=str(out),
    )
    if request.summary is not None:
        write_summary(request.summary, facts)
    return facts


def _tell(fitted: Fit, asked: Asked | None) -> None:
    """Say on standard error what should not be overlooked."""
    lines = list(fitted.warnings)
    if asked is not None and asked.unknown:
        lines.append(f"{asked.unknown} asked pair(s) have ids without any observation: {_strange(asked)}")
    for line in lines:
        echo(f"overt: warning: {line}", err=True)
    if fitted.signum is not None:
        echo(
            "overt: interrupted; the predictions are those of the best model so far, which is unconverged",
            err=True,
        )


def _strange(asked: Asked) -> str:
    parts = []
    for name, ids in (("row(s)", asked.unknown_rows), ("column(s)", asked.unknown_cols)):
        if ids:
            parts.append(f"{name} {', '.join(ids)}" + (", …" if len(ids) == 10 else ""))
    return "; ".join(parts)
