"""Images from idx files: seeded balanced splits, orthogonal scramblings, damaged files."""

from __future__ import annotations

import gzip
import os
import struct

import pytest
import torch

from overt.problems import ImageSet, image_classification, permute_pixels, scramble_phases
from overt.problems.images import read_idx

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
needs_data = pytest.mark.skipif(not os.environ.get("OVERT_DATA"), reason="OVERT_DATA names no folder")


def idx(array: torch.Tensor) -> bytes:
    shape = array.shape
    head = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return head + bytes(array.flatten().tolist())


@pytest.fixture
def folder(tmp_path):
    """Forty training and ten test images of 6×4 pixels, four classes."""
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 40), ("t10k", 10)):
        x = torch.randint(0, 256, (count, 6, 4), generator=generator)
        x[:, 0, 0] = torch.arange(count)  # tells the images apart
        y = torch.arange(count) % 4
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(y))
    return tmp_path


def numbers(images: ImageSet) -> set[int]:
    return {round(float(x) * 255) for x in images.images[:, 0, 0, 0]}


def test_a_split_is_disjoint_balanced_and_seeded(folder):
    split = image_classification(folder, n_train=12, n_validation=8, seed=1)
    assert split.train.images.shape == (12, 1, 6, 4)
    assert split.classes == 4
    assert torch.bincount(split.train.labels).tolist() == [3, 3, 3, 3]
    assert torch.bincount(split.validation.labels).tolist() == [2, 2, 2, 2]
    assert len(numbers(split.train) | numbers(split.validation)) == 20
    assert len(split.test) == 10
    assert all(
        n % 4 == y
        for n, y in zip(
            (round(float(x) * 255) for x in split.train.images[:, 0, 0, 0]),
            split.train.labels.tolist(),
            strict=True,
        )
    )
    again = image_classification(folder, n_train=12, n_validation=8, seed=1)
    other = image_classification(folder, n_train=12, n_validation=8, seed=2)
    assert torch.equal(split.train.images, again.train.images)
    assert not torch.equal(split.train.images, other.train.images)


def test_a_larger_training_set_holds_the_smaller_one(folder):
    small = image_classification(folder, n_train=8, n_validation=0, seed=3)
    large = image_classification(folder, n_train=16, n_validation=0, seed=3)
    assert numbers(small.train) < numbers(large.train)


@pytest.mark.parametrize("scramble", [permute_pixels, scramble_phases])
def test_scramblings_are_orthogonal_maps_that_are_the_same_for_all_images(folder, scramble):
    images = image_classification(folder, n_train=20, n_validation=0, seed=0, dtype=torch.float64).train
    found = scramble(images, seed=5)
    x, z = images.images.flatten(1), found.images.flatten(1)
    torch.testing.assert_close(z @ z.T, x @ x.T)
    part = scramble(images[3:5], seed=5)
    torch.testing.assert_close(part.images, found.images[3:5])
    assert torch.equal(found.labels, images.labels)
    assert not torch.allclose(z, x)


def test_phases_are_scrambled_and_the_power_spectrum_kept(folder):
    x = image_classification(folder, n_train=4, n_validation=0, seed=0, dtype=torch.float64).train
    z = scramble_phases(x, seed=5)
    a, b = torch.fft.fft2(x.images), torch.fft.fft2(z.images)
    torch.testing.assert_close(a.abs(), b.abs())
    torch.testing.assert_close(x.images.mean((-1, -2)), z.images.mean((-1, -2)))
    assert permute_pixels(x, seed=1).images.sort(-1).values.sum() == pytest.approx(float(x.images.sum()))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"n_train": 0}, ValueError, "n_train"),
        ({"n_train": True}, TypeError, "n_train"),
        ({"n_validation": -1}, ValueError, "n_validation"),
        ({"n_test": 11}, ValueError, "n_test must be at most 10.* got 11"),
        ({"n_test": 0}, ValueError, "n_test"),
        ({"n_train": 39, "n_validation": 2}, ValueError, r"n_validation must be at most 40.* got 41"),
    ],
)
def test_counts_that_cannot_be_are_refused(folder, options, error, match):
    with pytest.raises(error, match=match):
        image_classification(folder, **{"n_train": 4, "n_validation": 4, "seed": 0, **options})


def test_missing_files_and_folders_are_named(folder, tmp_path):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte"):
        image_classification(folder, n_train=4, n_validation=4, seed=0)
    with pytest.raises(ValueError, match="folder with idx files"):
        image_classification(tmp_path / "none", n_train=4, n_validation=4, seed=0)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "no idx file"),
        (b"hello world", "no idx file"),
        (bytes([0, 0, 9, 1, 0, 0, 0, 1, 7]), "type 0x09"),
        (bytes([0, 0, 8, 2, 0, 0, 0, 1]), "ends within its header"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 3, 7]), "holds only 1"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 7, 7]), "holds more"),
        (bytes([0, 0, 8, 2, 255, 255, 255, 255, 255, 255, 255, 255]), "more than the"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_files_that_are_no_idx_files_are_refused(tmp_path, content, match, packed):
    path = tmp_path / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ValueError, match=match):
        read_idx(path)


def test_a_file_that_is_cut_off_or_not_packed_is_refused(tmp_path):
    whole = gzip.compress(idx(torch.arange(200)))
    for name, content in (("cut.gz", whole[:-20]), ("plain.gz", b"no gzip")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read"):
            read_idx(tmp_path / name)


@pytest.mark.slow
@needs_data
@pytest.mark.data
def test_fashion_mnist_is_what_was_published():
    split = image_classification(n_train=500, n_validation=1000, seed=0)
    assert split.name == "Fashion-MNIST"
    assert (len(split.train), len(split.validation), len(split.test)) == (500, 1000, 10_000)
    assert torch.bincount(split.test.labels).tolist() == [1000] * 10
    assert torch.bincount(split.train.labels).tolist() == [50] * 10
    assert split.train.images.shape[1:] == (1, 28, 28)
    assert 0.2 < float(split.test.images.mean()) < 0.4


@needs_data
@pytest.mark.data
def test_other_content_under_its_name_is_refused(tmp_path, monkeypatch):
    (tmp_path / "fashion-mnist").mkdir()
    for name in FILES:
        (tmp_path / "fashion-mnist" / f"{name}.gz").write_bytes(gzip.compress(b"other"))
    monkeypatch.setenv("OVERT_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="SHA-256"):
        image_classification(n_train=10, n_validation=10, seed=0)
