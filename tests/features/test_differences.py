"""M by finite differences against M by automatic differentiation, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier, VotingRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeRegressor

import overt
from overt.features.differences import difference_rows

X = np.random.default_rng(0).standard_normal((60, 5)) * [1, 1, 1e-3, 1e3, 1] + [0, 0, 0, 0, 1e3]
Y = np.stack([np.sin(X[:, 0]), X[:, 0] * X[:, 1] + X[:, 3] / 1e3], 1)
LABELS = np.where(Y[:, 0] > 0, "yes", "no")


def random():
    return np.random.default_rng(0)


def twin(model, mean, scale):
    """The network of a fitted MLPRegressor behind the standardization."""
    layers = []
    for W, b in zip(model.coefs_, model.intercepts_, strict=True):
        linear = torch.nn.Linear(*W.shape, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.as_tensor(W.T))
            linear.bias.copy_(torch.as_tensor(b))
        layers += [linear, torch.nn.Tanh()]
    network = torch.nn.Sequential(*layers[:-1])
    return lambda x: network((x - torch.as_tensor(mean)) / torch.as_tensor(scale))


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_pipeline_has_the_m_of_its_torch_twin():
    """Columns of very different scales and offsets."""
    fitted = make_pipeline(
        StandardScaler(),
        MLPRegressor(hidden_layer_sizes=(8, 8), activation="tanh", max_iter=60, random_state=0),
    ).fit(X, Y)
    J = difference_rows(fitted.predict, X, random())
    factor = overt.measure(
        twin(fitted[1], fitted[0].mean_, fitted[0].scale_), torch.as_tensor(X), "eigen"
    ).factor
    M, exact = np.einsum("nki,nkj->ij", J, J) / len(X), (factor.mT @ factor).numpy()
    size = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    assert np.abs((M - exact) / size).max() < 1e-6


def test_single_precision_takes_a_longer_step():
    model = KernelRidge(kernel="rbf", gamma=0.2).fit(X[:, :2], Y)
    exact = difference_rows(model.predict, X[:, :2], random())
    found = difference_rows(lambda x: model.predict(x).astype(np.float32), X[:, :2], random())
    np.testing.assert_allclose(found, exact, atol=1e-2 * np.abs(exact).max())
    hidden = difference_rows(
        lambda x: model.predict(x).astype(np.float32).astype(np.float64), X[:, :2], random()
    )
    np.testing.assert_allclose(hidden, exact, atol=1e-2 * np.abs(exact).max())


def test_constants_have_none_and_idle_columns_zero():
    assert not difference_rows(lambda x: np.full((len(x), 2), 3.7), X, random()).any()
    J = difference_rows(lambda x: x[:, :1] ** 3, np.c_[X[:, :2], np.ones(60)], random())
    np.testing.assert_allclose(J[:, 0, 0], 3 * X[:, 0] ** 2, atol=1e-8)
    assert not J[:, :, 1:].any()


def test_kinks_are_no_jumps():
    J = difference_rows(lambda x: np.maximum(x[:, :1], 0), X, random())
    np.testing.assert_allclose(J[:, 0, 0], X[:, 0] > 0, atol=1e-9)


def test_many_columns_are_taken_in_blocks(monkeypatch):
    Z = (X - X.mean(0)) / X.std(0)
    model = Ridge().fit(Z, Y)
    whole = difference_rows(model.predict, Z, random())
    monkeypatch.setattr("overt.features.differences._ENTRIES", 700)
    np.testing.assert_allclose(difference_rows(model.predict, Z, random()), whole, rtol=0, atol=1e-9)
    np.testing.assert_allclose(whole, np.broadcast_to(model.coef_, whole.shape), rtol=0, atol=1e-9)


JUMPING = {
    "tree": DecisionTreeRegressor(max_depth=3),
    "boosting": GradientBoostingRegressor(n_estimators=30, random_state=0),
    "nearest neighbours": KNeighborsRegressor(),
    "weighted neighbours": KNeighborsRegressor(weights="distance"),
    "bins": make_pipeline(KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), Ridge()),
    "a smooth part": VotingRegressor([("a", Ridge()), ("b", DecisionTreeRegressor(random_state=0))]),
}


@pytest.mark.parametrize("name", JUMPING)
def test_learners_that_jump_are_refused(name):
    with pytest.raises(ValueError, match="the predictions jump") as caught:
        overt.reweighted(JUMPING[name], X, Y[:, 1])
    assert "\n" not in str(caught.value)


def test_classifiers_that_jump_are_refused():
    with pytest.raises(ValueError, match="the predictions jump"):
        overt.reweighted(RandomForestClassifier(20), X, LABELS)
    with pytest.raises(ValueError, match=r"the predictions jump .* outputs='probabilities'"):
        overt.reweighted(SVC(), X, np.arange(60) % 3)  # adds up votes


def test_what_predicts_at_random_is_refused():
    generator = np.random.default_rng(1)
    with pytest.raises(ValueError, match=r"the predictions jump|disagree"):
        difference_rows(lambda x: x[:, :1] + 1e-2 * generator.standard_normal((len(x), 1)), X, random())


def test_spikes_at_the_inputs_are_refused():
    """An interpolating kernel so narrow that gradients at the inputs are rounding."""
    Z = np.random.default_rng(1).standard_normal((60, 12))
    with pytest.raises(ValueError, match="by two steps disagree"):
        overt.reweighted(KernelRidge(kernel="rbf", gamma=20), Z, Z[:, 0])


def test_nan_near_the_inputs_is_refused():
    with pytest.raises(ValueError, match="NaN or infinite near the inputs"):
        difference_rows(lambda x: np.where(x[:, :1] > 0, np.nan, x[:, :1]), X, random())


def test_logits_and_probabilities_of_classifiers():
    model = LogisticRegression(C=10).fit(X / X.std(0), LABELS)

    def fit(Z, y):
        return LogisticRegression(C=10).fit(Z, y)

    found = {
        outputs: overt.reweighted(
            fit, X / X.std(0), LABELS, "eigen", 2, outputs=outputs, rounds=1, loss="error"
        )
        for outputs in ("logits", "probabilities")
    }
    coef = found["logits"].model.coef_
    assert found["logits"].path_[0].effective_rank == pytest.approx(1, abs=1e-3)
    assert set(found["logits"].predict(X / X.std(0))) == {"yes", "no"}
    assert coef.shape == model.coef_.shape
    assert np.trace(found["probabilities"].M_) < np.trace(found["logits"].M_)
