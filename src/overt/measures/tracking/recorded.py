"""Views of a model by name, and their results as plain data."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from overt import functional as F
from overt._utils.checks import message
from overt.measures.measuring import measure
from overt.measures.spectrum import Spectrum
from overt.measures.views.activations import activation_spectra
from overt.measures.views.weights import product_spectra, weight_spectra

View = Callable[[nn.Module], Any]

_NAMED: dict[str, Callable[..., Any]] = {
    "measure": measure,
    "weights": weight_spectra,
    "products": product_spectra,
    "activations": activation_spectra,
}
_ON_INPUTS = ("measure", "activations")
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
    what, inputs, options
        As for `SpectrumTracker`.

    Raises
    ------
    TypeError, ValueError
        Unknown names or arguments, one label twice, or missing inputs.
    """
    if isinstance(what, str) or callable(what) or _is_pair(what):
        what = [what]
    if isinstance(what, Sequence):
        labels = [_label(item, i) for i, item in enumerate(what)]
        if len(set(labels)) < len(labels):
            raise ValueError(
                f"what: two of {', '.join(labels)} have one name; give a mapping from labels of your own"
            )
        what = dict(zip(labels, what, strict=True))
    if not isinstance(what, Mapping) or not what:
        known = f"one of {', '.join(_NAMED)}, a function of the model, several of these or a mapping to them"
        raise TypeError(message("what", known, what))
    return {str(label): _view(item, inputs, options) for label, item in what.items()}


def _is_pair(item: Any) -> bool:
    if not isinstance(item, tuple) or len(item) != 2:
        return False
    return isinstance(item[0], str) and isinstance(item[1], Mapping)


def _label(item: Any, i: int) -> str:
    name = item[0] if _is_pair(item) else item
    return name if isinstance(name, str) else str(getattr(name, "__name__", f"view{i}"))


def _view(item: Any, inputs: Any, options: Mapping[str, Any]) -> View:
    if callable(item):
        view: View = item
        return view
    name, own = item if _is_pair(item) else (item, options if item == "measure" else {})
    if not isinstance(name, str) or name not in _NAMED:
        raise ValueError(f"what: unknown {name!r}; known are {', '.join(_NAMED)}, or pass a function")
    given = {"inputs": inputs, **own} if name in _ON_INPUTS else dict(own)
    if given.get("inputs", ()) is None:
        raise ValueError(f"inputs: {name!r} needs a fixed batch of inputs to be recorded on; give inputs=")
    try:
        signature(_NAMED[name]).bind(None, **given)
    except TypeError as error:
        raise TypeError(f"what: {name!r} cannot be recorded with {', '.join(own)}: {error}") from None
    return partial(_NAMED[name], **given)


def fixed_inputs(inputs: Any) -> Any:
    """The inputs of all recordings, tensors copied; TypeError for an iterator, which is used up at once."""
    if isinstance(inputs, Iterator):
        raise TypeError(
            f"inputs: a {type(inputs).__name__} can be gone through only once, and each recording needs "
            "them; give a tensor, a DataLoader, or list(…) of the batches"
        )
    if isinstance(inputs, Mapping):
        return {name: fixed_inputs(held) for name, held in inputs.items()}
    return inputs.detach().clone() if isinstance(inputs, Tensor) else inputs


def plain(label: str, value: Any, leading: int) -> dict[str, Any]:
    """The result of a view as JSON-able data, by name.

    A spectrum, or a 1-D tensor, becomes its leading values, the number of values and functionals of all of
    them; a number becomes a float; the keys of a mapping are joined to the label by a dot.

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
    if isinstance(value, numbers.Real):  # True and False count as 1 and 0
        return {label: _finite(float(value))}
    raise TypeError(
        f"what: {label!r} returned {type(value).__name__}; return a Spectrum, a 1-D tensor, a number, or a "
        "mapping of these"
    )


def _summary(values: Tensor, stderr: Tensor | None, leading: int) -> dict[str, Any]:
    s = values.double().abs()
    row: dict[str, Any] = {"values": [_finite(v) for v in s[:leading].tolist()], "count": len(s)}
    if stderr is not None:
        row["stderr"] = [_finite(v) for v in stderr[:leading].tolist()]
    if bool(torch.isfinite(s).all()):
        for name in _FUNCTIONALS:
            row[name] = _finite(float(getattr(F, name)(singular_values=s)))
    return row


def _finite(value: float) -> float | None:
    """`value`, or None for NaN and infinities, which JSON does not have."""
    return value if math.isfinite(value) else None


def numbers_of(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Numbers and tensors of one element as plain numbers, without None."""
    found: dict[str, float | None] = {}
    for name, value in values.items():
        if value is None:
            continue
        try:
            found[name] = _finite(float(value.detach() if isinstance(value, Tensor) else value))
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(message(name, "a number or a tensor of one element", value)) from None
    return found
