"""What modules do with their parameters, one by one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import overt
from overt.measures import weight_spectra
from overt.networks import weights_of


class Experts(nn.Module):
    """As Hugging Face's: the matrices of gate and projection in one parameter, in one of four ways."""

    def __init__(self, concatenated: bool, transposed: bool) -> None:
        super().__init__()
        self.has_gate, self.is_concatenated, self.is_transposed = True, concatenated, transposed
        self.num_experts = 2
        self.gate, self.up = torch.randn(2, 2, 3, 4).double()  # (E, m, n) each
        both = torch.cat([self.gate, self.up], 1) if concatenated else torch.stack([self.gate, self.up], 2)
        both = both.reshape(2, 6, 4)
        self.gate_up_proj = nn.Parameter(both.mT.contiguous() if transposed else both.clone())


@pytest.mark.parametrize("concatenated", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_gated_experts(concatenated, transposed):
    torch.manual_seed(0)
    model = Experts(concatenated, transposed)
    spectra = weight_spectra(model)
    for e in range(2):
        for i, W in enumerate((model.gate, model.up)):
            found = spectra.pop(f"gate_up_proj[{e},{i}]").values
            torch.testing.assert_close(found, torch.linalg.svdvals(W[e]))
    assert not spectra
    (one,) = overt.SpectralPenalty(model, "nuclear_norm", layers="gate_up_proj[1,0]").penalized()
    (gradient,) = torch.autograd.grad(one.matrix().square().sum() / 2, model.gate_up_proj)
    torch.testing.assert_close(one.part_of(gradient), one.matrix())
    assert gradient.count_nonzero() == 12


@pytest.mark.parametrize(
    ("make", "counts"),
    [
        (lambda: nn.LSTM(3, 4, proj_size=2), {"weight_ih_l0": 4, "weight_hh_l0": 4, "weight_hr_l0": 1}),
        (lambda: nn.GRU(3, 4), {"weight_ih_l0": 3, "weight_hh_l0": 3}),
        (lambda: nn.RNN(3, 4), {"weight_ih_l0": 1, "weight_hh_l0": 1}),
        (lambda: nn.LSTMCell(3, 4), {"weight_ih": 4, "weight_hh": 4}),
        (lambda: nn.GRUCell(3, 4), {"weight_ih": 3, "weight_hh": 3}),
        (lambda: nn.RNNCell(3, 4), {"weight_ih": 1, "weight_hh": 1}),
        (lambda: nn.MultiheadAttention(8, 2), {"in_proj_weight": 3, "out_proj.weight": 1}),
        (lambda: nn.Bilinear(3, 4, 2), {"weight": 2}),
        (lambda: nn.Linear(3, 4), {"weight": 1}),
    ],
)
def test_how_many_matrices_a_layer_holds(make, counts):
    names = [f"{name}[{i}]" if n > 1 else name for name, n in counts.items() for i in range(n)]
    assert list(weight_spectra(make())) == names


class Bare(nn.Module):
    """Parameters of a module of one's own."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {"mix": (4, 4), "A_log": (4, 3), "positional_embedding": (6, 4), "bias_table": (9, 2)}
        shapes |= {"cls_token": (1, 1, 4), "broadcast": (1, 5, 4), "scale": (4, 1, 1), "logits": (3, 2)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))
        self.norm = nn.LayerNorm((3, 4))


def test_tables_are_no_matrices_but_can_be_named():
    model = Bare()
    assert set(weight_spectra(model)) == {"mix", "logits"}
    assert {layer.name for layer in overt.SpectralPenalty(model, layers="*").penalized()} == {"mix", "logits"}
    (table,) = overt.SpectralPenalty(model, layers="broadcast").penalized()
    assert table.shape == (5, 4)
    assert overt.SpectralPenalty(model, layers="A_log").penalized()[0].shape == (4, 3)
    with pytest.raises(ValueError, match=r"'\*_log' matches only embeddings, heads or tables"):
        overt.SpectralPenalty(model, layers="*_log")


class Timm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Linear(4, 4), nn.Linear(4, 3)

    def get_classifier(self):
        return self.fc


def test_the_classifier_that_a_model_names_is_a_head():
    model = nn.Sequential(Timm())
    assert {w.name: w.role for w in weights_of(model)} == {"0.body.weight": "matrix", "0.fc.weight": "head"}
    assert [layer.name for layer in overt.SpectralPenalty(model).penalized()] == ["0.body.weight"]
