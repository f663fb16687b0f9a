"""A real photograph with pixels removed."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as nnf

from overt._utils.checks import check_choice, check_flag, check_number, check_sizes
from overt._utils.seeds import seeded
from overt.problems.completion import CompletionProblem
from overt.problems.sampling import sample_entries

IMAGES = ("china.jpg", "flower.jpg")
"""The photographs that scikit-learn carries in its package."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def photograph(
    *,
    kept: float = 0.3,
    seed: int,
    gray: bool = True,
    image: str = "china.jpg",
    size: tuple[int, int] | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> CompletionProblem:
    """A photograph of scikit-learn's package of which a share of the pixels is kept.

    Parameters
    ----------
    kept
        Share of the pixels that are observed, in (0, 1]; the others are removed uniformly at random.
    seed
        Of the removal.
    gray
        True: luma 0.299 R + 0.587 G + 0.114 B, a matrix (h, w). False: the three channels side by side, a
        matrix (h, 3w) in which a removed pixel is missing from all three.
    image
        ``"china.jpg"`` or ``"flower.jpg"``, 427×640 pixels each.
    size
        (h, w) to shrink to, by averaging over areas; None leaves the photograph as it is.
    dtype, device
        Of the result.

    Returns
    -------
    CompletionProblem
        Values in [0, 1], `truth` the photograph, `heldout` the removed pixels.

    Raises
    ------
    TypeError, ValueError
        Unknown `image`, `kept` out of range or keeping no pixel, `size` larger than the photograph.

    Examples
    --------
    >>> from overt.problems import photograph
    >>> photograph(kept=0.3, seed=0, size=(64, 96))
    CompletionProblem('china.jpg 64×96, 30% kept', 64×96, 1843 observed, torch.float64, cpu)
    """
    generator = seeded(seed)
    kept = check_number(kept, "kept", above=0, most=1)
    picture = _load(image, size)
    gray = check_flag(gray, "gray")
    _, h, w = picture.shape
    count = round(kept * h * w)
    if count == 0:
        raise ValueError(f"kept: {kept} leaves no pixel of {h}×{w}; keep more")
    rows, cols = sample_entries((h, w), count, generator=generator)
    mask = torch.zeros(h, w, dtype=torch.bool)
    mask[rows, cols] = True
    if gray:
        truth = (picture * torch.tensor(_LUMA, dtype=picture.dtype)[:, None, None]).sum(0)
    else:
        truth, mask = torch.cat(list(picture), 1), mask.repeat(1, 3)
    removed = (~mask).nonzero(as_tuple=True)
    problem = CompletionProblem.from_dense(
        truth,
        mask,
        truth=truth,
        heldout=(*removed, truth[removed]) if removed[0].numel() else None,
        name=f"{image} {h}×{w}, {100 * kept:.3g}% kept",
    )
    return problem.to(dtype=dtype, device=device)


def psnr(W: Tensor, truth: Tensor, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio 10 log₁₀(peak² / mean (W − truth)²) in decibel; infinite if W = truth.

    Parameters
    ----------
    W, truth
        Tensors of one shape.
    peak
        Largest possible value, positive.

    Raises
    ------
    TypeError, ValueError
        Shapes differ or are empty, `peak` is not a positive number.

    Examples
    --------
    >>> import torch
    >>> from overt.problems import psnr
    >>> round(psnr(torch.full((2, 2), 0.1), torch.zeros(2, 2)), 6)
    20.0
    """
    if W.shape != truth.shape or truth.numel() == 0:
        raise ValueError(
            f"W and truth must have one non-empty shape, got {tuple(W.shape)}, {tuple(truth.shape)}"
        )
    peak = check_number(peak, "peak", above=0)
    mse = float((W - truth).double().square().mean())
    return math.inf if mse == 0 else 10 * math.log10(peak**2 / mse)


def _load(image: str, size: tuple[int, int] | None) -> Tensor:
    """Channels first, (3, h, w), float64 in [0, 1]."""
    check_choice(image, "image", IMAGES)
    from sklearn.datasets import load_sample_image

    picture = torch.tensor(load_sample_image(image), dtype=torch.float64).permute(2, 0, 1) / 255
    if size is None:
        return picture
    limits = tuple(picture.shape[1:])
    h, w = check_sizes(size, "size", length=2)
    if h > limits[0] or w > limits[1]:
        raise ValueError(f"size must be at most {limits}, the size of the photograph, got {(h, w)}")
    return nnf.adaptive_avg_pool2d(picture, (h, w))
