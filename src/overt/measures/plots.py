"""Pictures of a spectrum. Matplotlib is imported when one is drawn."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from overt.measures.comparison import Measured

_BAND = 1.96


def draw(spectrum: Measured, ax: Any, label: str | None, color: str | None) -> Any:
    """Draw a spectrum and return the axes; see :meth:`overt.Spectrum.plot`."""
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots()[1]
    values, stderr = spectrum.values.double().cpu(), spectrum.stderr
    basis = spectrum.basis if isinstance(spectrum.basis, str) else "given basis"
    shape, dims = spectrum.input_shape, spectrum.dims
    named = isinstance(spectrum.basis, str) and basis != "eigen"
    if named and shape and dims and len(dims) == 2 and len(values) == math.prod(shape):
        others = [d for d in range(len(shape)) if d not in dims]
        squares = values.square().reshape(shape)
        _image((squares.mean(others) if others else squares).sqrt(), ax, fourier=basis == "fourier")
    else:
        _curve(values, None if stderr is None else stderr.double().cpu(), ax, basis, label, color)
    return ax


def _image(picture: Tensor, ax: Any, *, fourier: bool) -> None:
    from matplotlib.colors import LogNorm

    picture = torch.fft.fftshift(picture) if fourier else picture
    positive = picture[picture > 0]
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 1.0)
    norm = LogNorm(low, high) if high > low else None
    h, w = picture.shape
    left, top = (-(w // 2) - 0.5, -(h // 2) - 0.5) if fourier else (-0.5, -0.5)
    drawn = ax.imshow(picture.numpy(), norm=norm, cmap="viridis", extent=(left, left + w, top + h, top))
    ax.figure.colorbar(drawn, ax=ax, label="sensitivity")
    kind = "frequency" if fourier else "coefficient"
    ax.set(xlabel=f"horizontal {kind}", ylabel=f"vertical {kind}")


def _curve(
    values: Tensor, stderr: Tensor | None, ax: Any, basis: str, label: str | None, color: str | None
) -> None:
    index = torch.arange(len(values))
    eigen = basis == "eigen"
    if eigen:
        index = index + 1
        ax.set_yscale("log")
    shown = values > (values.max() * 1e-15 if eigen else -1.0)
    line = ax.plot(index[shown], values[shown], ".-", lw=1, ms=4, label=label, color=color)[0]
    if stderr is not None:
        floor = float(values[shown].min()) * 0.1 if eigen and bool(shown.any()) else 0.0
        low, high = (values - _BAND * stderr).clamp_min(floor), values + _BAND * stderr
        ax.fill_between(index[shown], low[shown], high[shown], alpha=0.2, color=line.get_color(), lw=0)
    ax.set(
        xlabel="order" if eigen else f"coefficient ({basis})",
        ylabel="singular value" if eigen else "sensitivity",
    )
    if label is not None:
        ax.legend()
