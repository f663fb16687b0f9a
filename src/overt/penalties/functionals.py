"""What a spectral penalty is a function of: a name of ``overt.functional``, or a callable."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from overt import _rules
from overt import functional as F
from overt._utils.checks import message

SCALE_INVARIANT = frozenset(
    {
        "normalized_nuclear_norm",
        "normalized_schatten_norm",
        "effective_rank",
        "stable_rank",
        "participation_ratio",
    }
)

# What is made of ⟨D, W⟩: itself, over ‖W‖_F, or the square of that.
Form = Literal["linear", "ratio", "square"]

_POLAR_FORMS: dict[str, Form] = {
    "nuclear_norm": "linear",
    "normalized_nuclear_norm": "ratio",
    "participation_ratio": "square",
}


@dataclass(frozen=True)
class Functional:
    """A function of one matrix, and what is known about it.

    Attributes
    ----------
    name : str
        To print and store.
    of_matrix : callable
        From matrices (..., m, n), or one matrix for a user's callable, to values.
    polar_form : Form or None
        How value and gradient follow from the polar factor alone, where they do: with ν = ⟨W, U Vᵀ⟩, ν is
        the nuclear norm, ν/‖W‖_F the normalized one, its square the participation ratio.
    rule : callable or None
        Values and slopes of a spectrum, see ``overt._rules``; None for a callable.
    degree : int or None
        Of homogeneity.
    """

    name: str
    of_matrix: Callable[[Any], Tensor]
    polar_form: Form | None = None
    rule: _rules.Rule | None = None
    degree: int | None = None

    @property
    def named(self) -> bool:
        """Whether this is a function of ``overt.functional``, which takes batches and factored matrices."""
        return self.rule is not None

    @property
    def tangent_form(self) -> Form:
        """The form of its tangents, whatever decomposition they come from."""
        return self.polar_form or ("ratio" if self.degree == 0 else "linear")


def resolve(functional: str | Callable[[Tensor], Tensor], options: Mapping[str, Any]) -> Functional:
    """The functional that a name and its options, or a callable, stand for.

    Raises
    ------
    TypeError, ValueError
        Neither a name nor a callable, an unknown name, or options that do not fit.
    """
    if callable(functional):
        if options:
            raise ValueError(
                "options are for a functional given by name; bind them into the callable instead"
            )
        return Functional(_name_of(functional), functional)
    if not isinstance(functional, str):
        raise TypeError(message("functional", "a name or a callable", functional))
    known = sorted(name for name in F.__all__ if name != "singular_values")
    if functional not in known:
        raise ValueError(message("functional", f"a callable or one of {', '.join(known)}", functional))
    function = getattr(F, functional)
    try:
        inspect.signature(function).bind(None, **options)
    except TypeError as error:
        raise ValueError(
            f"options {dict(options)} do not fit {functional!r} ({error}); it takes: "
            f"{', '.join(options_of(function)) or 'none'}"
        ) from None
    _evaluate_once(functional, function, options)
    rule, degree = _rule_of(functional, options)
    of_matrix = partial(function, **options) if options else function
    return Functional(functional, of_matrix, _polar_form_of(functional, options), rule, degree)


def options_of(function: Callable[..., Any]) -> list[str]:
    """Names of the further arguments of a functional."""
    return [name for name in inspect.signature(function).parameters if name not in {"W", "singular_values"}]


def _evaluate_once(name: str, function: Callable[..., Tensor], options: Mapping[str, Any]) -> None:
    """So that what is wrong with the options is said here and not in training."""
    try:
        function(torch.eye(2, dtype=torch.float64), **options)
    except (TypeError, ValueError) as error:
        needed = ", ".join(f"{option!r}: …" for option in options_of(function))
        raise ValueError(
            f"functional {name!r} cannot be evaluated with options={dict(options)} ({error})"
            + (f"; give options={{{needed}}}" if needed else "")
        ) from None


def _polar_form_of(name: str, options: Mapping[str, Any]) -> Form | None:
    if name == "schatten_norm" and options.get("p") == 1:
        return "linear"
    if name == "normalized_schatten_norm" and (options.get("p"), options.get("q")) == (1, 2):
        return "ratio"
    return _POLAR_FORMS.get(name)


def _rule_of(name: str, options: Mapping[str, Any]) -> tuple[_rules.Rule, int | None]:
    if name == "schatten_norm":
        return _rules.schatten(float(options["p"])), 1
    if name == "normalized_schatten_norm":
        return _rules.schatten_ratio(float(options["p"]), float(options["q"])), 0
    if name == "log_det":
        return _rules.log_det(math.sqrt(float(options["eps"]))), None
    return {
        "nuclear_norm": (_rules.nuclear, 1),
        "frobenius_norm": (_rules.frobenius, 1),
        "spectral_norm": (_rules.spectral, 1),
        "normalized_nuclear_norm": (_rules.normalized_nuclear, 0),
        "effective_rank": (_rules.effective_rank, 0),
        "stable_rank": (_rules.stable_rank, 0),
        "participation_ratio": (_rules.participation_ratio, 0),
    }[name]


def _name_of(function: Callable[..., Any]) -> str:
    return (
        f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__name__)}"
    )
