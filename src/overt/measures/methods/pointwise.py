"""Singular values of the Jacobian of each input."""

from __future__ import annotations

import torch
from torch import Tensor

from overt._utils.tensors import compute_dtype
from overt.linalg import singular_values
from overt.networks.passes import Passes, jacobians

MOST_WORK = 1e14
"""Multiplications of the decompositions that are begun; about an hour on a few cores."""


def pointwise_values(passes: Passes, memory_budget: int) -> Tensor:
    """Spectra in rows, shape (n, min(K, D)), of inputs that the passes hold.

    Raises
    ------
    ValueError
        One Jacobian with the copies that its decomposition makes is beyond the memory budget, or all of them
        would take more than `MOST_WORK` multiplications.
    """
    outputs, size = passes.outputs, passes.input_size
    shape = f"the Jacobian of one input is {outputs}×{size}"
    taken = 4 * outputs * size * max(4, passes.dtype.itemsize)
    if taken > memory_budget:
        raise ValueError(
            f"memory_budget: {shape} and takes {taken:,} bytes with the copies of its decomposition, got "
            f"{memory_budget:,}; give more, or fewer outputs (outputs=, layer=)"
        )
    work = float(min(outputs, size) ** 2 * max(outputs, size))
    if work * passes.count > MOST_WORK:
        most = int(MOST_WORK // work)
        remedy = f"max_samples={most} fits" if most else "even one input does not fit: choose fewer outputs"
        raise ValueError(
            f"pointwise: {shape}, and {passes.count} decompositions take {work * passes.count:.1g} "
            f"multiplications, more than {MOST_WORK:.0g}; {remedy}"
        )
    dtype = compute_dtype(passes.dtype)
    return torch.cat([singular_values(J.to(dtype)) for J in jacobians(passes)])
