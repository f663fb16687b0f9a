"""Wrong input to the library and the command line: refused at the boundary, in one line that names it."""

from __future__ import annotations

import hashlib
import io
import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from overt import (
    DeepCircularConvolution,
    DeepDiagonal,
    DeepLinear,
    Factored,
    SpectralPenalty,
    VectorPenalty,
    train,
)
from overt import functional as F
from overt.cli import main
from overt.completion import explicit, irls, nuclear_norm_minimization, refit, soft_impute
from overt.optim import SpectralDecay
from overt.problems import (
    CompletionProblem,
    RegressionProblem,
    SensingProblem,
    linear_regression,
    matrix_completion,
    matrix_sensing,
    movielens_100k,
    photograph,
)
from overt.studies import OvertError, run_study

NAN_MATRIX = torch.tensor([[1.0, math.nan], [0.0, 2.0]], dtype=torch.float64)
NOTHING = torch.empty(0, dtype=torch.long)
TWO = torch.tensor([0, 1])


def problem():
    return matrix_completion((6, 5), rank=1, n_observed=20, seed=0)


def entries(rows=TWO, cols=TWO, y=(1.0, 2.0), shape=(3, 3)):
    return CompletionProblem(rows, cols, torch.tensor(y, dtype=torch.float64), shape)


def model(*sizes):
    return DeepLinear(sizes or (5, 6), seed=0, dtype=torch.float64)


def masked(mask):
    return CompletionProblem.from_dense(torch.ones(2, 2, dtype=torch.float64), mask)


REFUSED = {
    # problems
    "empty mask": (lambda: masked(torch.zeros(2, 2, dtype=torch.bool)), "no entry is observed"),
    "no entries": (lambda: entries(NOTHING, NOTHING, ()), "observe"),
    "matrix of NaN": (
        lambda: CompletionProblem.from_dense(NAN_MATRIX, torch.ones(2, 2, dtype=torch.bool)),
        "NaN",
    ),
    "NaN observed": (lambda: entries(y=(1.0, math.nan)), "y"),
    "infinity observed": (lambda: entries(y=(1.0, math.inf)), "y"),
    "row out of range": (lambda: entries(rows=torch.tensor([0, 3])), "rows"),
    "negative column": (lambda: entries(cols=torch.tensor([0, -1])), "cols"),
    "fractional rows": (lambda: entries(rows=torch.tensor([0.5, 1.0])), "rows"),
    "an entry twice": (lambda: entries(rows=torch.tensor([1, 1]), cols=torch.tensor([1, 1])), "repeat"),
    "lengths differ": (lambda: entries(y=(1.0,)), "rows"),
    "shape of nothing": (lambda: entries(shape=(0, 3)), "shape"),
    "NaN measurements": (lambda: SensingProblem(NAN_MATRIX, torch.ones(2, dtype=torch.float64), (1, 2)), "A"),
    "measurements of another shape": (
        lambda: SensingProblem(torch.ones(2, 5), torch.ones(2), (2, 2)),
        "A",
    ),
    "NaN samples": (lambda: RegressionProblem(NAN_MATRIX, torch.ones(2, dtype=torch.float64)), "X"),
    "rank above the size": (lambda: matrix_completion((4, 5), rank=5, n_observed=9, seed=0), "rank"),
    "negative rank": (lambda: matrix_completion((4, 5), rank=-1, n_observed=9, seed=0), "rank"),
    "no observations": (lambda: matrix_completion((4, 5), rank=1, n_observed=0, seed=0), "observed entries"),
    "too many observations": (
        lambda: matrix_completion((4, 5), rank=1, n_observed=21, seed=0),
        "observed entries",
    ),
    "negative noise": (
        lambda: matrix_completion((4, 5), rank=1, n_observed=9, seed=0, noise=-1.0),
        "noise",
    ),
    "unknown sampling": (
        lambda: matrix_completion((4, 5), rank=1, n_observed=9, seed=0, sampling="unifrom"),
        "sampling",
    ),
    "seed of words": (lambda: matrix_completion((4, 5), rank=1, n_observed=9, seed="one"), "seed"),
    "negative seed": (lambda: matrix_completion((4, 5), rank=1, n_observed=9, seed=-1), "seed"),
    "no measurements": (lambda: matrix_sensing((4, 5), rank=1, n_measurements=0, seed=0), "n_measurements"),
    "no samples": (lambda: linear_regression(5, n_samples=0, seed=0), "n_samples"),
    "more non-zeros than unknowns": (
        lambda: linear_regression(5, n_samples=3, seed=0, nonzeros=6),
        "nonzeros",
    ),
    "no pixel kept": (lambda: photograph(kept=0.0, seed=0), "kept"),
    "more pixels than there are": (lambda: photograph(kept=1.5, seed=0), "kept"),
    "unknown split": (lambda: movielens_100k("u9"), "split"),
    # models
    "negative width": (lambda: model(3, -2, 3), "sizes"),
    "one size": (lambda: model(3), "sizes"),
    "unknown init": (lambda: DeepLinear((3, 3), init="gausian", seed=0), "init"),
    "negative scale": (lambda: DeepLinear((3, 3), scale=-1.0, seed=0), "scale"),
    "scale of NaN": (lambda: DeepLinear((3, 3), scale=math.nan, seed=0), "scale"),
    "negative depth of a diagonal network": (lambda: DeepDiagonal(4, depth=-1), "depth"),
    "no depth of a diagonal network": (lambda: DeepDiagonal(4, depth=0), "depth"),
    "negative depth of a convolution": (lambda: DeepCircularConvolution(4, depth=-1, seed=0), "depth"),
    "no dimensions": (lambda: DeepDiagonal(0, depth=2), "dim"),
    "factors that do not fit": (lambda: Factored(torch.ones(3, 2), torch.ones(3, 1)), "U"),
    # functionals and penalties
    "functional of NaN": (lambda: F.normalized_nuclear_norm(NAN_MATRIX), "W"),
    "functional of a vector": (lambda: F.nuclear_norm(torch.ones(3)), "W"),
    "functional of integers": (lambda: F.nuclear_norm(torch.ones(3, 3, dtype=torch.long)), "W"),
    "functional of a list": (lambda: F.effective_rank([[1.0, 2.0]]), "W"),
    "functional of nothing": (lambda: F.stable_rank(), "W"),
    "negative singular values": (
        lambda: F.nuclear_norm(singular_values=torch.tensor([1.0, -1.0])),
        "singular_values",
    ),
    "unknown functional": (lambda: SpectralPenalty(model(), "nuclear_nrom"), "functional"),
    "penalty of NaN weight": (lambda: SpectralPenalty(model(), weight=math.nan), "weight"),
    "penalty of negative weight": (lambda: SpectralPenalty(model(), weight=-1.0), "weight"),
    "penalty of no matrices": (lambda: SpectralPenalty(torch.nn.ReLU()), "ReLU has no parameter"),
    "penalty of a vector's norm": (lambda: VectorPenalty(DeepDiagonal(4, depth=2), p=-1.0), "p"),
    "decay of length one": (
        lambda: SpectralDecay(torch.optim.SGD((net := model()).parameters(), lr=0.1), net, length=1.0),
        "length",
    ),
    # training
    "negative steps": (lambda: train(model(), problem(), max_steps=-1), "max_steps"),
    "no learning rate": (lambda: train(model(), problem(), lr=0.0), "lr"),
    "learning rate of NaN": (lambda: train(model(), problem(), lr=math.nan), "lr"),
    "unknown optimizer": (lambda: train(model(), problem(), optimizer="adamm"), "adam"),
    "unknown option of an optimizer": (
        lambda: train(model(), problem(), optimizer_options={"beta": 0.9}),
        "beta",
    ),
    "model of another shape": (lambda: train(model(6, 5), problem()), r"\(5, 6\)"),
    "model of another dtype": (lambda: train(DeepLinear((5, 6), seed=0), problem()), "float32"),
    # completion
    "explicit, negative weight": (lambda: explicit(problem(), weight=-1.0), "weight"),
    "explicit, negative initialization": (lambda: explicit(problem(), init_scale=-1.0), "init_scale"),
    "irls, unknown rank proxy": (lambda: irls(problem(), rank_proxy="rnak"), "rank_proxy"),
    "irls, no steps": (lambda: irls(problem(), max_iter=-1), "max_iter"),
    "nuclear norm, negative weight": (lambda: nuclear_norm_minimization(problem(), weight=-1.0), "weight"),
    "nuclear norm, negative noise": (
        lambda: nuclear_norm_minimization(problem(), noise_level=-1.0),
        "noise_level",
    ),
    "SoftImpute, negative weight": (lambda: soft_impute(problem(), weight=-1.0), "weight"),
    "SoftImpute, all held out": (lambda: soft_impute(problem(), heldout=1.0), "heldout"),
    "refit at rank 0": (lambda: refit(problem(), explicit(problem(), max_steps=1), rank=0), "rank"),
    "refit at a rank above the size": (
        lambda: refit(problem(), explicit(problem(), max_steps=1), rank=9),
        "rank",
    ),
    # studies
    "unknown study": (lambda: run_study("storey", out="x"), "did you mean 'story'"),
    "unknown preset": (lambda: run_study("story", preset="fast", out="x"), "quick, full"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_library_refuses_in_one_line_that_names_what_is_wrong(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, named = REFUSED[case]
    with pytest.raises((ValueError, TypeError, OvertError), match=rf"(?<!\w){named}") as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message
    assert 10 < len(message) < 500
    assert not list(tmp_path.iterdir())


# ---- the command line: what tests/test_cli.py does not cover ----------------------------------------------

WRONG_SETTINGS = {
    "negative depth": (["depth=-1"], "depth"),
    "depth of words": (["depth=three"], "depth"),
    "learning rate of NaN": (["lr=NaN"], "lr"),
    "infinite weight": (["weight=Infinity"], "weight"),
    "misspelt field": (["dpeth=3"], "did you mean 'depth'"),
    "unknown part": (["part=everything"], "part"),
    "unknown method": (["method=magic"], "method"),
    "share of pixels": (["kept=0"], "kept"),
    "negative height": (["height=-5"], "height"),
    "a field twice": (["depth=2", "depth=3"], "twice"),
    "a list": (["depth=[1, 2]"], "depth"),
    "no steps": (["max_steps=0"], "max_steps"),
    "a line break": (["method=a\nb"], "method"),
}


@pytest.mark.parametrize("case", WRONG_SETTINGS)
def test_settings_of_the_story_are_checked_before_anything_runs(case, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assignments, named = WRONG_SETTINGS[case]
    arguments = ["run", "story"]
    for assignment in assignments:
        arguments += ["--set", assignment]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, err = capfd.readouterr()
    assert stopped.value.code == 2
    assert out == ""
    assert err.startswith("overt: error: ")
    assert err.count("\n") == 1
    assert named in err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "storey"], "did you mean 'story'"),
        (["run", "story", "--presett", "quick"], "--preset"),
        (["run", "story", "--out", "thesis"], "left untouched"),
        (["report", "thesis"], "left untouched"),
        (["run", "story", "--config", "thesis/chapter.tex"], "chapter.tex"),
    ],
)
def test_a_new_process_prints_one_line_and_leaves_other_content_alone(tmp_path, arguments, named):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years = of = work")
    answer = subprocess.run(
        [sys.executable, "-m", "overt", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("overt: error: ")
    assert answer.stderr.count("\n") == 1
    assert named in answer.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["thesis", "chapter.tex"]
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years = of = work"


# ---- malicious files --------------------------------------------------------------------------------------


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A folder with runs of the tiny study, and how to ask for its report."""
    studies = str(Path(__file__).parent / "studies")
    monkeypatch.syspath_prepend(studies)
    monkeypatch.chdir(tmp_path)
    run_study("tiny_study:study", out=tmp_path / "runs", jobs=1)
    return tmp_path / "runs"


def report(folder, capfd):
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(folder), "--study", "tiny_study:study"])
    return stopped.value.code, capfd.readouterr().err


def pickled_array(path):
    """An npz archive whose array is a pickle."""
    buffer = io.BytesIO()
    np.savez(buffer, values=np.array([Bomb(path)], dtype=object))
    return buffer.getvalue()


def huge_array():
    """An npz archive of a few kilobytes that says it holds terabytes."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("values.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize("attack", ["pickle", "huge", "path"])
def test_a_malicious_run_is_left_out_and_named_and_nothing_of_it_is_executed(stored, tmp_path, capfd, attack):
    run = sorted(stored.glob("runs/tiny-*"))[0]
    marker = tmp_path / "executed"
    if attack == "path":
        config = json.loads((run / "config.json").read_text())
        config["study"] = "../../tiny"
        (run / "config.json").write_text(json.dumps(config))
    else:
        content = pickled_array(marker) if attack == "pickle" else huge_array()
        (run / "arrays.npz").write_bytes(content)
        sign_anew(run)
    code, err = report(stored, capfd)
    assert code == 1
    assert err.startswith("overt: tiny: a stored run is left out: ")
    assert err.count("\n") == 1
    assert str(run) in err
    assert not marker.exists()


def sign_anew(run):
    """Make the checksums right again, as someone who forges a run would."""
    done = json.loads((run / "DONE").read_text())
    text = json.dumps(done)
    assert "arrays.npz" in text
    for name, value in _leaves(done):
        if name == "arrays.npz":
            text = text.replace(value, hashlib.sha256((run / "arrays.npz").read_bytes()).hexdigest())
    (run / "DONE").write_text(text)


def _leaves(value, name=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, key)
    else:
        yield name, value
