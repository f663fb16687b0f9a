"""The example of the Jacobian penalty runs, and shows what it says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "jacobian_penalty.py"


@pytest.mark.slow
def test_the_example_shows_fewer_directions_and_one_weight_for_all_scales(capsys):
    with pytest.warns(RuntimeWarning, match=r"the model is constant, or nearly \(p=1, weight=0\.003\)"):
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["units", "penalty", "error", "effective", "rank"]
    found = {tuple(line.split()[:2]): [float(word) for word in line.split()[2:]] for line in lines}
    none, plain, normalized = (found["1", name] for name in ("none", "plain", "normalized"))
    assert normalized[0] < 0.7 * none[0]
    assert normalized[1] < 0.7 * none[1]
    assert normalized[0] < plain[0] < none[0]
    again = found["1000", "normalized"]
    assert abs(again[0] - normalized[0]) < 0.03
    assert abs(again[1] - normalized[1]) < 0.7
    assert found["1000", "plain"][0] > 1.5 * plain[0]
