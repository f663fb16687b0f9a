"""The matrices of the networks in the zoo: what Overt finds against what their modules do, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import overt
from overt import functional as F
from overt.measures import effective_parameters, weight_spectra
from overt.networks import weights_of
from zoo import ZOO, animal, minilm

# Importing transformers warns about much that is not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=[*ZOO, pytest.param("MiniLM", marks=pytest.mark.slow)])
def one(request):
    return minilm() if request.param == "MiniLM" else animal(request.param)


def singular_values(W: torch.Tensor) -> torch.Tensor:
    """Of a matrix, or of the block diagonal of several."""
    return torch.linalg.svdvals(W.detach()).flatten().sort(descending=True).values


def test_spectra(one):
    found = weight_spectra(one.model)
    expected = one.matrices | one.others
    assert set(found) == set(expected)
    for name, W in expected.items():
        torch.testing.assert_close(found[name].values, singular_values(W), rtol=1e-6, atol=1e-6, msg=name)


def test_a_penalty_sees_the_matrices_and_no_embedding_head_or_table(one):
    penalty = overt.SpectralPenalty(one.model, "nuclear_norm", weight=1.0, method="svd")
    assert {layer.name for layer in penalty.penalized()} == set(one.matrices)
    if one.inputs.dtype == torch.float64:
        expected = sum(singular_values(W).sum() for W in one.matrices.values())
        torch.testing.assert_close(penalty.value().detach(), expected, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("functional", ["normalized_nuclear_norm", "effective_rank"])
@pytest.mark.parametrize("name", ZOO)
def test_values_and_gradients(name, functional):
    one = animal(name)
    penalty = overt.SpectralPenalty(one.model, functional, weight=1.0)
    value = penalty.penalty()
    parameters = [p for p in one.model.parameters() if p.ndim > 1 and p.requires_grad]
    found = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    function = getattr(F, functional)
    dense = (W if W.ndim == 2 else torch.block_diag(*W) for W in one.matrices.values())
    expected = sum(function(W) for W in dense)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0.0)
    truth = torch.autograd.grad(expected, parameters, allow_unused=True, materialize_grads=True)
    for g, right in zip(found, truth, strict=True):
        torch.testing.assert_close(g, right, rtol=1e-6, atol=1e-8)


def test_what_is_left_out_is_there_for_the_asking(one):
    for name in one.others:
        penalty = overt.SpectralPenalty(one.model, layers=name)
        assert [layer.name for layer in penalty.penalized()] == [name]
    roles = {w.name: w.role for w in weights_of(one.model)}
    assert {name for name, role in roles.items() if role in ("embedding", "head")} == set(one.others)
    assert {name for name, role in roles.items() if role == "table"} == {
        name for name in one.vectors if name in roles and one.model.get_parameter(name).ndim > 1
    }
    one.model.requires_grad_()  # what is frozen is left out beside what is not
    for word, role in (("embeddings", "embedding"), ("heads", "head")):
        names = {name for name, found in roles.items() if found == role}
        if names:
            found = overt.SpectralPenalty(one.model, layers=word).penalized()
            assert {layer.name for layer in found} == names
    everything = overt.SpectralPenalty(one.model, layers="*").penalized()
    assert {layer.name for layer in everything} == set(one.matrices)


@pytest.mark.parametrize("every", [2])
@pytest.mark.parametrize("name", ZOO)
def test_directions_are_kept_across_a_checkpoint(name, every):
    one = animal(name)
    penalty = overt.SpectralPenalty(one.model, every=every, weight=1.0)
    penalty.penalty()
    with torch.no_grad():
        for p in one.model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    again = overt.SpectralPenalty(one.model, every=every, weight=1.0)
    again.load_state_dict(penalty.state_dict())
    assert again.penalty().item() == penalty.penalty().item()


@pytest.mark.parametrize("name", ZOO)
def test_effective_parameters_of_a_model_that_loses_nothing(name):
    """Where any truncation is as good, each layer that can be factored is left with rank 1."""
    one = animal(name)
    linear = {
        name: module.weight
        for name, module in one.model.named_modules()
        if type(module) in (nn.Linear, nn.Conv1d, nn.Conv2d) and module.weight is not None
    }
    tied = [id(m.weight) for m in one.model.modules() if isinstance(m, nn.Embedding)]
    linear = {name: W for name, W in linear.items() if id(W) not in tied}
    if not linear:
        with pytest.raises(ValueError, match=r"no nn.Linear or nn.Conv1d/2d/3d that could be factored"):
            effective_parameters(one.model, lambda model: 1.0)
        return
    found = effective_parameters(one.model, lambda model: 1.0)
    assert set(found.layers) == set(linear)
    least = 0
    for name, W in linear.items():
        groups = getattr(one.model.get_submodule(name), "groups", 1)
        m, n = W.shape[0] // groups, W.shape[1:].numel()
        least += groups * min(m + n, m * n)
        assert found.layers[name].entries == W.numel()
    everything = sum(p.numel() for p in one.model.parameters())
    assert found.total_before == everything
    assert found.total == least + everything - sum(W.numel() for W in linear.values())
