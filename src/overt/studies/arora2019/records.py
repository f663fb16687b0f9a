"""What is recorded of a matrix that was found."""

from __future__ import annotations

from typing import Any

import torch

from overt import functional as F
from overt.problems import CompletionProblem, SensingProblem


def measured(W: torch.Tensor, problem: CompletionProblem | SensingProblem) -> dict[str, Any]:
    """Error, norms and ranks of W, those of the truth beside them, and how well W fits."""
    truth = problem.truth
    assert truth is not None
    with torch.no_grad():
        s, target = F.singular_values(W), F.singular_values(truth)
        return {
            "error": problem.error(W),
            "loss": float(problem.loss(W)) / float(problem.y.square().mean()),
            "rank": int((s > 1e-6 * s[0]).sum()),
            "effective_rank": float(F.effective_rank(singular_values=s)),
            "nuclear_norm": float(s.sum()),
            "true_effective_rank": float(F.effective_rank(singular_values=target)),
            "true_nuclear_norm": float(target.sum()),
        }
