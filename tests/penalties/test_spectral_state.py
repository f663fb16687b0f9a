"""What a penalty keeps between decompositions: stored, taken up again, begun anew, refused."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from overt.penalties import SpectralPenalty

CASES = [
    {},
    {"functional": "nuclear_norm"},
    {"functional": "participation_ratio"},
    {"functional": "effective_rank"},
    {"functional": "schatten_norm", "options": {"p": 0.5}},
    {"functional": "log_det", "options": {"eps": 0.1}},
    {"conv": "operator", "grid": 4},
    {"layers": "1", "of": "weights"},
]


class Adapted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lora_A, self.lora_B = nn.Linear(5, 2, bias=False), nn.Linear(2, 6, bias=False)
        self.scaling = 0.5


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 3, 3), nn.Linear(5, 6), Adapted()).double()


def train(penalty: SpectralPenalty, steps: int) -> list[float]:
    """Steps along the penalty's own force."""
    values = []
    for _ in range(steps):
        penalty.model.zero_grad()
        value = penalty.penalty()
        value.backward()
        with torch.no_grad():
            for p in penalty.model.parameters():
                if p.grad is not None:
                    p.sub_(0.05 * p.grad)
        values.append(value.item())
    return values


@pytest.mark.slow
@pytest.mark.parametrize("arguments", CASES, ids=lambda a: str(next(iter(a.values()), "default")))
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_stored_penalty_goes_on_bit_for_bit(arguments, stop):
    whole = SpectralPenalty(net(), weight=1.0, every=5, **arguments)
    values = train(whole, 12)
    first = SpectralPenalty(net(), weight=1.0, every=5, **arguments)
    train(first, stop)
    file = io.BytesIO()
    torch.save({"model": first.model.state_dict(), "penalty": first.state_dict()}, file)
    file.seek(0)
    stored = torch.load(file, weights_only=True)
    second = SpectralPenalty(net(), weight=1.0, every=5, **arguments)
    second.model.load_state_dict(stored["model"])
    second.load_state_dict(stored["penalty"])
    assert train(second, 12 - stop) == values[stop:]


def test_nothing_is_stored_without_kept_directions():
    penalty = SpectralPenalty(net(), weight=1.0)
    train(penalty, 2)
    assert penalty.state_dict() == {}
    assert SpectralPenalty(net(), every=3).state_dict() == {}


def test_inside_of_another_module():
    def both():
        model = net()
        return nn.ModuleDict({"model": model, "penalty": SpectralPenalty(model, weight=1.0, every=4)})

    old, new, other = both(), both(), both()
    train(old["penalty"], 3)
    assert {"penalty.calls", "penalty.kept.1.weight.direction"} < set(old.state_dict())
    new.load_state_dict(old.state_dict())
    assert train(new["penalty"], 4) == train(old["penalty"], 4)
    # A state without directions, such as one of an earlier version, begins anew, in a used penalty, too.
    new.load_state_dict(other.state_dict())
    assert train(new["penalty"], 6) == train(other["penalty"], 6)


def test_what_does_not_fit_is_refused():
    penalty = SpectralPenalty(net(), weight=1.0, every=4)
    train(penalty, 1)
    state = penalty.state_dict()
    with pytest.raises(ValueError, match=r"state is of other layers: kept\.0\.weight\.direction"):
        SpectralPenalty(net(), layers="1", every=4).load_state_dict(state)
    wrong = {**state, "kept.1.weight.direction": torch.zeros(5, 6, dtype=torch.float64)}
    with pytest.raises(ValueError, match=r"does not fit the layer '1\.weight'"):
        penalty.load_state_dict(wrong)
    wrong = {**state, "kept.2.left": torch.full_like(state["kept.2.left"], torch.nan)}
    with pytest.raises(ValueError, match="does not fit the layer '2'"):
        penalty.load_state_dict(wrong)
    with pytest.raises(RuntimeError, match="unknown"):
        penalty.load_state_dict({**state, "unknown": torch.zeros(1)})


def test_a_state_of_another_dtype_is_converted():
    penalty = SpectralPenalty(net(), weight=1.0, every=9)
    train(penalty, 2)
    single = SpectralPenalty(net().float(), weight=1.0, every=9)
    single.load_state_dict(penalty.state_dict())
    assert all(t.dtype == torch.float32 for n, t in single.state_dict().items() if n != "calls")
    assert single.penalty().dtype == torch.float32


def test_a_model_in_another_dtype_is_decomposed_anew():
    penalty = SpectralPenalty(net().float(), weight=1.0, every=9)
    train(penalty, 2)
    penalty.model.double()
    torch.testing.assert_close(penalty.penalty(), copy.deepcopy(penalty).value())
