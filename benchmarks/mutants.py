"""Mutation testing: does a test fail when the source is changed in one small place?

    python benchmarks/mutants.py --out benchmarks/results/mutation.json

``nox -s mutants`` runs this. `mutation/config.toml` says which files are changed, how many changes are drawn
and which tests meet them; `mutation/survivors.toml` says of each change that no test notices why that may be.
The tests are run once under coverage first, to know which of them reach which line. Results are kept in
``.mutants/``: a second run continues, and ``--again`` tries only what survived.

mutmut changes functions alone, so not the bars of verdicts, which stand outside of them, and makes 1.00001 of
1e-5. cosmic-ray makes that too, and starts Python anew for each change: importing torch takes longer than the
tests that decide.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from mutation.changes import Change, changes
from mutation.reach import Reach, measure
from mutation.running import Outcome, Runner, copied, stages

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks" / "mutation"
STATE = Path(os.environ.get("OVERT_MUTANTS", ROOT / ".mutants"))  # what is known already
REASONS = ("equivalent", "performance", "message", "accepted")


def chosen_files(patterns: Iterable[str]) -> list[str]:
    """The files to change, those without any change left out."""
    found = sorted({p.relative_to(ROOT).as_posix() for pattern in patterns for p in ROOT.glob(pattern)})
    return [file for file in found if changes(file, text_of(file))]


def text_of(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def sample(files: list[str], number: int, least: int, seed: int) -> list[Change]:
    """Draw changes of each file, as many as its share of all, but at least a few; the seed fixes which."""
    of_file = {file: changes(file, text_of(file)) for file in files}
    total = sum(map(len, of_file.values()))
    drawn: list[Change] = []
    for file, some in of_file.items():
        share = min(len(some), max(least, round(number * len(some) / total)))
        drawn += sorted(random.Random(f"{seed} {file}").sample(some, share))
    return drawn


def preferred(file: str) -> str:
    """A pattern of the test files that belong to a file."""
    folder, name = Path(file).parent.name, Path(file).stem
    if "studies" in file:
        return f"{folder}|{name}|bars" if folder != "claims" else f"{name}|assess|evidence|statistics"
    return rf"tests/{folder}/.*{name}|tests/{folder}/" if folder != "overt" else "tests/functional/"


def identity(change: Change, source: str) -> str:
    """The same for the same change of the same text."""
    return hashlib.sha256(f"{change}{source}".encode()).hexdigest()[:24]


def outcomes() -> dict[str, dict[str, Any]]:
    """What is known already, the latest word on each change."""
    path = STATE / "outcomes.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {stored["id"]: stored for stored in map(json.loads, lines)}


def mapped(group: dict[str, Any]) -> Reach:
    """Which of a group's tests reach what. Files of tests that have changed are run, in another process."""
    path, fresh = STATE / "reach.json", STATE / "reach-new.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    files = chosen_files(group["files"])
    sources = "".join(map(text_of, files))
    found = {f.relative_to(ROOT).as_posix() for pattern in group["tests"] for f in ROOT.glob(pattern)}
    keys = {
        test: hashlib.sha256(f"{test}{text_of(test)}{group['slow']}{sources}".encode()).hexdigest()
        for test in sorted(found)
    }
    missing = [test for test, key in keys.items() if key not in known]
    if missing:
        arguments = (STATE / "tree", files, missing, group["slow"], fresh)
        process = multiprocessing.get_context("spawn").Process(target=_measured, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"the tests could not be measured: exit status {process.exitcode}")
        parts = json.loads(fresh.read_text(encoding="utf-8"))
        known |= {keys[test]: part for test, part in parts.items()}
        path.write_text(json.dumps(known), encoding="utf-8")
    return Reach.joined(known[key] for key in keys.values())


def _measured(root: Path, files: list[str], tests: list[str], slow: list[str], out: Path) -> None:
    os.chdir(root)
    sys.path.insert(0, str(root / "src"))
    os.environ["PYTHONPATH"] = str(root / "src")
    measure(root, files, tests, slow, out)


def run(drawn: list[Change], groups: list[dict[str, Any]], warm: list[str], most: float, again: bool) -> None:
    """Try what is not known yet; with ``again``, what survived."""
    known = outcomes()
    sources = {change.file: text_of(change.file) for change in drawn}
    ids = {change: identity(change, sources[change.file]) for change in drawn}
    todo = [c for c in drawn if ids[c] not in known or (again and not known[ids[c]]["killed"])]
    print(f"{len(drawn)} changes drawn, {len(todo)} to try", flush=True)
    shutil.rmtree(STATE / "tree", ignore_errors=True)
    copied(ROOT, STATE / "tree")
    runner = Runner(STATE / "tree", warm)
    for group in groups:
        files = set(chosen_files(group["files"]))
        some = [change for change in todo if change.file in files]
        if some:
            reach = mapped(group)
            some.sort(
                key=lambda change: ids[change]
            )  # in no order: what is known at any time is a sample, too
            turns = {c: stages(c, sources[c.file], reach, preferred(c.file), most) for c in some}
            for change, outcome in runner.tried(turns, reach):
                note(ids[change], change, sources[change.file], outcome)


def note(name: str, change: Change, source: str, outcome: Outcome) -> None:
    """Store what became of a change, and print it."""
    stored = {"id": name, "file": change.file, **change.words(source), **asdict(outcome)}
    with (STATE / "outcomes.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(stored, ensure_ascii=False) + "\n")
    word = "killed  " if outcome.killed else "SURVIVED"
    place = f"{change.file.removeprefix('src/overt/')}:{change.start[0]}"
    print(f"{word} {outcome.seconds:5.1f} s  {place}  {stored['change']}  | {outcome.by}", flush=True)


def explanations() -> dict[tuple[str, str, str], dict[str, str]]:
    """Why changes may survive, by file, line and change."""
    listed = tomllib.loads((HERE / "survivors.toml").read_text(encoding="utf-8")).get("survivor", [])
    for entry in listed:
        if entry["kind"] not in REASONS:
            raise SystemExit(f"survivors.toml: kind must be one of {REASONS}, got {entry['kind']!r}")
    return {(entry["file"], entry["source"], entry["change"]): entry for entry in listed}


def rows(drawn: list[Change]) -> Iterator[dict[str, Any]]:
    """For each file how many were tried and killed, and each survivor with its explanation."""
    known, why = outcomes(), explanations()
    ids = {change: identity(change, text_of(change.file)) for change in drawn}
    by_file: dict[str, list[dict[str, Any]]] = {}
    for change in sorted(drawn, key=lambda change: (change.file, change.start)):
        if ids[change] in known:
            by_file.setdefault(change.file, []).append(known[ids[change]])
    for file, some in by_file.items():
        survivors = []
        for stored in some:
            if not stored["killed"]:
                said = why.get((file, stored["source"], stored["change"]), {})
                survivors.append(
                    {name: stored[name] for name in ("line", "source", "change")}
                    | {"kind": said.get("kind", "unexplained"), "why": said.get("why", "")}
                )
        killed = sum(stored["killed"] for stored in some)
        yield {"file": file, "tried": len(some), "killed": killed, "survivors": survivors}


def report(drawn: list[Change], settings: dict[str, Any], out: Path | None) -> None:
    """Print a table and what survived; write both."""
    import _report
    from overt.studies.claims.statistics import proportion

    table = list(rows(drawn))
    tried, killed = sum(row["tried"] for row in table), sum(row["killed"] for row in table)
    kinds = Counter(survivor["kind"] for row in table for survivor in row["survivors"])
    _report.print_table([{k: row[k] for k in ("file", "tried", "killed")} for row in table])
    for row in table:
        for survivor in row["survivors"]:
            place = f"{row['file']}:{survivor['line']}"
            print(f"{place}  {survivor['change']}  {survivor['kind']}  {survivor['why']}")
    counted = {"all": (killed, tried), "without equivalent ones": (killed, tried - kinds["equivalent"])}
    total: dict[str, Any] = {"tried": tried, "killed": killed, "survivors": dict(kinds)}
    for name, (good, of) in counted.items():
        share = proportion(good, of)
        total[name] = {"share": share.value, "low": share.low, "high": share.high}
        print(f"{name}: {good} of {of}, {share.value:.1%} (95 %: {share.low:.1%} to {share.high:.1%})")
    _report.write_json(out, "mutation", table, {**settings, "total": total})


def main() -> None:
    """Draw, try and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, help="changes in all (default: of config.toml)")
    parser.add_argument("--seed", type=int, help="which are drawn (default: of config.toml)")
    parser.add_argument("--only", default="", metavar="PATTERN", help="files whose path this is found in")
    parser.add_argument("--again", action="store_true", help="try once more what survived")
    parser.add_argument("--list", action="store_true", help="print the report of what is known, and end")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    parser.add_argument("--remark", default="", help="kept in the file, such as what else was measured")
    asked = parser.parse_args()
    config = tomllib.loads((HERE / "config.toml").read_text(encoding="utf-8"))
    seed = config["seed"] if asked.seed is None else asked.seed
    number = config["number"] if asked.number is None else asked.number
    STATE.mkdir(exist_ok=True)
    files = chosen_files(pattern for group in config["group"] for pattern in group["files"])
    drawn = [c for c in sample(files, number, config["least"], seed) if re.search(asked.only, c.file)]
    start = time.monotonic()
    if not asked.list:
        run(drawn, config["group"], config["warm"], config["seconds"], asked.again)
    settings = {"seed": seed, "number": number, "least": config["least"], "only": asked.only}
    settings |= {"seconds": time.monotonic() - start, "remark": asked.remark}
    report(drawn, settings, asked.out)


if __name__ == "__main__":
    main()
