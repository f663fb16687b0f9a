"""What studies record of a trained network or a solver's answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from overt import functional as F
from overt.problems import CompletionProblem
from overt.studies.base import RunContext
from overt.training import State, Trace, TrainResult


def summary(W: torch.Tensor, problem: CompletionProblem) -> dict[str, Any]:
    """What every method is judged by: error, rank, effective rank, norms, fit and largest entry."""
    s = F.singular_values(W)
    return {
        "error": problem.error(W),
        "rank": int((s > 1e-6 * s[0]).sum()),
        "effective_rank": float(F.effective_rank(singular_values=s)),
        "normalized_nuclear_norm": float(F.normalized_nuclear_norm(singular_values=s)),
        "nuclear_norm": float(s.sum()),
        "loss": float(problem.loss(W)) / float(problem.y.square().mean()),
        "largest_entry": float(W.abs().max()) / problem.max_abs_observed,
    }


def teller(context: RunContext) -> Callable[[State], None]:
    """A callback that tells now and then how far the run is."""

    def tell(state: State) -> None:
        if state.step % 1000 == 0:
            context.progress(f"step {state.step}, effective rank {state.effective_rank():.2f}")

    return tell


def how(result: TrainResult) -> dict[str, Any]:
    """How a training ended: status, steps, seconds, and when each error was first reached."""
    return {
        "status": result.status,
        "message": result.message,
        "steps": result.steps,
        "seconds": result.seconds,
        "hits": {f"{target:g}": list(hit) for target, hit in result.hits.items()},
    }


def trace_arrays(trace: Trace) -> dict[str, Any]:
    """The recorded trajectory as arrays: step, singular values, effective rank, error."""
    spectra = [row["singular_values"] for row in trace]
    return {
        "step": np.asarray(trace.column("step"), dtype=np.int64),
        "singular_values": np.asarray(spectra, dtype=np.float64),
        "effective_rank": np.asarray(trace.column("effective_rank"), dtype=np.float64),
        "error": np.asarray(trace.column("error"), dtype=np.float64),
    }
