"""A functional of singular values as a penalty."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from overt.penalties.base import Penalty, check_norm_cap
from overt.penalties.end_to_end import end_to_end, product_of

__all__ = ["SCALE_INVARIANT", "SpectralPenalty"]

Of = Literal["weights", "product"]

SCALE_INVARIANT = frozenset(
    {
        "normalized_nuclear_norm",
        "normalized_schatten_norm",
        "effective_rank",
        "stable_rank",
        "participation_ratio",
    }
)


class SpectralPenalty(Penalty):
    """weight × Σ f(W) over a model's matrices, f a functional of the singular values.

    Parameters
    ----------
    model
        Whose parameters are penalized. It is held but not registered as a submodule.
    functional
        Name of a function of ``overt.functional``, or any callable from a matrix (m, n) to a scalar tensor.
        The default is ‖W‖_*/‖W‖_F (Zhao 2022, "Combining explicit and implicit regularization for efficient
        learning in deep networks").
    of
        ``"weights"``: every parameter with at least two dimensions, each on its own; convolution kernels
        (out, in, …) as matrices (out, in·…), biases and other vectors not at all. ``"product"``: the
        end-to-end matrix of ``model.product()``, or of an ``nn.Sequential`` of ``nn.Linear``.
    weight
        Finite number ≥ 0. May be changed at any time by ``penalty.weight = …``.
    norm_cap
        Guard for scale-invariant functionals; None for no guard. Such a functional rewards a matrix that
        grows one huge entry where no data contradict it: everything else becomes negligible beside the spike
        and the matrix is "nearly of rank one". With a cap c, f(W) is multiplied by max(1, ‖W‖_F / c): below
        the cap nothing changes, above it the Frobenius norm in the denominator saturates, as in ‖W‖_* /
        min(‖W‖_F, c), so that growth costs again.
    options
        Further arguments of a named functional, such as ``{"p": 0.5}`` for ``"schatten_norm"``.

    Raises
    ------
    TypeError, ValueError
        An unknown functional (the message lists the known ones), options that are missing, bad or that it
        does not take, a callable that gives no 0-d tensor, a model without any matrix or with parameters that
        are not initialized yet, no end-to-end matrix for ``of="product"``, a bad weight or cap, a cap for a
        functional that is not scale-invariant.

    Examples
    --------
    >>> import torch
    >>> from overt.penalties import SpectralPenalty
    >>> model = torch.nn.Sequential(torch.nn.Linear(20, 20), torch.nn.ReLU(), torch.nn.Linear(20, 1))
    >>> penalty = SpectralPenalty(model, "normalized_nuclear_norm", of="weights", weight=1e-2)
    >>> x, y = torch.randn(8, 20), torch.randn(8, 1)
    >>> loss = torch.nn.functional.mse_loss(model(x), y) + penalty.penalty()
    >>> loss.backward()
    """

    def __init__(
        self,
        model: nn.Module,
        functional: str | Callable[[Tensor], Tensor] = "normalized_nuclear_norm",
        of: Of = "weights",
        weight: float = 1e-2,
        *,
        norm_cap: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(model, weight)
        if of not in get_args(Of):
            raise ValueError(f"of must be 'weights' or 'product', got {of!r}")
        self.of: Of = of
        self.functional = functional
        self.options = dict(options or {})
        self._function = _resolve(functional, self.options)
        self._norm_cap = check_norm_cap(norm_cap)
        if norm_cap is not None and isinstance(functional, str) and functional not in SCALE_INVARIANT:
            raise ValueError(
                f"norm_cap is for scale-invariant functionals ({', '.join(sorted(SCALE_INVARIANT))}); "
                f"{functional!r} grows with the matrix by itself, leave norm_cap out"
            )
        if of == "product":
            product_of(model)  # refuses a model without an end-to-end map
        self._check_model()

    @property
    def norm_cap(self) -> float | None:
        """The cap on the Frobenius norm, or None; may be set at any time."""
        return self._norm_cap

    @norm_cap.setter
    def norm_cap(self, value: float | None) -> None:
        self._norm_cap = check_norm_cap(value)

    def matrices(self, product: Tensor | None = None) -> list[Tensor]:
        """The matrices that are penalized, each of shape (m, n), attached to the parameters' graph."""
        if self.of == "product":
            return [end_to_end(self.model) if product is None else product]
        return [p if p.ndim == 2 else p.flatten(1) for p in self.model.parameters() if p.ndim >= 2]

    def value(self, product: Tensor | None = None) -> Tensor:
        """Σ f(W) without the weight, a 0-d tensor. `product` is used with ``of="product"`` only."""
        terms = [self._term(W) for W in self.matrices(product)]
        return terms[0] if len(terms) == 1 else torch.stack(terms).sum()

    def describe(self) -> dict[str, Any]:
        """The settings as plain data."""
        name = self.functional if isinstance(self.functional, str) else _name_of(self.functional)
        return {
            **super().describe(),
            "functional": name,
            "of": self.of,
            "norm_cap": self.norm_cap,
            "options": {key: repr(value) for key, value in sorted(self.options.items())},
        }

    def _term(self, W: Tensor) -> Tensor:
        value = self._function(W)
        if self._norm_cap is None:
            return value
        growth: Tensor = torch.linalg.vector_norm(W) / self._norm_cap
        return value * growth.clamp_min(1.0)

    def _check_model(self) -> None:
        with torch.no_grad():
            matrices = self.matrices()
        if not matrices:
            raise ValueError(
                f"{type(self.model).__name__} has no parameter with two or more dimensions to penalize"
            )
        if self.of == "product" and matrices[0].ndim != 2:
            shape = tuple(matrices[0].shape)
            raise ValueError(f"model.product() has shape {shape}, not (m, n); use VectorPenalty for a vector")
        self._check_function(matrices[0])

    def _check_function(self, W: Tensor) -> None:
        """Evaluate the functional once, so that what is wrong with it is said here and not in training."""
        if isinstance(self.functional, str):
            try:
                self._function(torch.eye(2, dtype=W.dtype))
            except (TypeError, ValueError) as error:
                needed = ", ".join(f"{name!r}: …" for name in _options_of(self._function))
                raise ValueError(
                    f"functional {self.functional!r} cannot be evaluated with options={self.options} "
                    f"({error})" + (f"; give options={{{needed}}}" if needed else "")
                ) from None
            return
        with torch.no_grad():
            value: object = self._function(W.detach())
        if not isinstance(value, Tensor) or value.ndim != 0:
            shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
            raise TypeError(
                "functional must return a 0-d tensor for a matrix (m, n), but it returned a "
                f"{type(value).__name__}{shape}"
            )


def _resolve(
    functional: str | Callable[[Tensor], Tensor], options: dict[str, Any]
) -> Callable[[Tensor], Tensor]:
    """The function of one matrix that a name and its options stand for."""
    if callable(functional):
        if options:
            raise ValueError(
                "options are for a functional given by name; bind them into the callable instead"
            )
        return functional
    if not isinstance(functional, str):
        raise TypeError(f"functional must be a name or a callable, got {type(functional).__name__}")
    from overt import functional as library  # here, for the list of names is that module's alone

    known = sorted(set(library.__all__) - {"singular_values"})
    if functional not in known:
        raise ValueError(f"unknown functional {functional!r}; known: {', '.join(known)}, or pass a callable")
    function: Callable[..., Tensor] = getattr(library, functional)
    try:
        inspect.signature(function).bind(None, **options)
    except TypeError as error:
        raise ValueError(
            f"options {options} do not fit {functional!r} ({error}); it takes: "
            f"{', '.join(_options_of(function)) or 'none'}"
        ) from None
    return partial(function, **options) if options else function


def _options_of(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in {"W", "singular_values"}]


def _name_of(function: Callable[..., Any]) -> str:
    return (
        f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__name__)}"
    )
