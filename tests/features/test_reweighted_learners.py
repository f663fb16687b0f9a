"""`overt.reweighted` and its learners: losses of classifiers, data that nobody changes, models that end."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Perceptron, Ridge, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

import overt

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((90, 4))
Y = X[:, 0] * X[:, 1]
LABELS = {2: np.where(Y > 0, "yes", "no"), 3: np.digitize(Y, [-0.3, 0.3])}

# ---- losses of classifiers -------------------------------------------------------------------------------

DECISIONS = {
    "ridge": RidgeClassifier(),
    "pipeline": make_pipeline(StandardScaler(), RidgeClassifier()),
    "search": GridSearchCV(RidgeClassifier(), {"alpha": [1.0]}, cv=3),
    "margin": LinearSVC(),
    "perceptron": Perceptron(),
    "hinge": SGDClassifier(),
}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", DECISIONS)
def test_decision_values_are_no_probabilities(name, classes):
    pair = X, LABELS[classes]
    with pytest.raises(ValueError, match=r"needs predict_proba.*use loss='error'") as caught:
        overt.reweighted(DECISIONS[name], *pair, depth=1, loss="cross_entropy")
    assert "\n" not in str(caught.value)
    found = {loss: overt.reweighted(DECISIONS[name], *pair, depth=1, loss=loss) for loss in ("auto", "error")}
    assert found["auto"].path_ == found["error"].path_
    assert 0 <= found["auto"].path_[0].validation_error <= 1


@pytest.mark.parametrize("classes", [2, 3])
def test_cross_entropy_is_that_of_the_probabilities(classes):
    pair = X, LABELS[classes]
    found = overt.reweighted(LogisticRegression(), *pair, depth=1, validation=pair, loss="cross_entropy")
    shares = found.model.predict_proba(X)
    true = shares[np.arange(90), np.searchsorted(found.model.classes_, LABELS[classes])]
    assert found.path_[0].validation_error == pytest.approx(-np.log(true).mean())


def test_a_function_gets_decision_values_where_there_are_no_probabilities():
    seen = []

    def loss(scores, labels):
        seen.append(scores)
        return np.zeros(len(labels))

    overt.reweighted(RidgeClassifier(), X, LABELS[3], depth=1, loss=loss, validation=(X, LABELS[3]))
    np.testing.assert_allclose(seen[0], RidgeClassifier().fit(X, LABELS[3]).decision_function(X))


def test_squares_are_for_numbers():
    with pytest.raises(ValueError, match="loss='squared' is for numbers, got a classifier"):
        overt.reweighted(LogisticRegression(), X, LABELS[2], loss="squared")


@pytest.mark.parametrize("loss", ["auto", "cross_entropy"])
def test_probabilities_are_no_scores(loss):
    """The other way round: cross-entropy of a softmax's outputs would take the softmax twice."""
    inputs, labels = torch.as_tensor(X), torch.as_tensor(LABELS[3])

    def fit(Z, y):
        return nn.Sequential(nn.Linear(4, 3, dtype=torch.float64), nn.Softmax(1))

    with pytest.raises(ValueError, match="takes scores before the softmax") as caught:
        overt.reweighted(fit, inputs, labels, loss=loss)
    assert "\n" not in str(caught.value)
    overt.reweighted(fit, inputs, labels, depth=1, loss="error")


class Columns(ClassifierMixin, BaseEstimator):
    """Takes labels as a column, as some packages do."""

    def fit(self, Z, y):
        self.model_ = LogisticRegression().fit(Z, y.ravel())
        self.classes_ = self.model_.classes_
        return self

    def predict(self, Z):
        return self.model_.predict(Z)

    def decision_function(self, Z):
        return self.model_.decision_function(Z)


class Shares(Columns):
    """With probabilities."""

    def predict_proba(self, Z):
        return self.model_.predict_proba(Z)


@pytest.mark.parametrize("loss", ["error", "auto"])
@pytest.mark.parametrize("kind", [Columns, Shares])
def test_a_column_of_labels_is_as_a_vector(kind, loss):
    one, other = (
        overt.reweighted(kind(), X, y, rounds=1, loss=loss) for y in (LABELS[2], LABELS[2][:, None])
    )
    assert one.path_ == other.path_


def test_words_may_come_with_a_tensor():
    one, other = (
        overt.reweighted(LogisticRegression(), Z, LABELS[2], rounds=1) for Z in (X, torch.as_tensor(X))
    )
    assert one.path_ == other.path_
    assert set(other.predict(torch.as_tensor(X))) == {"yes", "no"}


def test_several_labels_at_once_are_refused():
    with pytest.raises(ValueError, match="several targets at once"):
        overt.reweighted(RidgeClassifier(), X, np.stack([Y > 0, X[:, 2] > 0], 1).astype(int))


class Words(ClassifierMixin, BaseEstimator):
    """Says labels, and nothing else."""

    def fit(self, Z, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, Z):
        return self.classes_[(Z[:, 0] > 0).astype(int)]


def test_labels_alone_have_no_derivative():
    with pytest.raises(ValueError, match="labels have no derivative") as caught:
        overt.reweighted(Words(), X, LABELS[2])
    assert "\n" not in str(caught.value)


# ---- data that nobody changes ----------------------------------------------------------------------------


def array(part):
    """A copy."""
    return np.array(part.numpy() if isinstance(part, torch.Tensor) else part)


class Overwriting(RegressorMixin, BaseEstimator):
    """Ridge regression that overwrites all that it is given, as ``copy_X=False`` allows."""

    def fit(self, Z, y):
        self.model_ = Ridge().fit(Z, y)
        Z[...] = 0
        y[...] = 0
        return self

    def predict(self, Z):
        found = self.model_.predict(Z)
        Z[...] = np.nan
        return found


class Overwritten(LogisticRegression):
    """A classifier of this kind."""

    def fit(self, Z, y):
        super().fit(Z, y)
        Z[...] = 0
        y[...] = y[0]
        return self

    def predict_proba(self, Z):
        found = super().predict_proba(Z)
        Z[...] = np.nan
        return found

    def decision_function(self, Z):
        found = super().decision_function(Z)
        Z[...] = np.nan
        return found

    def predict(self, Z):
        found = self.classes_[super().predict_proba(Z).argmax(1)]
        Z[...] = np.nan
        return found


def estimator(Z, y, validation):
    """A function around such an estimator."""
    for part in validation:
        part[...] = 0
    return Overwriting().fit(Z, y)


def network(Z, y, validation):
    """Training that centres its data in place, and a network that overwrites its inputs."""
    Z.sub_(5), y.mul_(0)
    for part in validation:
        part.mul_(0)
    model = nn.Sequential(nn.Identity(), nn.Linear(4, 1, dtype=Z.dtype))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 2.0, 0.0, 0.0]]))
        model[1].bias.zero_()
    return Greedy(model)


class Greedy(nn.Module):
    """Overwrites its inputs where no gradient is asked for."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        found = self.model(x)
        if not torch.is_grad_enabled():
            x.zero_()
        return found


def overwriting_loss(outputs, y):
    found = array(outputs).reshape(len(y), -1)[:, 0] * 1.0
    outputs[...] = 0
    y[...] = y[0]
    return found**2


REAL, TENSOR = (X, Y), (torch.as_tensor(X), torch.as_tensor(Y))
GREEDY = {
    "regressor": (Overwriting(), REAL, {}),
    "regressor of tensors": (Overwriting(), TENSOR, {}),
    "no copy": (make_pipeline(StandardScaler(copy=False), Ridge(copy_X=False)), REAL, {}),
    "classifier": (Overwritten(), (X, LABELS[3]), {}),
    "classifier of words": (Overwritten(), (X, LABELS[2]), {}),
    "function": (estimator, REAL, {}),
    "network": (network, TENSOR, {}),
    "network of single precision": (network, tuple(part.float() for part in TENSOR), {}),
    "loss": (Ridge(), REAL, {"loss": overwriting_loss}),
    "loss of a classifier": (LogisticRegression(), (X, LABELS[3]), {"loss": overwriting_loss}),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:fit. the learner does not feel")
@pytest.mark.parametrize("given", [False, True], ids=["share", "pair"])
@pytest.mark.parametrize("name", GREEDY)
def test_learners_may_overwrite_what_they_get(name, given):
    """Neither the caller's data nor what later fits see is changed."""
    learner, pair, options = GREEDY[name]
    before, kept = [array(part) for part in pair], [part[:] for part in pair]
    seen, held = [], []

    def noted(Z, y, validation):
        seen.append((array(Z), array(y)))
        held.append(array(validation[1]))
        return clone(learner).fit(Z, y) if hasattr(learner, "fit") else learner(Z, y, validation)

    more = {"validation": pair} if given else {}
    found = overt.reweighted(noted, *pair, "identity", rounds=2, **options, **more)
    first = found.predict(pair[0])
    np.testing.assert_array_equal(array(first), array(found.predict(pair[0])))
    found.transform(pair[0])[...] = 0
    found.root_[...] = 0
    np.testing.assert_array_equal(array(first), array(found.predict(pair[0])))
    direct = overt.reweighted(learner, *pair, "identity", rounds=2, **options, **more)
    direct.predict(pair[0])
    for part, was in zip(kept, before, strict=True):
        np.testing.assert_array_equal(array(part), was)
    assert len(seen) > 1
    for targets in [y for _, y in seen[1:]]:
        np.testing.assert_array_equal(targets, seen[0][1])
    for targets in held[1:]:
        np.testing.assert_array_equal(targets, held[0])
    for inputs in [Z for Z, _ in seen[1:]]:  # scaled, column by column
        scale = inputs[0] / seen[0][0][0]
        np.testing.assert_allclose(inputs, seen[0][0] * scale, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [overt.RFMRegressor, overt.RFMClassifier])
@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
def test_feature_machines_leave_their_data(kind, convert):
    pair = convert(X[:30].copy()), convert((Y[:30] > 0).astype(float))
    est = kind(max_rounds=1).fit(*pair)
    est.predict(pair[0])
    np.testing.assert_array_equal(array(pair[0]), X[:30])
    np.testing.assert_array_equal(array(pair[1]), Y[:30] > 0)


def test_data_that_cannot_be_written_are_read():
    frozen = X.copy()
    frozen.setflags(write=False)
    options = {"rounds": 1, "basis": "identity"}
    found = overt.reweighted(Ridge(), frozen, Y, **options)
    assert found.path_ == overt.reweighted(Ridge(), X, Y, **options).path_
    np.testing.assert_array_equal(found.predict(frozen), found.predict(X))


# ---- models that end -------------------------------------------------------------------------------------


class Slotted:
    """A model to which there are no weak references."""

    __slots__ = ("model",)

    def __init__(self, model):
        self.model = model

    def predict(self, Z):
        return self.model.predict(Z)


def test_models_of_earlier_rounds_are_not_kept():
    living, most = weakref.WeakSet(), []

    def fit(Z, y):
        model = KernelRidge(kernel="rbf", gamma=0.1, alpha=0.1).fit(Z, y)
        living.add(model)
        gc.collect()
        most.append(len(living))
        return model

    found = overt.reweighted(fit, X, Y, rounds=6)
    assert len(most) > 8
    assert max(most) <= 4  # the first, the last, the best and the new one
    gc.collect()
    assert list(living) == [found.model]


def test_the_same_model_is_refused_with_and_without_weak_references():
    for model in (KernelRidge().fit(X, Y), Slotted(KernelRidge().fit(X, Y))):
        with pytest.raises(ValueError, match="the same object twice"):
            overt.reweighted(lambda Z, y, model=model: model, X, Y, rounds=1)
    found = overt.reweighted(lambda Z, y: Slotted(KernelRidge().fit(Z, y)), X, Y, rounds=1)
    assert len(found.path_) > 1
