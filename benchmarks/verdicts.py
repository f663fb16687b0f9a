"""Write the verdicts of a folder of runs, with their provenance, as small reference results.

    overt run zhao2022 --preset full --out DIR
    python benchmarks/verdicts.py DIR

The script writes benchmarks/results/<study>-<preset>.json for each study that has runs in DIR. From these
files alone it renews the table of verdicts in the README, and src/overt/studies/shipped.json, which `overt
list` shows. It refuses runs with changed settings, damaged runs, and reports that lack a figure: they cannot
serve as a reference. DIR may come from someone else: nothing but these results is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from overt._utils.console import printable
from overt._utils.errors import OvertError, UsageError
from overt._utils.files import write_whole
from overt.studies import registry
from overt.studies.base import OUTCOMES
from overt.studies.report.build import KINDS, StudySection
from overt.studies.runner import judge
from overt.studies.runs.store import Store

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
SHIPPED = Path(__file__).parents[1] / "src" / "overt" / "studies" / "shipped.json"
START, END = "<!-- verdicts -->", "<!-- end of verdicts -->"


def summary(section: StudySection, folder: Path) -> dict[str, Any]:
    """Verdicts with their estimates; commits, machine, versions and command of the runs."""
    done = [run for run in section.runs if not run.skipped]
    meta = section.runs[0].meta
    content = {
        "study": section.name,
        "preset": section.preset,
        "runs": {"made": len(done), "planned": section.planned},
        "seeds": sorted({int(run.config["seed"]) for run in section.runs}),
        "commits": sorted({f"{run.meta['commit']}{' dirty' * bool(run.meta['dirty'])}" for run in done}),
        **{key: meta[key] for key in ("command", "started", "versions", "python", "machine")},
        "seconds_of_all_runs": sum(float(run.meta["seconds"]) for run in done),
        "verdicts": [
            {
                "claim": claim.id,
                "title": claim.title,
                "rule": claim.digest,
                "outcome": verdict.outcome,
                "reason": verdict.reason,
                "estimates": [vars(estimate) for estimate in verdict.estimates],
            }
            for claim, verdict in section.judged
        ],
    }
    content["command"] = str(content["command"]).replace(str(folder), "DIR")
    return content


def unfit(section: StudySection) -> str:
    """Why a study's runs cannot be its reference result; empty if they can."""
    if not section.runs:
        return "no run is stored"
    if not section.preset:
        return "the folder has no plan, so the preset is not known"
    if section.preset not in registry.get(section.name).presets:  # it names the file that is written
        return f"the study has no preset {section.preset!r}"
    if section.overrides:
        return f"settings were changed ({section.setting})"
    if section.asked:
        return f"only some claims were asked for ({section.setting})"
    return "; ".join(section.notes)


def fullest(results: Path) -> dict[Path, dict[str, Any]]:
    """The fullest stored result of each study, with its file, in the order of the studies."""
    contents = {}
    for name in registry.names():
        stored = [results / f"{name}-{preset}.json" for preset in ("full", "quick")]
        found = next((path for path in stored if path.is_file()), None)
        if found is not None:
            contents[found] = json.loads(found.read_text(encoding="utf-8"))
    return contents


def shipped(results: Path = RESULTS) -> str:
    """The verdicts that come with the package, as JSON; rules are known of newer results only."""
    content = {
        one["study"]: {
            "preset": one["preset"],
            "date": one["started"][:10],
            "commit": ", ".join(one["commits"]),
            "verdicts": {
                verdict["claim"]: {key: verdict[key] for key in ("outcome", "rule") if key in verdict}
                for verdict in one["verdicts"]
            },
        }
        for one in fullest(results).values()
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def table(results: Path = RESULTS) -> str:
    """The README's table: a row for each study, and a column for each outcome that there is."""
    contents = fullest(results)
    given = {verdict["outcome"] for content in contents.values() for verdict in content["verdicts"]}
    outcomes = [outcome for outcome in OUTCOMES if outcome in KINDS["paper"] or outcome in given]
    rows = [f"| study | runs | {' | '.join(outcomes)} |", "|---|---" + "|---" * len(outcomes) + "|"]
    for found, content in contents.items():
        by_outcome = {
            outcome: [
                f"{verdict['claim']} {verdict['title']}"
                for verdict in content["verdicts"]
                if verdict["outcome"] == outcome
            ]
            for outcome in outcomes
        }
        link = f"[`{content['study']}`](benchmarks/results/{found.name})"
        made = f"{content['preset']}, {content['runs']['made']}"
        rows.append(f"| {link} | {made} | " + " | ".join("<br>".join(v) for v in by_outcome.values()) + " |")
    return "\n".join(rows)


def renewed(readme: str) -> str:
    """The README with the table between its two markers renewed."""
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{table()}\n{END}{after}"


def publish(folder: Path) -> None:
    """Judge the stored runs of a folder and write a file for each study; UsageError if they cannot serve."""
    store = Store.open(folder)
    for section in judge(store, [registry.get(name) for name in store.studies()]):
        why, content = unfit(section), {}
        try:
            content = {} if why else summary(section, folder)
        except (KeyError, TypeError) as error:  # runs say less of themselves than those of overt run
            why = f"{error} is missing"
        if why:
            raise UsageError(f"{folder}: {section.name} is no reference result: {why}")
        path = RESULTS / f"{section.name}-{section.preset}.json"
        write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
        print(f"written: {path}")


def main() -> None:
    """Judge the stored runs again, write one JSON file for each study, and renew what is made from them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("folders", nargs="*", type=Path, metavar="DIR")
    given = options.parse_args()
    for folder in given.folders:
        try:
            publish(folder)
        except OvertError as error:
            sys.exit(printable(str(error)))
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
    SHIPPED.write_text(shipped(), encoding="utf-8")


if __name__ == "__main__":
    main()
