"""The examples of the Jacobian penalty run, and show what they say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_the_example_shows_fewer_directions_and_one_weight_for_all_scales(capsys):
    with pytest.warns(RuntimeWarning, match=r"the model is constant, or nearly \(p=1, weight=0\.003\)"):
        runpy.run_path(str(EXAMPLES / "jacobian_penalty.py"), run_name="__main__")
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


@pytest.mark.slow
def test_few_directions_are_found_by_sparse_forms_alone():
    example = runpy.run_path(str(EXAMPLES / "few_directions.py"))
    parts = example["data"]("three inputs", 0)
    errors = {p: example["train"](parts, p, weight, 0)[1] for p, weight in ((2 / 3, 3e-2), (2.0, 1e-2))}
    assert errors[2 / 3] < 0.02
    assert errors[2.0] > 0.3
    assert errors.keys() <= {p for p, _ in example["METHODS"].values()}
