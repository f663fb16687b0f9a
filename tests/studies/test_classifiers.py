"""Small classifiers: the training loop and its resumption, products of layers, and the scores."""

from __future__ import annotations

import doctest
import math

import pytest
import torch
from torch import nn

import overt
from overt.problems import ImageSet, ImageSplit
from overt.studies.shared import classifier_networks, classifier_scores
from overt.studies.shared import classifiers as C
from overt.studies.shared.classifier_networks import SeededDropout

SHAPE = (1, 8, 8)


def images(n=60, seed=0, classes=3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    x = torch.randn(n, *SHAPE, generator=generator)
    x[:, 0, 0, :classes] += 3 * nn.functional.one_hot(labels, classes)
    return ImageSet(x, labels)


def network(seed=0, **fields):
    return C.make_classifier(
        C.Network(**{"kind": "mlp", "widths": (12,), **fields}), shape=SHAPE, classes=3, seed=seed
    )


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def recipe(**fields):
    return C.Recipe(**{"lr": 1e-2, "batch_size": 20, "max_steps": 40, "seed": 1, **fields})


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{}, {"kind": "cnn", "widths": (4, 6)}, {"factors": 3}, {"dropout": 0.3}])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_it_learns(fields, optimizer):
    model, data = network(**fields), images()
    ended = C.fit(model, data, recipe(optimizer=optimizer, max_steps=80))
    assert ended.status == "budget"
    assert ended.steps == 80
    assert ended.loss < 0.5
    assert ended.loss == C.evaluate(model, data).cross_entropy
    assert C.evaluate(model, data).accuracy > 0.85


def test_the_first_step_is_that_of_torch():
    data = images(20)
    ours, theirs = network(), network()
    C.fit(ours, data, recipe(max_steps=1, weight_decay=0.1))
    decaying = [p for p in theirs.parameters() if p.ndim > 1]
    others = [p for p in theirs.parameters() if p.ndim == 1]
    groups = [{"params": decaying, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-2)
    nn.functional.cross_entropy(theirs(data.images), data.labels).backward()
    optimizer.step()
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-5, atol=1e-6)


class InterruptionError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("penalty_name", ["none", "jacobian", "weights"])
def test_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path, penalty_name):
    data, path = images(), tmp_path / "training"

    def train(model, interrupt_at=None):
        calls = []

        def penalty(x, outputs):
            calls.append(1)
            if interrupt_at is not None and len(calls) > interrupt_at:
                raise InterruptionError
            return inner(x, outputs)

        class Penalty(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = inner

            def forward(self, x, outputs):
                return penalty(x, outputs)

        if penalty_name == "weights":  # the directions of step 21 are those of step 24
            inner = C.OfWeights(overt.SpectralPenalty(model, "nuclear_norm", weight=1e-2, every=7))
        else:
            weight = 1e-2 if penalty_name == "jacobian" else 0.0
            inner = overt.JacobianPenalty(model, 1.0, "fourier", weight)
        return C.fit(model, data, recipe(), Penalty(), checkpoint=path, checkpoint_seconds=0)

    whole, broken, resumed = (network(dropout=0.3) for _ in range(3))
    train(whole)
    path.unlink()
    with pytest.raises(InterruptionError):
        train(broken, interrupt_at=23)
    ended = train(resumed)
    assert ended.steps == 40
    assert torch.equal(weights(resumed), weights(whole))
    assert not torch.equal(weights(broken), weights(whole))


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    path = tmp_path / "training"
    C.fit(network(), images(), recipe(), checkpoint=path, checkpoint_seconds=0)
    with pytest.raises(ValueError, match="another recipe"):
        C.fit(network(), images(), recipe(lr=1e-3), checkpoint=path)


def test_it_stops_at_the_training_loss_or_when_it_diverges():
    data = images()
    ended = C.fit(network(), data, recipe(stop_loss=0.3, check_every=5, max_steps=400))
    assert ended.status == "loss"
    assert ended.loss <= 0.3
    assert ended.steps % 5 == 0
    assert ended.steps < 400
    ended = C.fit(network(), data, recipe(optimizer="sgd", lr=1e30))
    assert ended.status == "diverged"
    assert math.isinf(ended.loss)


def test_the_learning_rate_falls_to_zero():
    data = images()
    models = [network(), network()]
    C.fit(models[0], data, recipe(cosine=True, max_steps=30))
    C.fit(models[1], data, recipe(cosine=False, max_steps=30))
    assert not torch.equal(weights(models[0]), weights(models[1]))


def test_torchs_own_generator_is_left_alone():
    before = torch.get_rng_state()
    model = network(dropout=0.5, factors=2)
    C.fit(model, images(), recipe(max_steps=3))
    assert torch.equal(before, torch.get_rng_state())
    again = network(dropout=0.5, factors=2)
    C.fit(again, images(), recipe(max_steps=3))
    assert torch.equal(weights(model), weights(again))


def test_dropout_keeps_the_mean_and_is_off_in_evaluation():
    dropout, x = SeededDropout(0.4), torch.ones(200, 200)
    assert float(dropout(x).mean()) == pytest.approx(1.0, abs=0.02)
    assert dropout(x).unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert dropout.eval()(x) is x


@pytest.mark.parametrize(
    "fields", [{"factors": 3}, {"kind": "cnn", "widths": (4, 6), "factors": 2}, {"dropout": 0.5}]
)
def test_multiplying_out_gives_the_same_function(fields):
    model = network(**fields)
    plain = C.collapsed(model)
    x = images(5).images
    torch.testing.assert_close(plain(x), model.eval()(x), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(layer, (nn.Sequential, nn.Dropout)) for layer in plain)
    assert sum(p.numel() for p in plain.parameters()) <= sum(p.numel() for p in model.parameters())


def test_products_begin_at_the_scale_of_plain_layers():
    plain, product = (
        C.make_classifier(C.Network("mlp", (200,), factors=k), shape=(1, 20, 20), classes=200, seed=0)
        for k in (1, 3)
    )
    stds = [
        [float(layer.weight.detach().std()) for layer in C.collapsed(m) if hasattr(layer, "weight")]
        for m in (plain, product)
    ]
    assert stds[1] == pytest.approx(stds[0], rel=0.1)


def test_calibration_error_of_known_cases():
    sure = torch.tensor([[40.0, 0.0]] * 4)
    assert C.expected_calibration_error(sure, torch.tensor([0, 0, 0, 1])) == pytest.approx(0.25)
    even = torch.zeros(4, 2)
    assert C.expected_calibration_error(even, torch.tensor([0, 1, 0, 1])) == pytest.approx(0.0)
    # Two bins that err in opposite directions do not cancel.
    logits = torch.tensor([[40.0, 0.0], [math.log(0.6), math.log(0.4)]])
    assert C.expected_calibration_error(logits, torch.tensor([1, 0])) == pytest.approx((1.0 + 0.4) / 2)


def test_the_temperature_minimises_the_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(300, 4, generator=generator)
    labels = torch.multinomial((logits / 3).softmax(1), 1, generator=generator).squeeze(1)
    t = C.temperature(logits, labels)
    at = [C.score(logits / (t * f), labels).cross_entropy for f in (0.97, 1.0, 1.03)]
    assert at[1] < min(at[0], at[2])
    assert t == pytest.approx(3.0, rel=0.25)


def test_scores_of_a_known_case():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0]])
    found = C.score(logits, torch.tensor([0, 1]))
    assert C.margins(logits, torch.tensor([0, 1])).tolist() == [1.0, -2.0]
    assert found.accuracy == 0.5
    assert found.margin == -2.0  # the lower of two is torch's median
    assert found.cross_entropy == pytest.approx(
        float(nn.functional.cross_entropy(logits, torch.tensor([0, 1])))
    )
    assert set(found.to_record("test_")) == {
        f"test_{n}" for n in ("accuracy", "cross_entropy", "calibration_error", "margin", "margin_low")
    }


def test_images_are_scaled_by_the_training_images_alone():
    split = ImageSplit(images(seed=1), images(seed=2), images(seed=3), 3, "made up")
    done, mean, std = C.prepared(split)
    assert float(done.train.images.mean()) == pytest.approx(0, abs=1e-6)
    assert float(done.train.images.std()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(done.test.images * std + mean, split.test.images)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: C.Recipe(lr=0.0), "lr"),
        (lambda: C.Recipe(optimizer="adam"), "optimizer"),
        (lambda: C.Recipe(max_steps=0), "max_steps"),
        (lambda: C.Recipe(weight_decay=-1.0), "weight_decay"),
        (lambda: C.Network("rnn"), "kind"),
        (lambda: C.Network("cnn", ()), "widths"),
        (lambda: C.Network(factors=0), "factors"),
        (lambda: C.Network(dropout=1.0), "dropout"),
    ],
)
def test_wrong_settings_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("module", [C, classifier_networks, classifier_scores])
def test_examples(module):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
