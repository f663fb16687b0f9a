"""The examples of the views, the counts and the tracker run, and so does their guide."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

MODULES = [
    "activations",
    "compressing",
    "convolution",
    "local_rank",
    "noise_stability",
    "parameters",
    "tracker",
    "views",
    "_factoring",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, attempted = doctest.testmod(importlib.import_module(f"overt.measures.{name}"))
    assert failed == 0
    assert attempted > 0


def test_the_guide_runs(capsys):
    guide = (Path(__file__).parents[2] / "docs" / "parameters.md").read_text(encoding="utf-8")
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", guide, re.S)
    assert len(blocks) == 7
    for block in blocks:
        exec(block, names)
    assert "parameters keep accuracy" in capsys.readouterr().out
    assert names["result"].total < names["result"].total_before
