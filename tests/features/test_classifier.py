"""RFMClassifier: classes, probabilities, M of its scores, degenerate labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import overt
from overt import RFMClassifier
from overt.features.calibration import calibrate


def signs(n=160, d=6, seed=0, flip=0.0):
    """The sign of a product of two of the inputs, some of them flipped."""
    g = np.random.default_rng(seed)
    X = g.normal(size=(n, d))
    return X, (X[:, 0] * X[:, 1] > 0) ^ (g.random(n) < flip)


def test_a_product_is_learnt_and_its_inputs_named():
    X, y = signs()
    new, target = signs(1000, seed=1)
    est = RFMClassifier().fit(X, np.where(y, "yes", "no"))
    assert est.classes_.tolist() == ["no", "yes"]
    assert est.score(new, np.where(target, "yes", "no")) > 0.85
    assert set(np.argsort(-est.importances_)[:2]) == {0, 1}
    probabilities = est.predict_proba(new)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(est.predict(new), est.classes_[probabilities.argmax(1)])


@pytest.mark.slow
@pytest.mark.parametrize("flip", [0.0, 0.2])
def test_probabilities_are_calibrated(flip):
    X, y = signs(300, flip=flip)
    new, target = signs(2000, seed=1, flip=flip)
    p = RFMClassifier().fit(X, y).predict_proba(new)[:, 1]
    for low, high in ((0.0, 0.35), (0.65, 1.0)):
        inside = (p >= low) & (p <= high)
        assert inside.sum() > 300
        assert abs(p[inside].mean() - target[inside].mean()) < 0.08


def test_several_classes_and_m_of_their_scores():
    digits = load_digits()
    X, y = digits.data[:150], digits.target[:150]
    est = RFMClassifier(max_rounds=1).fit(X, y)
    assert est.predict_proba(digits.data[150:400]).shape == (250, 10)
    assert est.score(digits.data[150:400], digits.target[150:400]) > 0.85
    measured = overt.measure(est.to_torch(), torch.as_tensor(X)).values.square().numpy()
    values = np.linalg.eigvalsh(est.M_)[::-1]
    np.testing.assert_allclose(values, measured[: len(values)], rtol=1e-5, atol=1e-7 * measured[0])


@pytest.mark.parametrize("labels", [[3] * 9, [0] * 8 + [1], list(range(9))])
def test_few_of_a_class(labels):
    X, _ = signs(9)
    est = RFMClassifier().fit(X, labels)
    probabilities = est.predict_proba(X)
    assert probabilities.shape == (9, len(set(labels)))
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(1), 1)


def test_perfect_scores_leave_probabilities_inside():
    labels = np.repeat([0, 1], 50)
    scores = np.c_[1.0 - 2 * labels, 2.0 * labels - 1]
    p = calibrate(scores, labels).probabilities(scores)[50:, 1]
    np.testing.assert_allclose(p, 51 / 52, atol=0.01)  # Platt's smoothed target is (50 + 1)/(50 + 2)


def test_scores_that_say_nothing_give_the_frequencies():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    p = calibrate(np.zeros((100, 3)), labels).probabilities(np.zeros((1, 3)))[0]
    np.testing.assert_allclose(p, [0.6, 0.3, 0.1], atol=0.03)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (None, "y must be given"),
        ([0, 1] * 4, "y must have 9 rows"),
        (np.linspace(0, 1, 9), "continuous"),
        ([0.0, np.nan] + [1.0] * 7, "NaN"),
    ],
)
def test_wrong_labels_are_refused(y, words):
    with pytest.raises(ValueError, match=words):
        RFMClassifier().fit(signs(9)[0], y)
