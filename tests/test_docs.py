"""The pages under docs/ run as they stand, links lead somewhere, and CONTRIBUTING.md names what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = [*sorted(DOCS.glob("**/*.md")), CONTRIBUTING]


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page, tmp_path):
    """In a process of its own, block after block, in an empty folder."""
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page)), encoding="utf-8")
    answer = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_linked_file_exists(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_study_of_the_page_is_what_overt_new_writes(tmp_path):
    from overt.studies.template import NAME, write

    (source,) = blocks(DOCS / "new_study.md")
    assert write(NAME, tmp_path).read_text(encoding="utf-8") == source
    other = write("another_one", tmp_path).read_text(encoding="utf-8")
    assert other == source.replace(f'StudyOfParts("{NAME}"', 'StudyOfParts("another_one"')
    assert other != source


@pytest.mark.slow
def test_the_study_of_the_page_gives_its_verdicts(tmp_path):
    (source,) = blocks(DOCS / "new_study.md")
    (tmp_path / "oversampling.py").write_text(source, encoding="utf-8")
    program = (
        "import oversampling; from overt.studies import run_study;"
        "found = run_study(oversampling.study, preset='quick', out='runs', jobs=1);"
        "print([one.outcome for one in found.verdicts], [one.claim for one in found.section.figures])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "['reproduced', 'supported'] ['O2']\n"


def test_the_way_from_a_clone_is_that_of_the_readme():
    (setup, *_), readme = commands(CONTRIBUTING), (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"\n{setup} && .venv/bin/pytest -n 2\n" in readme


def commands(page: Path) -> list[str]:
    (block, *_) = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    return block.splitlines()


def test_the_sessions_of_nox_are_described():
    sessions = re.findall(
        r"^@nox\.session\ndef (\w+)", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.M
    )
    described = re.findall(r"^\| `(\w+)` \|", CONTRIBUTING.read_text(encoding="utf-8"), re.M)
    assert sorted(described) == sorted(sessions)


def test_files_that_contributing_names_exist():
    named = re.findall(r"`([\w./]+/[\w.]*)`", CONTRIBUTING.read_text(encoding="utf-8"))
    missing = [name for name in named if not name.startswith(".venv") and not (ROOT / name).exists()]
    assert missing == []
