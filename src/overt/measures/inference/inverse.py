"""The inverse question: which functional did a training run minimize, among all solutions that fit?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from overt._utils.checks import check_callable, check_integer, check_number, check_seed, message
from overt._utils.tensors import check_float_tensor, require_finite
from overt.linalg import Factored
from overt.measures.inference import family
from overt.measures.inference.frames import Frame, MatrixFrame, VectorFrame
from overt.measures.inference.inferred import InferredPenalty, Stationarity
from overt.measures.inference.null_space import MeasurementMap
from overt.measures.inference.stationarity import freedom, random_solutions, resampled_best, rest_of, share_of

_NEARLY = 0.1  # a share up to it is nearly stationary where there is nothing to compare it with
_FLAT = 0.8  # smallest over largest non-zero value from which on exponents cannot be told apart
_FAR = 0.5  # a best ratio above it is far from stationary
_SCHATTEN, _RATIO = "schatten_norm", "normalized_schatten_norm"


def infer_penalty(
    W: Tensor | Factored,
    problem: MeasurementMap,
    *,
    exponents: Sequence[float] = family.EXPONENTS,
    pairs: Sequence[tuple[float, float]] = family.RATIOS,
    extra: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    zero: float = 1e-3,
    references: int = 5,
    seed: int = 0,
) -> InferredPenalty:
    r"""Tell for which functional a solution is stationary among all solutions that fit the same data.

    On {X : 𝒜(X) = 𝒜(W)} a function f is stationary at W if a member of its subdifferential lies in the range
    of 𝒜* and so has no part in the null space of 𝒜. Each functional is judged by the share

    .. math:: \min_Z ‖P_\mathrm{null}(G + Z)‖ / ‖G‖,

    with W = U diag(σ) Vᵀ, G = U diag(f′(σ)) Vᵀ, and Z the free part of the subdifferential at the zero
    singular values: UᵀZ = 0, ZV = 0, ‖Z‖₂ ≤ f′(0) (Watson 1992 for norms). For p = 1 this asks for a dual
    certificate. Where f′ grows without bound at zero (p < 1, the effective rank) any Z is allowed, and G is
    projected onto the null space within the tangent space of the matrices of W's rank: W is then compared
    with the solutions of its own rank alone. For p > 1 the bound is f′ at the size that counts as zero. A
    vector is its own spectrum (Z off its support).

    Stationary does not mean smallest, and a functional with the same slopes at W cannot be told apart: with
    a single non-zero value, or all of one size, all Schatten norms are one.

    Parameters
    ----------
    W
        The solution: a matrix (m, n), dense or Factored (it is formed), or a vector (d,).
    problem
        Anything with ``shape``, ``y``, ``measure`` and ``adjoint``, such as the problems of
        ``overt.problems``.
    exponents
        p of the Schatten or ℓ_p family, positive and finite.
    pairs
        (p, q) with p < q for the scale-invariant S_p/S_q.
    extra
        More functionals by name: differentiable functions of the spectrum, a tensor (r,) of positive values,
        with a finite slope at zero.
    zero
        Values up to this share of the largest count as zero. Choose it above the accuracy of the training.
    references
        Every share is compared with its value at this number of random solutions with the same data, the same
        number of non-zeros and a spectrum of the same size.
    seed
        Of the random solutions and of the resamples of the interval.

    Returns
    -------
    InferredPenalty

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, NaN, W = 0, an argument of the wrong kind or out of its range.

    Notes
    -----
    Where the data determine W among the matrices of its rank (``freedom`` 0), every function with an
    unbounded slope at zero is stationary, and no answer is given: ``best`` is None. The interval resamples
    the rows of the residual gradient (the entries for a vector), with a bootstrap of 400 resamples.

    References
    ----------
    Watson, G. A. (1992). Characterization of the subdifferential of some matrix norms. Linear Algebra and its
    Applications 170.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import infer_penalty
    >>> from overt.problems import linear_regression
    >>> problem = linear_regression(20, n_samples=10, seed=0)
    >>> w = torch.linalg.pinv(problem.X) @ problem.y  # the minimum ℓ2 norm
    >>> found = infer_penalty(w, problem)
    >>> found.best.label, found.best.share < 1e-10
    ('schatten_norm(2)', True)
    """
    X, problem = _checked(W, problem)
    exponents = [check_number(p, "exponents", above=0) for p in _each(exponents, "exponents")]
    pairs = [_checked_pair(pair) for pair in _each(pairs, "pairs")]
    extra = {} if extra is None else extra
    if not isinstance(extra, Mapping):
        raise TypeError(message("extra", "a mapping from names to functions", extra))
    for name, function in extra.items():
        check_callable(function, f"extra[{name!r}]")
    zero = check_number(zero, "zero", above=0, below=1)
    references, seed = check_integer(references, "references", least=0), check_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    scale, frame = _frame(X, zero)
    tried = family.members(exponents, pairs, extra, zero=zero, scale=scale)
    free = freedom(problem, frame, generator)
    others = random_solutions(problem, frame, references if free >= 0.5 else 0, generator)
    rests = [rest_of(problem, frame, one, zero) for one in tried]
    chance = [[share_of(rest_of(problem, other, one, zero)) for other in others] for one in tried]
    rows = tuple(_row(one, share_of(r), found) for one, r, found in zip(tried, rests, chance, strict=True))
    size = float(torch.linalg.vector_norm(problem.y))
    residual = float(torch.linalg.vector_norm(problem.measure(X) - problem.y)) / (size if size > 0 else 1.0)
    rank = frame.spectrum.numel()
    notes = _notes_on_data(frame, free, residual, references - len(others) if free >= 0.5 else 0)
    if free < 0.5:
        nearly = [row.p or 0.0 for row in rows if row.name == _SCHATTEN and row.share <= _NEARLY]
        p_high = max(nearly, default=math.nan)
        return InferredPenalty(rows, None, math.nan, 0.0, p_high, (), rank, free, residual, tuple(notes))
    best = min((row for row in rows if not math.isnan(row.ratio)), key=lambda row: row.ratio, default=None)
    flat = bool(frame.spectrum[-1] >= _FLAT * frame.spectrum[0])
    (p, p_low, p_high), frequent = _exponents([] if flat else rows, rests, seed)
    notes += _notes_on_answer(best, exponents, p_low, p_high, flat)
    return InferredPenalty(rows, best, p, p_low, p_high, frequent, rank, free, residual, tuple(notes))


def _row(member: family.Member, share: float, chance: list[float]) -> Stationarity:
    found = sorted(value for value in chance if not math.isnan(value))
    low, high = (found[0], found[-1]) if found else (math.nan, math.nan)
    middle = float(torch.tensor(found or [math.nan], dtype=torch.float64).quantile(0.5))
    return Stationarity(member.name, member.p, member.q, share, middle, low, high)


def _exponents(
    rows: Sequence[Stationarity], rests: Sequence[Any], seed: int
) -> tuple[tuple[float, float, float], tuple[tuple[float, float], ...]]:
    """The best p with its interval, and the pairs (p, q) that are often best."""

    def usable(name: str) -> list[int]:
        return [i for i, row in enumerate(rows) if row.name == name and not math.isnan(row.ratio)]

    def winners(chosen: list[int]) -> list[int]:
        factors = [rows[i].ratio / rows[i].share if rows[i].share > 0 else 1.0 for i in chosen]
        return resampled_best([rests[i] for i in chosen], factors, seed)

    p = (math.nan,) * 3
    chosen = usable(_SCHATTEN)
    if chosen:
        values = torch.tensor([rows[chosen[k]].p for k in winners(chosen)], dtype=torch.float64)
        best = float(min((rows[i] for i in chosen), key=lambda row: row.ratio).p or 0)
        p = (best, min(float(values.quantile(0.025)), best), max(float(values.quantile(0.975)), best))
    chosen = usable(_RATIO)
    found = winners(chosen) if chosen else []
    often = sorted({k for k in found if found.count(k) >= 0.05 * len(found)}, key=lambda k: -found.count(k))
    return p, tuple((float(rows[chosen[k]].p or 0), float(rows[chosen[k]].q or 0)) for k in often)


def _notes_on_data(frame: Frame, free: float, residual: float, failed: int) -> list[str]:
    notes = []
    if free < 0.5 and frame.full:
        notes.append(
            "the measurements have no null space: W is the only solution, every functional is stationary"
        )
    elif free < 0.5:
        notes.append(
            f"the data determine W among the matrices of rank {frame.spectrum.numel()} (vectors: of its "
            "support): every functional whose slope is unbounded at zero is stationary, so none can be "
            "named; a small share of another says that it, too, has its minimum here"
        )
    elif free < 0.02 * frame.dim:
        notes.append(f"only {free:.0f} of {frame.dim} directions are free: small shares mean little")
    if residual > 1e-2:
        notes.append(
            f"W misses the data by {residual:.1%}: train on, or read the answer as one about the data of W"
        )
    if failed:
        notes.append(
            f"{failed} random solutions of this rank were not found; the reference rests on the others"
        )
    return notes


def _notes_on_answer(
    best: Stationarity | None, exponents: Sequence[float], low: float, high: float, flat: bool
) -> list[str]:
    notes = []
    if best is None or best.ratio > _FAR:
        left = (
            "" if best is None else f": the best, {best.label}, is at {best.ratio:.2f} of what chance gives"
        )
        notes.append(f"W is not nearly stationary for any functional tried{left}")
    if flat:
        notes.append("p is not identified: the non-zero values are nearly equal, so all exponents are one")
    elif len(exponents) > 2 and high - low > 0.5 * (max(exponents) - min(exponents)):
        notes.append(f"p is not identified: its interval is {low:.2g} to {high:.2g}")
    return notes


def _checked(W: object, problem: Any) -> tuple[Tensor, MeasurementMap]:
    """W dense and the problem, both in double precision."""
    missing = [name for name in ("shape", "y", "measure", "adjoint") if not hasattr(problem, name)]
    if missing:
        expected = f"a problem of overt.problems, with {', '.join(missing)}"
        raise TypeError(message("problem", expected, problem))
    W = check_float_tensor(W.dense() if isinstance(W, Factored) else W, "W").detach().double()
    if W.ndim not in (1, 2) or tuple(W.shape) != tuple(problem.shape):
        raise ValueError(f"W must have the problem's shape {tuple(problem.shape)}, got {tuple(W.shape)}")
    require_finite(W, "W")
    if not bool(W.any()):
        raise ValueError("W is zero: it has no spectrum to judge by")
    if problem.y.dtype != torch.float64:
        problem = problem.to(dtype=torch.float64)
    return W, problem


def _each(values: Any, name: str) -> list[Any]:
    if not isinstance(values, Iterable):
        raise TypeError(message(name, "a sequence", values))
    return list(values)


def _checked_pair(pair: Any) -> tuple[float, float]:
    exponents = [check_number(exponent, "pairs", above=0) for exponent in _each(pair, "each of pairs")]
    if len(exponents) != 2 or exponents[0] >= exponents[1]:
        raise ValueError(f"pairs must hold (p, q) with p < q, got {pair}")
    return exponents[0], exponents[1]


def _frame(W: Tensor, zero: float) -> tuple[float, Frame]:
    """The largest value of the spectrum, and the frame of W divided by it."""
    if W.ndim == 1:
        scale = float(W.abs().max())
        return scale, VectorFrame.of(W / scale, zero)
    frame = MatrixFrame.of(W, zero)
    scale = float(frame.spectrum[0])
    return scale, MatrixFrame(frame.U, frame.spectrum / scale, frame.V)
