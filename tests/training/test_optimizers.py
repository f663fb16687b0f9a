"""Every optimizer by name, and GroupRMSprop against its formula."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from overt.training import GroupRMSprop, make_optimizer, optimizer_names

# Adafactor takes steps relative to the size of the parameters.
RATES = {
    "adafactor": 1.0,
    "adadelta": 30.0,
    "adagrad": 1.0,
    "lbfgs": 1.0,
    "gd": 0.1,
    "sgd": 0.1,
    "momentum": 0.03,
    "asgd": 0.1,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", optimizer_names())
def test_every_optimizer_decreases_a_quadratic(name):
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    w = torch.nn.Parameter(torch.zeros(4, 3, dtype=torch.float64))
    optimizer = make_optimizer(name, [w], RATES.get(name, 0.1))

    def closure():
        optimizer.zero_grad()
        loss = ((w - target) ** 2).sum()
        loss.backward()
        return loss

    first = closure().item()
    for _ in range(60):
        optimizer.step(closure)
    assert closure().item() < 0.2 * first


def test_names_are_case_insensitive_and_complete():
    names = optimizer_names()
    for name in (
        "sgd",
        "adam",
        "adamw",
        "nadam",
        "radam",
        "adamax",
        "adagrad",
        "adadelta",
        "rmsprop",
        "rprop",
    ):
        assert name in names
    for name in ("lbfgs", "muon", "asgd", "adafactor", "gd", "momentum", "amsgrad", "grouprmsprop"):
        assert name in names
    assert "sparseadam" not in names
    assert "optimizer" not in names
    w = torch.nn.Parameter(torch.zeros(2, 2))
    assert type(make_optimizer("LBFGS", [w])) is torch.optim.LBFGS
    assert type(make_optimizer("RMSprop", [w])) is torch.optim.RMSprop


def test_aliases_mean_what_they_say():
    w = torch.nn.Parameter(torch.zeros(2, 2))
    assert make_optimizer("gd", [w], 0.1).defaults["momentum"] == 0
    assert make_optimizer("momentum", [w], 0.1).defaults["momentum"] == 0.9
    assert make_optimizer("momentum", [w], 0.1, momentum=0.5).defaults["momentum"] == 0.5
    assert make_optimizer("amsgrad", [w], 0.1).defaults["amsgrad"] is True
    assert make_optimizer("adam", [w]).defaults["lr"] == torch.optim.Adam([w]).defaults["lr"]


@pytest.mark.parametrize("name", ["adam", "adamw", "adagrad"])
def test_fused_steps_equal_plain_ones(name):
    start = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    fused, plain = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimizers = [make_optimizer(name, [fused], 0.01), make_optimizer(name, [plain], 0.01, foreach=False)]
    for _ in range(5):
        for w, optimizer in zip((fused, plain), optimizers, strict=True):
            optimizer.zero_grad()
            (w**4).sum().backward()
            optimizer.step()
    torch.testing.assert_close(fused, plain, rtol=1e-12, atol=1e-14)


def test_grouprmsprop_equals_its_formula():
    generator = torch.Generator().manual_seed(1)
    params = [
        torch.nn.Parameter(torch.randn(3, 2, generator=generator, dtype=torch.float64)) for _ in range(2)
    ]
    expected = [p.detach().clone() for p in params]
    optimizer = GroupRMSprop(params, lr=0.1, alpha=0.9, eps=1e-4)
    average = 0.0
    for t in range(1, 8):
        optimizer.zero_grad()
        sum((p**4).sum() for p in params).backward()
        optimizer.step()
        gradients = [4 * p**3 for p in expected]
        average = 0.9 * average + 0.1 * sum(float((g**2).sum()) for g in gradients)
        rate = 0.1 / (math.sqrt(average / (1 - 0.9**t)) + 1e-4)
        expected = [p - rate * g for p, g in zip(expected, gradients, strict=True)]
        for p, e in zip(params, expected, strict=True):
            torch.testing.assert_close(p.detach(), e, rtol=1e-12, atol=1e-14)


def test_grouprmsprop_goes_on_from_its_state():
    w = torch.nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    optimizer = GroupRMSprop([w], lr=0.5)

    def step(parameter, opt):
        opt.zero_grad()
        (parameter**2).sum().backward()
        opt.step()

    step(w, optimizer)
    twin = torch.nn.Parameter(w.detach().clone())
    resumed = GroupRMSprop([twin], lr=0.5)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(w, optimizer)
    step(twin, resumed)
    assert torch.equal(w, twin)


@pytest.mark.parametrize(
    ("name", "lr", "options", "error", "message"),
    [
        ("adam2", 0.1, {}, ValueError, "unknown optimizer 'adam2'; known: .*rmsprop"),
        (3, 0.1, {}, TypeError, "optimizer must be a name"),
        ("SparseAdam", 0.1, {}, ValueError, "sparse gradients only"),
        ("adam", -0.1, {}, ValueError, "lr must be a finite number > 0, got -0.1"),
        ("adam", math.nan, {}, ValueError, "lr must be a finite number"),
        ("adam", "fast", {}, TypeError, "lr must be a finite number > 0, got 'fast'"),
        ("adam", 0.1, {"momentum": 0.9}, ValueError, "has no option momentum; it takes: betas"),
        ("adam", 0.1, {"betas": (2.0, 0.9)}, ValueError, "optimizer 'adam' refuses its options"),
        ("grouprmsprop", 0.1, {"alpha": 1.0}, ValueError, "alpha must be a number in"),
        ("grouprmsprop", 0.1, {"eps": 0.0}, ValueError, "eps must be a finite number > 0"),
    ],
)
def test_wrong_arguments_are_refused_in_words(name, lr, options, error, message):
    w = torch.nn.Parameter(torch.zeros(2, 2))
    with pytest.raises(error, match=message):
        make_optimizer(name, [w], lr, **options)


def test_wrong_parameters_are_refused_in_words():
    with pytest.raises(ValueError, match="params is empty"):
        make_optimizer("adam", [])
    with pytest.raises(TypeError, match="params must be tensors"):
        make_optimizer("adam", [3])
    with pytest.raises(TypeError, match="real floating"):
        make_optimizer("adam", [torch.zeros(2, dtype=torch.complex64, requires_grad=True)])
    with pytest.raises(ValueError, match="orthogonalizes matrices, but a parameter has shape"):
        make_optimizer("muon", [torch.nn.Parameter(torch.zeros(3))])
