"""The wheel and the source distribution, each in an empty environment outside of the checkout.

``nox -s package`` runs this. It builds both, compares the files that each installs with those of the source,
imports Overt with its base dependencies alone, and runs the quick story to its report; ``--set KEY=VALUE`` is
passed on to ``overt run``, for a shorter one. Exit status 1: something failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = (sys.executable, "-m", "uv")


def run(*command: str | Path, folder: Path) -> str:
    """Run a command there, and return what it said; a failure ends the program with that."""
    free = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        env=free,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(
            f"{' '.join(map(str, command))}\n{done.stdout}\nFAILED with status {done.returncode}"
        )
    return done.stdout


def tracked() -> set[str]:
    """The files of the package, as git has them."""
    listed = run("git", "ls-files", "-z", "src/overt", folder=ROOT)
    return {name.removeprefix("src/") for name in listed.split("\0") if name}


def tried(built: Path, home: Path, settings: list[str]) -> None:
    """Install one of the two, and use it."""
    home.mkdir()
    python = home / "venv" / "bin" / "python"
    run(*UV, "venv", "--python", sys.executable, home / "venv", folder=home)
    constraints = ("--constraint", ROOT / "constraints.txt")
    run(*UV, "pip", "install", "--python", python, *constraints, built, folder=home)
    where = run(python, "-c", "import overt; print(overt.__file__)", folder=home).strip()
    assert where.startswith(str(home)), f"imported from {where}"
    installed = Path(where).parent
    lost = sorted(name for name in tracked() if not (installed.parent / name).is_file())
    assert not lost, f"{built.name} lacks {lost}"
    out = home / "runs"
    options = [word for setting in settings for word in ("--set", setting)]
    said = run(
        home / "venv/bin/overt", "run", "story", "--preset", "quick", "--out", out, *options, folder=home
    )
    assert (out / "report.html").is_file(), said
    packages = run(*UV, "pip", "list", "--quiet", "--python", python, folder=home).count("\n") - 2
    print(f"{built.name}: {len(tracked())} files, {packages} packages, story run to its report", flush=True)


def main() -> None:
    """Build both, and try each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed to overt run")
    settings = parser.parse_args().set
    with tempfile.TemporaryDirectory(prefix="overt-package-") as folder:
        home = Path(folder)
        run(*UV, "build", "--out-dir", home / "dist", ROOT, folder=home)
        wheel, sdist = *(home / "dist").glob("*.whl"), *(home / "dist").glob("*.tar.gz")
        inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("overt/")}
        assert inside == tracked(), f"the wheel differs from the source in {sorted(inside ^ tracked())}"
        tried(wheel, home / "wheel", settings)
        tried(sdist, home / "sdist", settings)


if __name__ == "__main__":
    main()
