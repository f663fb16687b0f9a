"""The photograph with pixels removed."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_sample_image

from overt.problems import photograph, psnr


@pytest.fixture(scope="module")
def china():
    return torch.tensor(load_sample_image("china.jpg")).double() / 255


def test_gray_is_the_luma_of_the_photograph(china):
    problem = photograph(kept=0.3, seed=0)
    oracle = 0.299 * china[..., 0] + 0.587 * china[..., 1] + 0.114 * china[..., 2]
    assert problem.shape == (427, 640)
    torch.testing.assert_close(problem.truth, oracle)
    assert 0 <= float(problem.truth.min()) < 0.1 < 0.9 < float(problem.truth.max()) <= 1
    assert torch.equal(problem.measure(problem.truth), problem.y)
    assert problem.n_observed == round(0.3 * 427 * 640)
    assert problem.error(problem.truth) == problem.heldout_rmse(problem.truth) == 0


@pytest.mark.parametrize("gray", [True, False])
@pytest.mark.parametrize("kept", [0.05, 0.5, 1.0])
def test_kept_and_removed_pixels_make_the_whole(gray, kept):
    problem = photograph(kept=kept, seed=1, gray=gray, size=(30, 40))
    channels = 1 if gray else 3
    assert problem.n_observed == channels * round(kept * 1200)
    rebuilt = problem.adjoint(problem.y)
    if problem.heldout is not None:
        rows, cols, values = problem.heldout
        assert not bool(problem.observed[rows, cols].any())
        rebuilt[rows, cols] = values
    else:
        assert kept == 1
    assert torch.equal(rebuilt, problem.truth)


def test_colour_puts_channels_side_by_side_and_removes_whole_pixels(china):
    problem = photograph(kept=0.4, seed=0, gray=False)
    assert problem.shape == (427, 3 * 640)
    assert torch.equal(torch.stack(problem.truth.chunk(3, 1), -1), china)
    red, green, blue = problem.observed.chunk(3, dim=1)
    assert torch.equal(red, green)
    assert torch.equal(red, blue)


def test_seed_decides_the_removal_alone():
    one, two, other = (photograph(seed=s, size=(20, 30)) for s in (0, 0, 1))
    assert torch.equal(one.observed, two.observed)
    assert not torch.equal(one.observed, other.observed)
    assert torch.equal(one.truth, other.truth)
    half = photograph(seed=0, size=(20, 30), dtype=torch.float32)
    assert torch.equal(half.truth, one.truth.float())
    assert torch.equal(half.observed, one.observed)


def test_shrinking_averages_over_areas(china):
    problem = photograph(seed=0, size=(61, 64), gray=False)
    block = china[7:14, 10:20].mean((0, 1))
    torch.testing.assert_close(torch.stack(problem.truth.chunk(3, 1), -1)[1, 1], block)
    assert photograph(seed=0, image="flower.jpg", size=(5, 6)).shape == (5, 6)


def test_psnr():
    truth = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    assert psnr(truth, truth) == math.inf
    noisy = truth + 0.01
    assert psnr(noisy, truth) == pytest.approx(40, abs=1e-3)
    assert psnr(255 * noisy, 255 * truth, peak=255) == pytest.approx(40, abs=1e-3)
    with pytest.raises(ValueError, match="shape"):
        psnr(truth, truth.T)
    with pytest.raises(ValueError, match="peak"):
        psnr(truth, truth, peak=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"image": "cat.jpg"}, ValueError, "image must be 'china.jpg' or 'flower.jpg'"),
        ({"image": "../../etc/passwd"}, ValueError, "image must be"),
        ({"kept": 0.0}, ValueError, "kept"),
        ({"kept": 1.1}, ValueError, "kept"),
        ({"kept": math.nan}, ValueError, "kept"),
        ({"kept": "0.3"}, TypeError, "kept"),
        ({"kept": 1e-9}, ValueError, "leaves no pixel"),
        ({"size": (428, 10)}, ValueError, "size"),
        ({"size": (0, 10)}, ValueError, "size"),
        ({"size": (10,)}, ValueError, "size"),
        ({"size": 10}, TypeError, "size"),
        ({"size": (10, 2.5)}, TypeError, "size"),
        ({"seed": None}, TypeError, "seed"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_refusals_name_the_argument(arguments, error, message):
    with pytest.raises(error, match=message):
        photograph(**{"seed": 0, **arguments})
