"""Write the verdicts of a folder of runs, with their provenance, as small reference results.

    overt run zhao2022 --preset full --out DIR
    python benchmarks/verdicts.py DIR

The script writes benchmarks/results/<study>-<preset>.json for each study that has runs in DIR. From these
files alone it renews the table of verdicts in the README, the verdicts in docs/findings/<study>.md, and
src/overt/studies/shipped.json, which `overt list` shows. It refuses runs with changed settings, damaged runs,
and reports that lack a figure: they cannot serve as a reference. DIR may come from someone else: nothing but
these results is written.
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
from overt.studies.base import OUTCOMES, Run
from overt.studies.claims.vocabulary import recovered
from overt.studies.report.build import KINDS, StudySection
from overt.studies.runner import judge
from overt.studies.runs.store import Store

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
FINDINGS = Path(__file__).parents[1] / "docs" / "findings"
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
        "arms": arms(section),
    }
    content["command"] = str(content["command"]).replace(str(folder), "DIR")
    return content


def arms(section: StudySection) -> list[dict[str, Any]]:
    """For each setting of each part that has errors: how many of its seeds ended, and how many recovered."""
    study, groups = registry.get(section.name), dict[str, list[Run]]()
    for run in section.runs:
        if not run.skipped and run.records and run.records[0].get("error") is not None:
            fields = {name: value for name, value in run.config.items() if name != "seed"}
            groups.setdefault(json.dumps(fields, sort_keys=True), []).append(run)
    rows = []
    for fields, runs in sorted(groups.items()):
        given = json.loads(fields)
        alike = [json.loads(other) for other in groups if json.loads(other).get("part") == given.get("part")]
        varied = {name for name in given if len({json.dumps(one.get(name)) for one in alike}) > 1}
        counts = {
            "runs": len(runs),
            "ended": sum(map(study.ended, runs)),
            "recovered": sum(map(recovered, runs)),
        }
        rows.append({name: given[name] for name in given if name in varied | {"part"}} | counts)
    return rows


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
    """The README's table: a row for each study, the claims' ids in a column for each outcome there is."""
    contents = fullest(results)
    given = {verdict["outcome"] for content in contents.values() for verdict in content["verdicts"]}
    outcomes = [outcome for outcome in OUTCOMES if outcome in KINDS["paper"] or outcome in given]
    rows = [f"| study | runs | {' | '.join(outcomes)} |", "|---|---" + "|---" * len(outcomes) + "|"]
    for content in contents.values():
        ids = [
            " ".join(one["claim"] for one in content["verdicts"] if one["outcome"] == outcome)
            for outcome in outcomes
        ]
        link = f"[`{content['study']}`](docs/findings/{content['study']}.md)"
        rows.append(f"| {link} | {content['preset']}, {content['runs']['made']} | {' | '.join(ids)} |")
    return "\n".join(rows)


def page(found: Path, content: dict[str, Any]) -> str:
    """The verdicts of one study, why they came out so, and what they rest on."""
    seeds, count = content["seeds"], content["runs"]["made"]
    rows = [
        f"[{count} runs of preset {content['preset']}](../../benchmarks/results/{found.name}), "
        f"seeds {seeds[0]} to {seeds[-1]}, commit {', '.join(one[:8] for one in content['commits'])}. "
        "All estimates are in the file and in the report.",
        "",
        "| claim | verdict | why |",
        "|---|---|---|",
    ]
    for one in content["verdicts"]:
        why = printable(one["reason"]).replace("|", "&#124;")
        rows.append(f"| {one['claim']} {one['title']} | {one['outcome']} | {why} |")
    return "\n".join(rows)


def renewed(text: str, content: str) -> str:
    """A page with what is between its two markers renewed; at its end where it has none."""
    if START not in text:
        text = f"{text.rstrip()}\n\n## Verdicts\n\n{START}\n{END}\n"
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{content}\n{END}{after}"


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
    README.write_text(renewed(README.read_text(encoding="utf-8"), table()), encoding="utf-8")
    for found, content in fullest(RESULTS).items():
        findings = FINDINGS / f"{content['study']}.md"
        if findings.is_file():
            text = findings.read_text(encoding="utf-8")
            findings.write_text(renewed(text, page(found, content)), encoding="utf-8")
    SHIPPED.write_text(shipped(), encoding="utf-8")


if __name__ == "__main__":
    main()
