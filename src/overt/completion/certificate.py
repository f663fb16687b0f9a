"""A local certificate: do the observations determine the completed matrix among its neighbours of the same
rank?

At X = U Σ Vᵀ of rank r the matrices of rank r form a manifold with tangent space {A Vᵀ + U Bᵀ} of dimension
r(m+n−r). The observations determine X locally when no tangent direction vanishes on all of them, that is,
when the measurement map restricted to the tangent space has a trivial null space (Singer & Cucuringu 2010,
*Uniqueness of low-rank matrix completion by rigidity theory*); see :mod:`overt.completion.null_space`. Where
it has not, the entries that move are covered by rows and columns, with few others among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from overt._utils.checks import check_integer, check_number, message, optional
from overt.completion.null_space import NullSpace, null_space, sensing_null_space
from overt.completion.problem import check_problem
from overt.completion.result import Completion
from overt.completion.tangent import Entries

_NAMED = 8  # rows or columns named in a message


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
        Rows and columns that hold all entries which are not determined, and few others: observe more of
        these. All other entries are determined.
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
    null = null_space(entries, U, V, tolerance, max_inner)
    return _certificate(null, short_rows, short_cols, components, r)


def _certificate(
    null: NullSpace, short_rows: tuple[int, ...], short_cols: tuple[int, ...], components: int, r: int
) -> Certificate:
    rows, cols = null.rows, null.cols
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
