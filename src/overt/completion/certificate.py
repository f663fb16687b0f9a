"""A local certificate: do the observations determine the completed matrix among its neighbours of the same
rank?

At X = U Σ Vᵀ of rank r the matrices of rank r form a manifold with tangent space {A Vᵀ + U Bᵀ} of dimension
r(m+n−r). The observations determine X locally when no tangent direction vanishes on all of them, that is,
when the measurement map restricted to the tangent space has a trivial null space (Singer & Cucuringu 2010,
*Uniqueness of low-rank matrix completion by rigidity theory*). Eliminating A row by row leaves the reduced
matrix S of :mod:`overt.completion.refit.normal` on B, whose null space always contains the r² directions U M
Vᵀ counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from overt._utils.checks import check_integer, check_number, message, optional
from overt.completion.problem import check_problem
from overt.completion.refit.gauss_newton import jacobian
from overt.completion.refit.normal import ReducedSystem, factor_grams, reduced_matrix, solve_grams
from overt.completion.result import Completion, degrees_of_freedom
from overt.completion.tangent import Entries
from overt.linalg import conjugate_gradients, eigh, singular_values

DENSE_UNKNOWNS = 2000  # up to this min(m, n)·r the null space is computed by a symmetric eigenvalue problem
_NAMED = 8  # rows or columns named in a message
_SHARE = 1e-3  # a row whose entries move this much, relative to the row that moves most, is named


@dataclass(frozen=True)
class Certificate:
    """Whether a completion is locally determined by its data, and what to observe where it is not.

    Parameters
    ----------
    identifiable : bool or None
        ``None``: not decided, see ``message``.
    null_dimension : int or None
        Independent directions along which the completion can move without touching an observation (a lower
        bound where the problem was too large to count them).
    rows, cols : tuple of int
        Rows and columns in which the completion is not determined: observe more of these.
    components : int
        Connected components of the bipartite graph of observations; rows or columns without any entry count.
    smallest : float
        Smallest eigenvalue of the (scaled) tangent map, squared, relative to the largest: how well
        determined the least determined direction is.
    message : str
    """

    identifiable: bool | None
    null_dimension: int | None
    rows: tuple[int, ...]
    cols: tuple[int, ...]
    components: int
    smallest: float
    message: str


def certificate(
    problem: Any, completion: Completion, *, tolerance: float = 1e-11, max_inner: int | None = None
) -> Certificate:
    """Certify that the data determines a completion among all neighbouring matrices of its rank.

    Parameters
    ----------
    problem : CompletionProblem or SensingProblem
    completion : Completion
        The solution; only its singular vectors are used.
    tolerance : float
        Squared singular values of the tangent map at or below ``tolerance`` times the largest count as zero.
    max_inner : int, optional
        Conjugate-gradient iterations at most, for problems too large for a dense eigenvalue problem; by
        default what a few seconds allow, 3e8 / (k r) between 50 and 3000.

    Returns
    -------
    Certificate

    Raises
    ------
    TypeError
        If ``problem`` is neither a completion nor a sensing problem, ``completion`` is no completion, or an
        option is of the wrong kind.
    ValueError
        If the completion and the problem differ in shape, or an option is out of range.

    Examples
    --------
    >>> import torch
    >>> from types import SimpleNamespace
    >>> from overt.completion.certificate import certificate
    >>> from overt.completion.result import Completion
    >>> rows, cols = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 0, 2])
    >>> problem = SimpleNamespace(rows=rows, cols=cols, y=torch.ones(4).double(), shape=(3, 3))
    >>> found = certificate(problem, Completion.from_dense(torch.ones(3, 3).double()))
    >>> found.identifiable, found.null_dimension, found.components
    (False, 1, 2)
    """
    shape = check_problem(problem)
    if not isinstance(completion, Completion):
        raise TypeError(
            message("completion", "a Completion", completion, "for a matrix use Completion.from_dense(W)")
        )
    if completion.shape != shape:
        raise ValueError(f"completion must have the shape {shape} of the problem, got {completion.shape}")
    tolerance = check_number(tolerance, "tolerance", least=0)
    max_inner = optional(check_integer, max_inner, "max_inner", least=1)
    r = completion.rank
    U, V = completion.U.detach(), completion.Vt.detach().mT.contiguous()
    if hasattr(problem, "A"):
        null = sensing_null_space(problem.A.detach().reshape(-1, *shape), U, V, tolerance)
        return _certificate(null, (), (), 1, r)
    entries = Entries(problem.rows.long(), problem.cols.long(), shape, U.dtype)
    components = _components(entries)
    short_rows = _indices(entries.row_counts < r)
    short_cols = _indices(entries.col_counts < r)
    if r == 0:
        return Certificate(True, 0, (), (), components, 1.0, "the zero matrix is determined by its rank")
    if max_inner is None:
        max_inner = min(3000, max(50, 300_000_000 // max(1, entries.k * r)))
    broken = bool(short_rows or short_cols or components > 1)
    small = min(shape) * r <= DENSE_UNKNOWNS
    null = NullSpace(None)
    if not broken:  # cheap where the answer is a clear yes; a no is counted exactly where that is affordable
        null = krylov_null_space(entries, U, V, tolerance, min(max_inner, 100) if small else max_inner)
    if small and null.dimension != 0:
        null = dense_null_space(entries, U, V, tolerance)
    elif broken:
        moves = int((r - entries.row_counts).clamp_min(0).sum() + (r - entries.col_counts).clamp_min(0).sum())
        null = NullSpace(moves or (components - 1) * r * r)
    return _certificate(null, short_rows, short_cols, components, r)


def _certificate(
    null: NullSpace, short_rows: tuple[int, ...], short_cols: tuple[int, ...], components: int, r: int
) -> Certificate:
    rows = tuple(sorted({*short_rows, *null.rows}))
    cols = tuple(sorted({*short_cols, *null.cols}))
    if null.dimension is None:
        message = "not decided: too large to check exactly, and conjugate gradients did not converge"
        return Certificate(None, None, rows, cols, components, null.smallest, message)
    if null.dimension == 0:
        message = f"locally determined: smallest relative eigenvalue {null.smallest:.1e}"
        return Certificate(True, 0, (), (), components, null.smallest, message)
    parts = [f"the observations leave {null.dimension} directions of the rank-{r} completion free"]
    if components > 1:
        parts.append(f"the graph of observations falls into {components} components")
    if short_rows:
        parts.append(f"{len(short_rows)} rows have fewer than {r} entries ({names(short_rows)})")
    if short_cols:
        parts.append(f"{len(short_cols)} columns have fewer than {r} entries ({names(short_cols)})")
    parts.append(f"observe more of rows {names(rows)} and columns {names(cols)}")
    return Certificate(False, null.dimension, rows, cols, components, null.smallest, "; ".join(parts))


def names(indices: Sequence[int]) -> str:
    """``0, 4, 7``, or the first eight and how many there are."""
    if not indices:
        return "(none)"
    shown = ", ".join(str(index) for index in indices[:_NAMED])
    return shown if len(indices) <= _NAMED else f"{shown}, … ({len(indices)} in all)"


def _indices(mask: Tensor) -> tuple[int, ...]:
    return tuple(mask.nonzero()[:, 0].tolist())


def _components(entries: Entries) -> int:
    m, n = entries.shape
    rows, cols = entries.rows.cpu().numpy(), entries.cols.cpu().numpy()
    edges = (np.ones(len(rows), dtype=np.int8), (rows, cols + np.asarray(m, dtype=cols.dtype)))
    graph = scipy.sparse.coo_matrix(edges, shape=(m + n, m + n))
    return int(connected_components(graph, directed=False, return_labels=False))


@dataclass(frozen=True)
class NullSpace:
    """Dimension (``None``: undecided), smallest relative eigenvalue, rows and columns that move."""

    dimension: int | None
    smallest: float = 0.0
    rows: tuple[int, ...] = ()
    cols: tuple[int, ...] = ()


def dense_null_space(entries: Entries, U: Tensor, V: Tensor, tolerance: float) -> NullSpace:
    """Null space by eigenvalues of the reduced matrix on the smaller side."""
    if entries.shape[0] < entries.shape[1]:
        turned = dense_null_space(entries.T, V, U, tolerance)
        return replace(turned, rows=turned.cols, cols=turned.rows)
    n, r = V.shape
    grams = entries.row_grams(V)
    values, vectors = eigh(grams)
    live = values > tolerance * values.max()
    idle = int((~live).sum())  # directions of A that no entry sees
    half = (vectors * torch.where(live, values, 1.0).rsqrt()[:, None, :] * live[:, None, :]).mT
    blocks = entries.col_grams(U)
    S = reduced_matrix(entries, U, V, half, blocks, inverse=True)
    trivial = V @ V.mT * float(blocks.diagonal(dim1=1, dim2=2).mean())
    S.view(n, r, n, r).diagonal(dim1=1, dim2=3).add_(trivial[..., None])
    spectrum, directions = eigh(S)
    free = spectrum <= tolerance * spectrum[0]
    dimension = idle + int(free.sum())
    smallest = 0.0 if idle else max(0.0, float(spectrum[-1] / spectrum[0]))
    if dimension == 0:
        return NullSpace(0, smallest)
    B = directions[:, free].mT.reshape(-1, n, r)
    row_motion, col_motion = _motion(entries, U, V, half, B)
    row_motion = row_motion + (~live).any(1).to(row_motion)
    rows, cols = (_indices(motion > _SHARE * motion.max()) for motion in (row_motion, col_motion))
    return NullSpace(dimension, smallest, rows, cols)


def _motion(entries: Entries, U: Tensor, V: Tensor, half: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Squared norms of the rows and columns of ``A Vᵀ + U Bᵀ`` summed over the null directions B."""
    rows = U.new_zeros(U.shape[0])
    cols = U.new_zeros(V.shape[0])
    for direction in B[:64]:
        right = entries.times(entries.predict(U, direction), V)
        A = -(half.mT @ (half @ right[..., None]))[..., 0]
        total = A @ V.mT + U @ direction.mT
        rows += total.square().sum(1)
        cols += total.square().sum(0)
    return rows, cols


def krylov_null_space(
    entries: Entries, U: Tensor, V: Tensor, tolerance: float, max_inner: int, seed: int = 0
) -> NullSpace:
    """Decide whether the null space is trivial from the Ritz values of preconditioned conjugate gradients.

    A random right-hand side has a component in any null direction, which shows as a Ritz value that falls to
    zero; convergence without one certifies, with probability one, that there is none.
    """
    system = ReducedSystem(
        entries, U, V, factor_grams(entries.row_grams(V)), U.new_zeros(U.shape[1], U.shape[1])
    )
    scale = float(system.blocks.diagonal(dim1=-2, dim2=-1).mean())
    factors = factor_grams(system.blocks)
    generator = torch.Generator().manual_seed(seed)
    found = conjugate_gradients(
        lambda D: system.apply(D) + scale * (V @ (V.mT @ D)),
        torch.randn(V.shape, generator=generator, dtype=torch.float64).to(V),
        precondition=lambda R: solve_grams(factors, R),
        tolerance=1e-10,
        max_iter=max_inner,
        callback=lambda state: state.n_iter % 100 == 0 and state.spread() <= tolerance,
    )
    smallest = 0.0 if found.breakdown else found.spread()
    if smallest <= tolerance:
        return NullSpace(1, smallest)
    return NullSpace(0 if found.converged else None, smallest)


def sensing_null_space(A: Tensor, U: Tensor, V: Tensor, tolerance: float) -> NullSpace:
    """Null space of ``(dU, dV) ↦ ⟨A_i, dU Vᵀ + U dVᵀ⟩`` beyond its r² trivial directions."""
    _, m, n = A.shape
    r = U.shape[1]
    if r == 0:
        return NullSpace(0, 1.0)
    values = singular_values(jacobian(A, U, V)).square()
    degrees = degrees_of_freedom((m, n), r)
    kept = int((values > tolerance * values[0]).sum())
    smallest = float(values[degrees - 1] / values[0]) if degrees <= len(values) else 0.0
    return NullSpace(max(0, degrees - kept), smallest)
