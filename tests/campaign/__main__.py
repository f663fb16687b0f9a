"""Faults and fuzz against the commands and the readers: ``nox -s campaign``, or ``python tests/campaign``.

Prints survived/tried for each part and writes ``benchmarks/results/campaign.json``. Parts whose result is
there for the same commit are left out, so that a campaign that was stopped goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COUNTS = {"kills": 200, "signals": 200, "disk": 120, "writers": 30, "clocks": 14, "workers": 5}
RESULT = ROOT / "benchmarks" / "results" / "campaign.json"


def main() -> int:
    """Run the campaign; 1 if anything was lost."""
    options = _options()
    result = _earlier(options)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    sys.path.insert(0, str(HERE))
    faults = [part for part in options.parts if part in COUNTS and part not in result["parts"]]
    if faults:
        _faults(faults, options, result)
    if "fuzz" in options.parts:
        import fuzzing
        from readers import NAMES

        done = result["parts"].get("fuzz", {"readers": {}})["readers"]
        names = [name for name in NAMES if name in (options.readers or NAMES) and name not in done]
        for found in fuzzing.fuzz(options.seconds, options.seed, names):
            _keep("fuzz", found, options, result)
    losses = sum(len(part["losses"]) for part in result["parts"].values())
    for name, part in result["parts"].items():
        print(f"{name:8} survived {part['survived']} of {part['tried']}, {part['seconds']} s")
    print(f"{losses} losses; {options.out}")
    return 1 if losses else 0


def _faults(names: list[str], options: argparse.Namespace, result: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="overt-campaign-", dir=options.folder) as root:
        images = Path(root) / "pictures"
        images.mkdir()
        os.environ["CAMPAIGN_IMAGES"] = str(images)
        from parts import PARTS, works
        from short_studies import write_images

        write_images(images)
        _warm(Path(root))
        made = works(Path(root))
        for name in names:
            began = time.monotonic()
            tally = PARTS[name](made, Path(root), options.counts[name], options.seed)
            os.chdir(root)
            tally.seconds = round(time.monotonic() - began)
            print(f"{name}: survived {tally.survived} of {tally.tried} in {tally.seconds} s", flush=True)
            _keep(name, vars(tally), options, result)
        os.chdir(ROOT)


def _warm(root: Path) -> None:
    """Load and compile in this process what its copies would load and compile again and again."""
    from commands import write_table
    from short_studies import NAMES

    import overt.cli

    folder = root / "warm"
    folder.mkdir()
    os.chdir(folder)
    write_table(folder)
    commands = [["complete", "table.csv", "--out", f"warm{suffix}"] for suffix in (".csv", ".parquet")]
    commands[0] += ["--spectrum", "warm.svg"]
    commands += [["run", f"short_studies:{name}", "--out", name, "--jobs", "1"] for name in NAMES]
    for command in commands:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            try:
                overt.cli.main(command)
            except SystemExit as stop:
                if stop.code not in (0, 1):
                    raise SystemExit(f"{command} ends with {stop.code}") from None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    for name, count in COUNTS.items():
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N")
    parser.add_argument("--seconds", type=int, default=1500, help="of fuzzing, all readers together")
    parser.add_argument("--readers", nargs="*", help="which readers to fuzz")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="*", default=[*COUNTS, "fuzz"], choices=[*COUNTS, "fuzz"])
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--folder", type=Path, help="where to work")
    parser.add_argument("--keep", action="store_true", help="keep parts made on another commit")
    parser.add_argument("--anew", action="store_true", help="make parts again that are there")
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.counts = {name: getattr(options, name) for name in COUNTS}
    return options


def _earlier(options: argparse.Namespace) -> dict[str, Any]:
    fresh = {**_provenance(), "seed": options.seed, "counts": options.counts, "parts": {}}
    try:
        found = json.loads(options.out.read_text())
    except (OSError, ValueError):
        return fresh
    if options.anew:
        return fresh
    parts = found.get("parts", {})
    kept = {name: part for name, part in parts.items() if options.keep or part["commit"] == fresh["commit"]}
    return {**fresh, "parts": kept}


def _keep(name: str, part: dict[str, Any], options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Add a part to the result on the disk, where another process may have added some."""
    options.anew = False
    parts = _earlier(options)["parts"]
    if name == "fuzz" and name in parts:  # a reader more
        before = parts[name]
        numbers = ("tried", "survived", "tracebacks", "seconds", "losses")
        part = {key: before[key] + part[key] for key in numbers} | {
            "readers": {**before["readers"], **part["readers"]}
        }
    result["parts"] = {**parts, name: {"commit": result["commit"], **part}}
    options.out.write_text(json.dumps(result, indent=1) + "\n")


def _provenance() -> dict[str, Any]:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "tests")
    packages = ("torch", "numpy", "scipy", "pyarrow", "safetensors", "hypothesis", "atheris")
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except ImportError:
            versions[package] = None
    return {
        "commit": git("rev-parse", "HEAD") + (" with changes" if changed else ""),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": versions,
    }


if __name__ == "__main__":
    raise SystemExit(main())
