"""Pictures of a spectrum. Matplotlib is imported when one is drawn."""

from __future__ import annotations

import math
from typing import Any

import torch

from overt.measures.spectrum import Spectrum

__all__ = ["draw"]

BAND = 1.96


def draw(spectrum: Spectrum, ax: Any = None, *, label: str | None = None, color: str | None = None) -> Any:
    """Draw the values of a spectrum.

    In the Fourier, DCT and wavelet bases of images as a picture of coefficients, on a logarithmic scale, as
    root mean square over channels, for Fourier with frequency 0 in the middle; otherwise as a curve with a
    95 % band, logarithmic for an eigen-spectrum. Zeros are left out of logarithmic axes.

    Parameters
    ----------
    spectrum : Spectrum
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.
    label, color : str, optional
        Of the curve.

    Returns
    -------
    matplotlib.axes.Axes
    """
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots()[1]
    picture = _picture(spectrum)
    if picture is None:
        _curve(spectrum, ax, label, color)
    else:
        _image(spectrum, picture, ax)
    return ax


def _picture(spectrum: Spectrum) -> torch.Tensor | None:
    """Values as an image (height, width), or None where they are none."""
    shape, dims = spectrum.input_shape, spectrum.dims
    if (
        not isinstance(spectrum.basis, str)
        or spectrum.basis == "eigen"
        or not shape
        or not dims
        or len(dims) != 2
    ):
        return None
    if len(spectrum.values) != math.prod(shape):
        return None
    others = [d for d in range(len(shape)) if d not in dims]
    squares = spectrum.values.double().cpu().square().reshape(shape)
    values = (squares.mean(others) if others else squares).sqrt()
    return torch.fft.fftshift(values) if spectrum.basis == "fourier" else values


def _image(spectrum: Spectrum, picture: torch.Tensor, ax: Any) -> None:
    from matplotlib.colors import LogNorm

    positive = picture[picture > 0]
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 1.0)
    norm = LogNorm(low, high) if high > low else None
    h, w = picture.shape
    fourier = spectrum.basis == "fourier"
    left, top = (-(w // 2) - 0.5, -(h // 2) - 0.5) if fourier else (-0.5, -0.5)
    drawn = ax.imshow(picture.numpy(), norm=norm, cmap="viridis", extent=(left, left + w, top + h, top))
    ax.figure.colorbar(drawn, ax=ax, label="sensitivity")
    kind = "frequency" if fourier else "coefficient"
    ax.set(xlabel=f"horizontal {kind}", ylabel=f"vertical {kind}")


def _curve(spectrum: Spectrum, ax: Any, label: str | None, color: str | None) -> None:
    values = spectrum.values.double().cpu()
    index = torch.arange(len(values))
    eigen = isinstance(spectrum.basis, str) and spectrum.basis == "eigen"
    if eigen:
        index = index + 1
        ax.set_yscale("log")
    shown = values > (values.max() * 1e-15 if eigen else -1.0)
    line = ax.plot(index[shown], values[shown], ".-", lw=1, ms=4, label=label, color=color)[0]
    if spectrum.stderr is not None:
        spread = BAND * spectrum.stderr.double().cpu()
        low = (values - spread).clamp_min(
            float(values[shown].min()) * 0.1 if eigen and bool(shown.any()) else 0.0
        )
        ax.fill_between(
            index[shown], low[shown], (values + spread)[shown], alpha=0.2, color=line.get_color(), lw=0
        )
    name = spectrum.basis if isinstance(spectrum.basis, str) else "given basis"
    ax.set(
        xlabel="order" if eigen else f"coefficient ({name})",
        ylabel="singular value" if eigen else "sensitivity",
    )
    if label is not None:
        ax.legend()
