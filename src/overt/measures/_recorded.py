"""What is recorded, by name, and as plain data."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from overt import functional as F
from overt.measures.activations import activation_spectra
from overt.measures.measuring import measure
from overt.measures.spectrum import Spectrum
from overt.measures.views import product_spectra, weight_spectra

__all__ = ["View", "check_step", "numbers_of", "plain", "views_of"]

View = Callable[[nn.Module], Any]

_NAMED = ("measure", "weights", "products", "activations")
_FUNCTIONALS = (
    "effective_rank",
    "normalized_nuclear_norm",
    "stable_rank",
    "nuclear_norm",
    "frobenius_norm",
    "spectral_norm",
)


def views_of(what: Any, inputs: Any, options: Mapping[str, Any]) -> dict[str, View]:
    """Functions of the model by name.

    Parameters
    ----------
    what
        A name, a function of the model, several names, or a mapping from labels to names or functions.
    inputs, options
        Of the measure and the activations.

    Raises
    ------
    TypeError, ValueError
        Unknown names, or names that need inputs without any.
    """
    if isinstance(what, str):
        what = {what: what}
    elif callable(what):
        what = {_label(what, 0): what}
    elif isinstance(what, Sequence):
        what = {_label(item, i): item for i, item in enumerate(what)}
    if not isinstance(what, Mapping) or not what:
        raise TypeError(
            f"what must be one of {', '.join(_NAMED)}, a function of the model, several of these or a "
            f"mapping from labels to them; got {what!r}"
        )
    return {str(label): _view(item, inputs, options) for label, item in what.items()}


def _label(item: Any, i: int) -> str:
    return item if isinstance(item, str) else str(getattr(item, "__name__", f"view{i}"))


def _view(item: Any, inputs: Any, options: Mapping[str, Any]) -> View:
    if callable(item):
        view: View = item
        return view
    if item not in _NAMED:
        raise ValueError(f"what: unknown {item!r}; known are {', '.join(_NAMED)}, or pass a function")
    if item in ("measure", "activations") and inputs is None:
        raise ValueError(f"inputs: {item!r} needs a fixed batch of inputs to be recorded on; give inputs=")
    if item == "measure":
        return lambda model: measure(model, inputs, **options)
    if item == "activations":
        return lambda model: activation_spectra(model, inputs)
    return weight_spectra if item == "weights" else product_spectra


def plain(label: str, value: Any, leading: int) -> dict[str, Any]:
    """What a view returned as JSON-able data, by name.

    A spectrum, or a 1-D tensor, becomes its leading values, their number and the functionals of all of them;
    a number stays one; a mapping is taken apart, its keys joined to the label by a dot.

    Raises
    ------
    TypeError
        It is something else.
    """
    if isinstance(value, Mapping):
        parts: dict[str, Any] = {}
        for key, item in value.items():
            parts.update(plain(f"{label}.{key}" if key != "" else label, item, leading))
        return parts
    if isinstance(value, Spectrum):
        return {label: _summary(value.values, value.stderr, leading)}
    if isinstance(value, Tensor) and value.ndim == 1 and value.numel() > 1:
        return {label: _summary(value.detach(), None, leading)}
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, numbers.Real):
        return {label: finite(float(value))}
    raise TypeError(
        f"what: {label!r} returned {type(value).__name__}; return a Spectrum, a 1-D tensor, a number, or a "
        "mapping of these"
    )


def _summary(values: Tensor, stderr: Tensor | None, leading: int) -> dict[str, Any]:
    s = values.double().abs()
    row: dict[str, Any] = {"values": [finite(v) for v in s[:leading].tolist()], "count": len(s)}
    if stderr is not None:
        row["stderr"] = [finite(v) for v in stderr[:leading].tolist()]
    if bool(torch.isfinite(s).all()):
        for name in _FUNCTIONALS:
            row[name] = finite(float(getattr(F, name)(singular_values=s)))
    return row


def finite(value: float) -> float | None:
    """`value`, or None for NaN and infinities, which JSON does not have."""
    return value if math.isfinite(value) else None


def check_step(step: object) -> int:
    """`step` as an int ≥ 0."""
    if isinstance(step, bool) or not isinstance(step, numbers.Integral) or int(step) < 0:
        raise ValueError(f"step must be an int ≥ 0, got {step!r}")
    return int(step)


def numbers_of(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Numbers and tensors of one element as plain numbers, without those that are None."""
    found: dict[str, float | None] = {}
    for name, value in values.items():
        if value is None:
            continue
        try:
            found[name] = finite(float(value.detach() if isinstance(value, Tensor) else value))
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"{name} must be a number or a tensor of one element, got {value!r}") from None
    return found
