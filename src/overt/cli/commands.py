"""The commands. Each imports what it needs when it runs, so that ``overt --help`` answers at once."""

from __future__ import annotations

from pathlib import Path

import click

from overt._version import __version__
from overt.cli.complete import complete
from overt.cli.terminal import echo

__all__ = ["front_door"]

_FOLDER = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="overt", message="%(prog)s %(version)s")
def front_door() -> None:
    """Make implicit regularization explicit: studies that measure what gradient descent prefers, put a
    written penalty in its place, and say for each claim of the field whether it holds.

    \b
    overt list             what can be run, and what came of it
    overt run story        the main claims, in three minutes
    overt report DIR       the report again, from stored runs alone
    overt new NAME         a study of your own, to begin with
    overt complete TABLE   fill in a matrix of which some entries are known
    """


front_door.add_command(complete)


@front_door.command("list")
@click.argument("study", required=False)
@click.option(
    "--runs",
    type=_FOLDER,
    multiple=True,
    default=[Path("overt-runs"), Path()],
    help="Folder to look in for the last verdicts; may be given several times.  "
    "[default: overt-runs and the current one]",
)
@click.option("-v", "--verbose", is_flag=True, help="With statements, sources and rules of the claims.")
def list_(study: str | None, runs: tuple[Path, ...], verbose: bool) -> None:
    """Show the studies, or the claims of STUDY.

    The shipped verdicts are those of the reference results of this version; a rule that has changed since is
    named. The folders given, and the folders in them, are searched for runs made here: the last verdicts are
    those of the latest runs. Studies of installed packages (entry points in the group overt.studies) are
    imported, which runs their code.
    """
    from overt.cli.tables import print_studies, print_study
    from overt.studies import registry
    from overt.studies.claims.verdicts import last_verdicts, shipped_verdicts

    found = []
    for name in registry.names() if study is None else [study]:
        one = registry.get(name)
        found.append((one, shipped_verdicts(name), last_verdicts(runs, one.name)))
    if study is None and not verbose:
        print_studies(found)
    else:
        for one, shipped, last in found:
            print_study(one, shipped, last, verbose=verbose)
    notes = dict.fromkeys(note for _, _, last in found for note in last.notes)
    echo(*(f"overt: {note}" for note in notes), err=True)


@front_door.command()
@click.argument("name")
def new(name: str) -> None:
    """Write NAME.py, a study that runs.

    It is put into the current folder; an existing file is never replaced. NAME consists of lower-case
    letters, digits and underscores.
    """
    from overt.studies.template import write

    path = write(name, Path())
    echo(f"{path} is written. Run it: overt run {name}:study")


@front_door.command()
@click.argument("study")
@click.option("--preset", help="How much to run.  [default: the study's first, which is the quickest]")
@click.option(
    "--out",
    type=_FOLDER,
    help="Folder of runs.  [default: overt-runs/STUDY-PRESET, followed by what --seed, --set, --config and "
    "--claim say]",
)
@click.option(
    "--jobs", type=click.IntRange(1, 1024), help="Runs made side by side.  [default: one for each core]"
)
@click.option(
    "--backend",
    default="loky",
    show_default=True,
    help="loky (processes here), dask, ray, or another that is registered with joblib.",
)
@click.option("--address", help="A Dask scheduler's address, for more than one machine.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Shifts the seeds of all runs.",
)
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE[,VALUE …]",
    multiple=True,
    help="Set a field in all runs. Of several values each makes runs of its own, which are judged by "
    "themselves.",
)
@click.option("--config", type=_FOLDER, help="TOML file with fields to set in all runs.")
@click.option(
    "--claim",
    "claims",
    metavar="ID",
    multiple=True,
    help="Make only the runs that this claim needs, and judge it alone; may be given several times.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print the reasons and all estimates.")
@click.pass_obj
def run(
    command: str | None,
    study: str,
    preset: str | None,
    out: Path | None,
    jobs: int | None,
    backend: str,
    address: str | None,
    seed: int,
    assignments: tuple[str, ...],
    config: Path | None,
    claims: tuple[str, ...],
    verbose: bool,
) -> int:
    """Run a study and print its verdicts.

    STUDY is a name that `overt list` shows, "all", or your own study as module:attribute, whose code is run:
    name only modules that you trust. A module may lie in the current folder.

    Stored runs are kept and only missing ones are made, so the same command continues where an earlier one
    stopped. The last line is the report's path.
    """
    from overt._utils.signals import Interrupted
    from overt.cli.tables import print_notes, print_verdicts
    from overt.studies import registry
    from overt.studies.runner import run_studies
    from overt.studies.runs import overrides

    fields = {**(overrides.read_toml(config) if config else {}), **overrides.parse(assignments)}
    names = registry.names() if study == "all" else [study]
    try:
        summaries = run_studies(
            names,
            preset=preset,
            out=out,
            jobs=jobs,
            backend=backend,
            address=address,
            seed=seed,
            overrides=fields,
            claims=claims,
            progress=True,
            command=command,
        )
    except Interrupted as interruption:
        echo(
            f"overt: {interruption}; {interruption.stored} of {interruption.planned} runs are stored. "
            f"To continue: {command}",
            err=True,
        )
        return 128 + interruption.signum
    print_verdicts([summary.section for summary in summaries], verbose=verbose)
    failures = {hash_: why for summary in summaries for hash_, why in summary.failures.items()}
    if failures:
        hash_, why = next(iter(failures.items()))
        many = "1 run" if len(failures) == 1 else f"{len(failures)} runs"
        where = summaries[0].out / "failed"
        echo(f"overt: {many} failed, {hash_} with {why}; tracebacks are in {where}", err=True)
    noted = print_notes([summary.section for summary in summaries])
    echo(str(summaries[0].report))
    return 1 if failures or noted else 0


@front_door.command()
@click.argument("folders", metavar="DIR [DIR …]", nargs=-1, required=True, type=_FOLDER)
@click.option("--output", type=_FOLDER, help="The HTML file to write.  [default: DIR/report.html]")
@click.option(
    "--study",
    "extra",
    multiple=True,
    metavar="MODULE:ATTRIBUTE",
    help="A study that is not listed; the module's code is run.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print the reasons and all estimates.")
def report(folders: tuple[Path, ...], output: Path | None, extra: tuple[str, ...], verbose: bool) -> int:
    """Rebuild the report of stored runs.

    It is made from the records in DIR alone; the verdicts are printed as well. Several folders give one
    report of all their runs, and --output must name its file. Runs of one study in different settings
    (preset, overrides) are judged separately. No code that lies in DIR is run, and nothing is read or
    written outside it.
    """
    from overt._utils.errors import StoreError, UsageError
    from overt.cli.tables import print_notes, print_verdicts
    from overt.studies import registry
    from overt.studies.runner import judge, write_report
    from overt.studies.runs.store import Store

    if len(folders) > 1 and output is None:
        raise UsageError("a report of several folders needs --output FILE.html")
    stores = [Store.open(folder) for folder in folders]
    given = {study.name: study for study in map(registry.get, extra)}
    found = []
    for name in dict.fromkeys(name for store in stores for name in store.studies()):
        try:
            found.append(given.get(name) or registry.get(name))
        except UsageError:
            echo(f"overt: the runs of study {name!r} are left out: no such study is installed", err=True)
    if not found:
        where = ", ".join(map(str, folders))
        raise StoreError(f"{where}: no runs of a known study; make some with: overt run STUDY")
    sections = judge(stores, found)
    path = write_report(stores[0], sections, output)
    print_verdicts(sections, verbose=verbose)
    noted = print_notes(sections)
    echo(str(path))
    return 1 if noted else 0
