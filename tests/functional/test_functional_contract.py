"""Every public functional is held to the contract: one line in ``matrix_corpus.FUNCTIONALS`` is enough.

The other files of this folder are the contract: values, gradients, properties and refusals, each over all of
FUNCTIONALS and over matrices of all kinds.
"""

from __future__ import annotations

import inspect

import pytest
import torch
from matrix_corpus import CORPUS, FUNCTIONALS, quasi_norm

import overt.functional as F

# Not a functional: it gives the whole spectrum.
OTHERS = {"singular_values"}


def test_every_functional_is_here():
    named = {name.split(" ")[0] for name in FUNCTIONALS}
    assert named == set(F.__all__) - OTHERS


@pytest.mark.parametrize("name", sorted(set(F.__all__) - OTHERS))
def test_all_take_a_matrix_or_its_spectrum(name: str) -> None:
    parameters = list(inspect.signature(getattr(F, name)).parameters.values())
    assert (parameters[0].name, parameters[0].default) == ("W", None)
    assert parameters[-1].name == "singular_values"
    assert parameters[-1].kind is inspect.Parameter.KEYWORD_ONLY
    for section in ("Parameters", "Returns", "Examples"):
        assert section in (getattr(F, name).__doc__ or ""), section


HOMOGENEOUS = [name for name, case in FUNCTIONALS.items() if case.degree is not None]


@pytest.mark.parametrize("functional", HOMOGENEOUS)
def test_euler(functional: str) -> None:
    """⟨∇f(W), W⟩ = degree · f(W), on every matrix."""
    case = FUNCTIONALS[functional]
    # Exponents below 1 magnify the rounding of singular values that are zero.
    close = 1e-3 if quasi_norm(functional) else 1e-9
    for matrix in CORPUS.values():
        W = matrix.clone().requires_grad_()
        value = case(W)
        (gradient,) = torch.autograd.grad(value, W)
        along = (gradient * matrix).sum().item()
        assert along == pytest.approx(case.degree * value.item(), rel=close, abs=close * (case.degree == 0))
