"""What all problems share: their checks, loss, error and conversion."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional as nnf

from overt._utils.checks import check_integer, check_number, check_sizes, message, optional
from overt._utils.tensors import check_dtype, check_float_tensor, check_same_kind, require_finite
from overt.linalg import Factored

_Problem = TypeVar("_Problem", bound="Problem")
_Iterate = TypeVar("_Iterate", bound="Tensor | Factored")


class Problem(ABC):
    """A linear inverse problem: find W from y = 𝒜(W) (+ noise).

    A subclass is a dataclass with the fields `y` and `shape` (optionally `truth` and `name`) and the methods
    `measure` and `adjoint`.

    Attributes
    ----------
    y : Tensor
        Observations (k,). Their dtype and device are the problem's.
    shape : tuple of int
        Of the unknown W.
    truth : Tensor or None
        W, if it is known.
    name : str
        For tables and reports.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import torch
    >>> from overt.problems import Problem
    >>> @dataclass(frozen=True, eq=False, repr=False)
    ... class Sums(Problem):
    ...     y: torch.Tensor
    ...     shape: tuple[int, int]
    ...     def measure(self, W):
    ...         return W.sum(1)
    ...     def adjoint(self, z):
    ...         return z[:, None].expand(self.shape)
    >>> problem = Sums(torch.tensor([1.0, 2.0]), (2, 3))
    >>> float(problem.loss(torch.zeros(2, 3)))
    2.5
    """

    y: Tensor
    shape: tuple[int, ...]
    truth: Tensor | None = None
    name: str = "problem"

    def __post_init__(self) -> None:
        """Check `y`, `shape`, `truth`, and what else a problem may know of its truth."""
        set_field(self, "shape", check_sizes(self.shape, "shape", shortest=1))
        check_values(self.y, "y", ("k",))
        if self.y.numel() == 0:
            raise ValueError("y: no entry is observed; give at least one observation")
        if self.truth is not None:
            check_values(self.truth, "truth", self.shape, like=self.y)
        for name in ("true_rank", "n_nonzero"):
            optional(check_integer, getattr(self, name, None), name, least=0)
        optional(check_number, getattr(self, "noise_std", None), "noise_std", least=0)

    @property
    def n_observed(self) -> int:
        """Number k of observations."""
        return self.y.numel()

    @property
    def dtype(self) -> torch.dtype:
        """Of all real tensors of the problem."""
        return self.y.dtype

    @property
    def device(self) -> torch.device:
        """Of all tensors of the problem."""
        return self.y.device

    @abstractmethod
    def measure(self, W: Tensor) -> Tensor:
        """𝒜(W), shape (k,); linear and differentiable in W."""

    @abstractmethod
    def adjoint(self, z: Tensor) -> Tensor:
        """𝒜*(z) of the unknown's shape: ⟨𝒜(W), z⟩ = ⟨W, 𝒜*(z)⟩ for all W and z."""

    def loss(self, W: Tensor) -> Tensor:
        """Mean squared residual ‖𝒜(W) − y‖² / k, a 0-d tensor."""
        return nnf.mse_loss(self.measure(W), self.y)

    def error(self, W: Tensor) -> float:
        """‖W − W*‖ / ‖W*‖, NaN if the truth is unknown; the denominator is 1 for a truth of zero."""
        check_iterate(W, self.shape, self.y)
        if self.truth is None:
            return math.nan
        with torch.no_grad():
            return relative_error(float(torch.linalg.vector_norm(W - self.truth)), self._truth_norm)

    def to(
        self: _Problem, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> _Problem:
        """The same problem in another precision or on another device."""
        check_dtype(dtype)

        def moved(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(moved, value))
            if isinstance(value, Factored):
                return value.to(dtype=dtype, device=device)
            if isinstance(value, Tensor):
                return value.to(dtype=dtype if value.is_floating_point() else None, device=device)
            return value

        problem = cast(Any, self)
        given = {field.name: getattr(self, field.name) for field in fields(problem) if field.init}
        return cast(_Problem, replace(problem, **{name: moved(value) for name, value in given.items()}))

    def __repr__(self) -> str:
        size = "×".join(map(str, self.shape))
        where = f"{self.n_observed} observed, {self.dtype}, {self.device}"
        return f"{type(self).__name__}({self.name!r}, {size}, {where})"

    @cached_property
    def _truth_norm(self) -> float:
        return 0.0 if self.truth is None else float(torch.linalg.vector_norm(self.truth))


class MatrixProblem(Problem):
    """A problem whose unknown is an m×n matrix."""

    shape: tuple[int, int]

    def __post_init__(self) -> None:
        set_field(self, "shape", check_sizes(self.shape, "shape", length=2))
        super().__post_init__()

    def oversampling(self, rank: int) -> float:
        """ρ = k / (r (m + n − r)): observations over degrees of freedom of a rank-r matrix."""
        m, n = self.shape
        rank = check_integer(rank, "rank", least=1, most=min(m, n))
        return self.n_observed / (rank * (m + n - rank))


class EntriesProblem(Problem):
    """A problem whose observations are entries of the unknown."""

    @abstractmethod
    def places(self) -> Sequence[Tensor]:
        """Where the entries are: for each dimension of the unknown an index vector (k,)."""

    @cached_property
    def flat(self) -> Tensor:
        """Positions (k,) in the unknown read row by row."""
        position, *others = self.places()
        for index, size in zip(others, self.shape[1:], strict=True):
            position = position * size + index
        return position

    @cached_property
    def max_abs_observed(self) -> float:
        """Largest absolute observed value."""
        return float(self.y.abs().max())

    def measure(self, W: Tensor) -> Tensor:
        """Entries of W at the observed places, shape (k,)."""
        # index_select, not W[rows, cols]: its backward is two to ten times faster.
        return check_iterate(W, self.shape, self.y).reshape(-1).index_select(0, self.flat)

    def adjoint(self, z: Tensor) -> Tensor:
        """z (k,) at the observed places and zero elsewhere, of the unknown's shape."""
        check_iterate(z, self.y.shape, self.y, name="z")
        return z.new_zeros(math.prod(self.shape)).index_put((self.flat,), z).view(self.shape)

    def _refuse_repeats(self) -> None:
        flat = self.flat
        if bool((flat[1:] > flat[:-1]).all()):
            return  # already sorted: no need for a sort of millions of entries
        ordered = flat.sort().values
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if twice.numel():
            first = tuple(map(int, torch.unravel_index(twice[0], self.shape)))
            raise ValueError(
                f"{twice.numel()} observation(s) repeat an entry, the first is {first}; "
                "average or drop the repeats"
            )


def set_field(problem: Problem, name: str, value: object) -> None:
    """Set a field of a frozen problem, from its ``__post_init__``."""
    object.__setattr__(problem, name, value)


def check_values(
    values: object, name: str, shape: Sequence[int | str], *, like: Tensor | None = None
) -> Tensor:
    """`values` as a finite real tensor of the given shape, dtype and device.

    In `shape` a word stands for any size; `like`, the observations, gives the dtype and device.
    """
    values = check_float_tensor(values, name)
    sizes = zip(shape, values.shape, strict=False)
    if values.ndim != len(shape) or any(isinstance(n, int) and n != found for n, found in sizes):
        text = "(" + ", ".join(map(str, shape)) + (",)" if len(shape) == 1 else ")")
        raise ValueError(f"{name} must have shape {text}, got {tuple(values.shape)}")
    if like is not None:
        check_same_kind(values, name, like, "the observations")
    require_finite(values, name, remedy="leave unobserved entries out")
    return values


def check_iterate(
    W: _Iterate, shape: tuple[int, ...], like: Tensor, *, name: str = "W", factored: bool = False
) -> _Iterate:
    """`W` if its kind, shape and dtype fit the problem; costs about a microsecond."""
    if not isinstance(W, Tensor) and not (factored and isinstance(W, Factored)):
        raise TypeError(message(name, "a torch.Tensor" + factored * " or overt.Factored", W))
    if W.shape != shape:
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(W.shape)}")
    if W.dtype != like.dtype:
        raise TypeError(
            f"{name} must have the problem's dtype, {like.dtype}, got {W.dtype}; "
            f"use problem.to(dtype={W.dtype}) or cast {name}"
        )
    return W


def relative_error(difference: float, reference: float) -> float:
    """difference / reference, and the difference itself where the reference is zero."""
    return difference / reference if reference > 0 else difference


def rms(values: Tensor) -> float:
    """Root mean square."""
    return float(torch.linalg.vector_norm(values)) / math.sqrt(values.numel())
