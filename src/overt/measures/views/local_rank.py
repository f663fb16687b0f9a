"""The rank of the Jacobian at each point."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from overt._utils.checks import check_number, optional
from overt.linalg import singular_values
from overt.networks.batches import Inputs
from overt.networks.modules import Forward, Model
from overt.networks.passes import jacobians, pointwise_passes
from overt.networks.target import OutputMap
from overt.networks.weights import weights_of


@dataclass(frozen=True, eq=False)
class LocalRanks:
    """Ranks of the Jacobians J(x_i) of a model at N points.

    Attributes
    ----------
    ranks : Tensor, shape (N,)
        Number of singular values above ``rtol``·σ₁ at each point; 0 where J is zero.
    values : Tensor, shape (N, k)
        The singular values, descending.
    rtol : float
        The relative tolerance used.
    margins : Tensor, shape (N,)
        Smallest singular value that counts over the largest that does not; infinite if none is left out or
        those left out are exactly 0. If it is large, the rank does not depend on the tolerance.
    """

    ranks: Tensor
    values: Tensor
    rtol: float
    margins: Tensor

    @property
    def mean(self) -> float:
        """Mean rank over the points."""
        return float(self.ranks.double().mean())

    @property
    def std(self) -> float:
        """Standard deviation of the rank over the points: 0 for a linear map."""
        return float(self.ranks.double().std(correction=0))

    @property
    def counts(self) -> dict[int, int]:
        """Number of points of each rank, by rank."""
        return dict(sorted(Counter(self.ranks.tolist()).items()))

    def __repr__(self) -> str:
        spread = f"mean={self.mean:.4g}, std={self.std:.4g}, counts={self.counts}"
        return f"LocalRanks({spread}, rtol={self.rtol:.3g})"


def local_ranks(
    model: Model,
    inputs: Inputs,
    *,
    rtol: float | None = None,
    outputs: OutputMap = "logits",
    layer: str | None = None,
    forward: Forward | None = None,
    memory_budget: int = 2**30,
) -> LocalRanks:
    """Rank of the model's input–output Jacobian at each point, and its spread over the data.

    By the implicit function theorem, the rank at x is the number of directions in which the output can move.
    For a piecewise linear network it is the rank of the linear piece at x.

    **Tolerance.** A singular value counts if it is above rtol·σ₁. The default rtol is L·max(m, n)·eps for an
    (m, n) Jacobian, eps the rounding unit of the dtype and L the number of the model's weights: a
    decomposition resolves max(m, n)·eps·σ₁, and the Jacobian is itself a product of some L matrices, each
    rounded once. This is the rank in floating point. A larger rtol, such as 1e-3, asks for the rank at that
    resolution. ``margins`` says whether the answer depends on the choice; in single precision small margins
    are common, and a model and data in double precision settle the question.

    Parameters
    ----------
    model, inputs, outputs, layer, forward
        As for `overt.measure`. K backward passes for K outputs.
    rtol
        Relative tolerance, in [0, 1).
    memory_budget
        Bytes for one pass: for the graph and the Jacobians of a chunk of points.

    Raises
    ------
    TypeError, ValueError
        As for `overt.measure`; a bad `rtol`.

    References
    ----------
    Feng, R., Zheng, K., Huang, Y., Zhao, D., Jordan, M., Zha, Z.-J. (2022). Rank diminishing in deep neural
    networks. NeurIPS.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import local_ranks
    >>> model = torch.nn.Sequential(torch.nn.Linear(5, 2), torch.nn.Linear(2, 4)).double()
    >>> local_ranks(model, torch.randn(3, 5, dtype=torch.float64)).counts
    {2: 3}
    """
    rtol = optional(check_number, rtol, "rtol", least=0, below=1)
    with pointwise_passes(model, inputs, outputs, layer, forward, memory_budget) as passes:
        shape = (passes.outputs, passes.input_size)
        values = torch.cat([singular_values(J) for J in jacobians(passes)])
    depth = len(weights_of(model)) if isinstance(model, nn.Module) else 1
    tolerance = max(1, depth) * max(shape) * torch.finfo(values.dtype).eps if rtol is None else rtol
    counted = values > tolerance * values[:, :1]
    ranks = counted.sum(1)
    kept = values.masked_fill(~counted, torch.inf).amin(1)
    dropped = values.masked_fill(counted, 0).amax(1)
    margins = torch.where(dropped > 0, kept / dropped, torch.inf)
    return LocalRanks(ranks, values, tolerance, margins)
