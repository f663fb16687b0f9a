"""Image classification from idx files: Fashion-MNIST, or any set of that form in a folder."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from overt._utils.checks import check_integer, check_seed, message, optional
from overt._utils.reading import brief, open_bounded, read_into
from overt._utils.seeds import seeded
from overt._utils.tensors import check_dtype
from overt.problems.fetch import FASHION_MNIST, fetch

_UNSIGNED_BYTES = 0x08
_DIMENSIONS = 8
_LARGEST = 2**30  # bytes of content; the largest file of the MNIST family, of EMNIST, has 640 million
_DEFLATE = 1032  # times as many bytes as a file of the gzip format has may come out of it, at most


@dataclass(frozen=True)
class ImageSet:
    """Images with labels.

    Attributes
    ----------
    images : Tensor
        (count, 1, height, width), values from 0 to 1.
    labels : Tensor
        (count,), integers from 0.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return self.labels.numel()

    def __getitem__(self, index: Tensor | slice) -> ImageSet:
        return ImageSet(self.images[index], self.labels[index])


@dataclass(frozen=True)
class ImageSplit:
    """Disjoint images to train on, to choose settings with, and to test on once.

    Attributes
    ----------
    train, validation, test : ImageSet
        `validation` comes from the published training images, `test` from the published test images.
    classes : int
    name : str
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    classes: int
    name: str


def image_classification(
    source: str | Path = "fashion-mnist",
    *,
    n_train: int,
    n_validation: int,
    n_test: int | None = None,
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> ImageSplit:
    """A seeded small training set, a validation set and a test set.

    Each class gets the same number of training and of validation images, up to one.

    Parameters
    ----------
    source
        ``"fashion-mnist"`` (Xiao, Rasul & Vollgraf 2017), from the folder named by ``OVERT_DATA``, the cache
        or the publisher; or a folder with the four idx files of an MNIST-like set under their usual names,
        with or without ``.gz``.
    n_train, n_validation
        Numbers of published training images; the two sets are disjoint.
    n_test
        The first so many of the published test images; None for all.
    seed
        Chooses the training and validation images.
    dtype
        Of the images.

    Returns
    -------
    ImageSplit

    Raises
    ------
    DataUnavailableError
        Fashion-MNIST is not in a local folder and cannot be downloaded.
    TypeError, ValueError
        A count or seed out of its range; files that are missing, damaged, do not fit together, or hold fewer
        images than asked for.
    """
    n_train = check_integer(n_train, "n_train", least=1)
    n_validation = check_integer(n_validation, "n_validation", least=0)
    n_test = optional(check_integer, n_test, "n_test", least=1)
    seed, dtype = check_seed(seed), check_dtype(dtype)
    name, paths = _files(source)
    train, test = _load(paths[:2]), _load(paths[2:])
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(f"source: the training and test images of {name} differ in size")
    if n_test is not None and n_test > len(test):
        raise ValueError(f"n_test must be at most {len(test)}, the test images of {name}, got {n_test}")
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    order = _balanced_order(train.labels, classes, seed)
    if n_train + n_validation > order.numel():
        raise ValueError(
            f"n_train + n_validation must be at most {order.numel()}, the training images of {name} in equal "
            f"classes, got {n_train + n_validation}"
        )
    return ImageSplit(
        _to_float(train[order[:n_train]], dtype),
        _to_float(train[order[n_train : n_train + n_validation]], dtype),
        _to_float(test[:n_test], dtype),
        classes,
        name,
    )


def permute_pixels(images: ImageSet, *, seed: int) -> ImageSet:
    """The images with their pixels in another order, the same one for all images.

    This orthogonal map makes no difference to fully connected networks, and flattens the power spectrum.
    """
    x = images.images
    order = torch.randperm(x[0].numel(), generator=seeded(seed))
    return replace(images, images=x.flatten(1)[:, order].reshape(x.shape))


def scramble_phases(images: ImageSet, *, seed: int) -> ImageSet:
    """The images with a random phase added to each spatial frequency, the same ones for all images.

    This circular convolution by an all-pass filter is orthogonal: each image keeps its power spectrum and
    loses its edges. Values may leave the range from 0 to 1.
    """
    x = images.images
    h, w = x.shape[-2:]
    noise = torch.randn(h, w, generator=seeded(seed), dtype=torch.float64)
    spectrum = torch.fft.fft2(noise)
    phase = spectrum / spectrum.abs()  # of a real image, so that the product is real again
    phase[0, 0] = 1.0  # the mean keeps its sign
    scrambled = torch.fft.ifft2(torch.fft.fft2(x.double()) * phase).real
    return replace(images, images=scrambled.to(x.dtype))


def _files(source: str | Path) -> tuple[str, list[Path]]:
    """The name of the set, and its files in the order of `FASHION_MNIST`."""
    if source == "fashion-mnist":
        return "Fashion-MNIST", [fetch(file) for file in FASHION_MNIST]
    folder = Path(source)
    if not folder.is_dir():
        raise ValueError(message("source", "'fashion-mnist' or a folder with idx files", str(source)))
    found = []
    for packed in (Path(file.name).name for file in FASHION_MNIST):
        name = packed.removesuffix(".gz")
        there = [path for path in (folder / packed, folder / name) if path.is_file()]
        if not there:
            raise ValueError(f"source: {folder} holds neither {packed} nor {name}")
        found.append(there[0])
    return folder.name, found


def _load(paths: list[Path]) -> ImageSet:
    images, labels = paths
    x, y = read_idx(images), read_idx(labels)
    if x.ndim != 3 or y.ndim != 1 or len(x) != len(y) or not len(x):
        raise ValueError(
            f"{images} and {labels} must hold as many images as labels, got the shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}"
        )
    return ImageSet(x.unsqueeze(1), y.long())


def _to_float(images: ImageSet, dtype: torch.dtype) -> ImageSet:
    return replace(images, images=images.images.to(dtype) / 255)


def _balanced_order(labels: Tensor, classes: int, seed: int) -> Tensor:
    """Indices in an order whose prefixes hold equally many of each class; ends with the smallest class."""
    generator = seeded(seed)
    order = torch.randperm(labels.numel(), generator=generator)
    by_class = [order[labels[order] == label] for label in range(classes)]
    shortest = min(part.numel() for part in by_class)
    rounds = torch.stack([part[:shortest] for part in by_class], 1)
    # The order of the classes changes, so that no class always has one image more.
    turns = torch.stack([torch.randperm(classes, generator=generator) for _ in range(max(shortest, 1))])
    return rounds.gather(1, turns[:shortest]).flatten()


def read_idx(path: Path) -> Tensor:
    """The uint8 array of an idx file of unsigned bytes; a name that ends in ``.gz`` is unpacked on the fly.

    Raises
    ------
    ValueError
        The file cannot be read, is of another format or type, is larger than 1 GiB, or is shorter or longer
        than its header says.
    """
    try:
        packed = path.suffix == ".gz"
        with open_bounded(path, 2 * _LARGEST) as file, gzip.open(file) if packed else file as stream:
            start = stream.read(4)
            if len(start) < 4 or start[:2] != b"\0\0":
                raise ValueError(f"{path} is no idx file: it begins with {start.hex() or 'nothing'}")
            if start[2] != _UNSIGNED_BYTES:
                raise ValueError(f"{path} holds type 0x{start[2]:02x}; only unsigned bytes (0x08) are read")
            sizes = np.frombuffer(stream.read(4 * start[3]), dtype=">u4")
            if len(sizes) != start[3] or start[3] > _DIMENSIONS:
                raise ValueError(f"{path} ends within its header, or has more than {_DIMENSIONS} dimensions")
            shape = tuple(int(size) for size in sizes)
            count = math.prod(shape)
            if shape and not count:
                raise ValueError(f"{path} holds nothing: its shape is {shape}")
            if count > _LARGEST:
                raise ValueError(f"{path} claims {count} bytes, more than the {_LARGEST} allowed")
            if count > path.stat().st_size * (_DEFLATE if packed else 1):
                raise ValueError(f"{path} claims {count} bytes, more than so small a file holds")
            content = bytearray(count)
            read = read_into(content, stream)
            more = len(stream.read(1))
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {brief(error)}") from error
    if read + more != count:
        held = "more" if more else f"only {read}"
        raise ValueError(f"{path} should hold {count} bytes for shape {shape}, and holds {held}")
    return torch.from_numpy(np.frombuffer(content, np.uint8)).reshape(shape)
