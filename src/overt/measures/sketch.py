"""diag(U M U*) in a fixed basis from random vector–Jacobian products: unbiased, with standard errors."""

from __future__ import annotations

from typing import Any, Literal

import torch

from overt.linalg import Basis
from overt.measures.moments import Moments, values_with_errors
from overt.networks.jacobian import require_finite_rows
from overt.networks.passes import Passes, wide_dtype
from overt.networks.probing import Probing

__all__ = ["Covered", "sketch_diagonal"]

Covered = Literal["data", "probes"]


def sketch_diagonal(passes: Passes, basis: Basis, probing: Probing, errors_over: Covered) -> dict[str, Any]:
    """√diag(U M U*) with its standard errors.

    For each input the mean of |U v|² over its draws is an unbiased estimate of diag(U JᵀJ U*). These
    estimates are independent from input to input, so their spread contains that of the data and that of the
    probes; the spread among the draws of one input is that of the probes alone.
    """
    over_inputs = Moments()
    probe_variance = torch.zeros((), dtype=wide_dtype(passes.device), device=passes.device)
    for x, y in passes:
        within = Moments()
        for v in probing.draws(x, y):
            within.add(basis.power(v).to(wide_dtype(x.device))[None])
        require_finite_rows(within.mean)
        over_inputs.add(within.mean * (probing.count * probing.weight))
        variance = within.variance_of_mean()
        probe_variance = probe_variance + (torch.nan if variance is None else variance.sum(0))
    n = over_inputs.count
    covers = covered(n, probing, errors_over)
    variance = over_inputs.variance_of_mean() if "data" in covers else probe_variance / n**2
    if not covers or bool(torch.as_tensor(variance).isnan().any()):
        variance, covers = None, ""
    values, stderr = values_with_errors(over_inputs.mean, variance)
    return {
        "values": values,
        "stderr": stderr,
        "covers": covers,
        "n_samples": n,
        "n_probes": 0 if probing.all_outputs else probing.count,
    }


def covered(n: int, probing: Probing, errors_over: Covered) -> str:
    """What the spread of the estimates can speak of: nothing, data, probes, or both."""
    over_data = errors_over == "data" and n > 1
    if probing.all_outputs:
        return "data" if over_data else ""
    return "data and probes" if over_data else "probes"
