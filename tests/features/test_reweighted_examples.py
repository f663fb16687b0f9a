"""The examples of reweighting run, and gain what they say."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def printed(name, capsys):
    """The two errors, and the last figure."""
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return [
        float(word) for word in re.findall(r"(?:error|spots:|\(32 × 32\):) ([\d.]+)", capsys.readouterr().out)
    ]


@pytest.mark.slow
def test_a_convolutional_network_finds_the_spots(capsys):
    plain, found, share = printed("reweighted_convolution", capsys)
    assert found < 0.5 * plain
    assert share > 0.9


@pytest.mark.slow
def test_a_transformer_finds_directions_of_its_embeddings(capsys):
    plain, found, rank = printed("reweighted_transformer", capsys)
    assert found < 0.95 * plain
    assert rank < 5
