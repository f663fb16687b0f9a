"""The README's Python is run as a new user would run it, and its commands are the ones that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_python_blocks_run_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    from sklearn.kernel_ridge import KernelRidge

    import overt

    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 20))
    truth = X.copy()
    X[rng.random(X.shape) < 0.4] = np.nan
    names: dict[str, Any] = {
        "overt": overt,
        "X": X,
        "model": torch.nn.Sequential(torch.nn.Linear(5, 4)),
        "task_loss": torch.tensor(0.0),
        "W": torch.randn(6, 4),
        "U": torch.randn(6, 2),
        "V": torch.randn(4, 2),
        "s": torch.tensor([2.0, 1.0]),
        "inputs": torch.randn(20, 5),
        "rows": [0, 1],
        "cols": [1, 2],
        "features": rng.normal(size=(60, 5)),
        "target": rng.normal(size=60),
        "learner": KernelRidge(kernel="rbf", gamma=0.1),
    }
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) >= 5
    for block in blocks:
        exec(block, names)
    assert names["loss"].requires_grad
    assert np.allclose(names["filled"], truth, atol=1e-8)
    assert names["found"].rank == 5
    assert names["problem"].error(names["found"].W) < 1e-10
    assert "5 " in capsys.readouterr().out


def test_each_command_of_the_readme_exists() -> None:
    from overt.cli.commands import front_door

    used = set(re.findall(r"`overt (\w+)", README)) | set(re.findall(r"bin/overt (\w+)", README))
    assert used
    assert used <= set(front_door.commands)


def test_every_linked_file_exists() -> None:
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (root / target).exists(), target


def test_the_table_of_verdicts_is_that_of_the_stored_results() -> None:
    place = Path(__file__).parents[1] / "benchmarks" / "verdicts.py"
    spec = importlib.util.spec_from_file_location("verdicts", place)
    assert spec is not None
    assert spec.loader is not None
    verdicts = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(verdicts)
    assert verdicts.renewed(README, verdicts.table()) == README, "run: python benchmarks/verdicts.py"
    assert "| [`story`]" in README
    for found, content in verdicts.fullest(verdicts.RESULTS).items():
        text = (verdicts.FINDINGS / f"{content['study']}.md").read_text(encoding="utf-8")
        assert verdicts.renewed(text, verdicts.page(found, content)) == text, content["study"]
    assert verdicts.SHIPPED.read_text(encoding="utf-8") == verdicts.shipped(), (
        "run: python benchmarks/verdicts.py"
    )
