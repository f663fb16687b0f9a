"""The guide to counting parameters runs and says what it promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_guide_to_counting_parameters_runs(capsys):
    guide = (Path(__file__).parents[2] / "docs" / "parameters.md").read_text(encoding="utf-8")
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", guide, re.S)
    assert len(blocks) == 6
    for block in blocks:
        exec(block, names)
    assert "parameters keep accuracy" in capsys.readouterr().out
    assert names["result"].total < names["result"].total_before
