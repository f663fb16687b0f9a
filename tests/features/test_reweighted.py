"""`overt.reweighted` around any learner: what it finds, what it hands on, what it returns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from torch import nn

import overt
from overt.features import reweighting_root
from overt.features.shared import shared_moment
from overt.features.weighting import Weighting

KERNEL = KernelRidge(kernel="rbf", gamma=0.05, alpha=0.1)


def table(seed=0, n=200, d=10, noise=0.1):
    random = np.random.default_rng(seed)
    X = random.standard_normal((n, d))
    clean = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
    return X, clean + noise * random.standard_normal(n), clean


def network(X, y, seed=0, steps=300, weight_decay=3.0):
    """A small network; for labels with a score for each class."""
    outputs = int(y.max()) + 1 if not y.is_floating_point() else y[0].numel()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(X[0].numel(), 32), nn.ReLU(), nn.Linear(32, outputs))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=weight_decay)
    for _ in range(steps):
        found = model(X)
        if y.is_floating_point():
            loss = (found - y.reshape(found.shape)).square().mean()
        else:
            loss = nn.functional.cross_entropy(found, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def tensors(seed=0, **more):
    X, y, _ = table(seed, **more)
    return torch.as_tensor(X, dtype=torch.float32), torch.as_tensor(y, dtype=torch.float32)


# ---- what it finds ---------------------------------------------------------------------------------------


def test_a_kernel_on_axes_finds_the_inputs_that_matter():
    X, y, _ = table()
    found = overt.reweighted(KERNEL, X, y)
    new, _, clean = table(1, n=1000)
    plain = KERNEL.fit(X, y).predict(new)
    assert found.basis_ == "identity"
    assert np.mean((found.predict(new) - clean) ** 2) < 0.4 * np.mean((plain - clean) ** 2)
    assert set(np.argsort(found.M_)[-3:]) == {0, 1, 2}
    assert found.rank_ < 3.5 < found.path_[0].effective_rank
    assert "identity basis" in repr(found)


def test_a_kernel_on_rotated_axes_finds_the_directions():
    X, y, _ = table(n=300)
    Q = np.linalg.qr(np.random.default_rng(2).standard_normal((10, 10)))[0]
    found = overt.reweighted(KERNEL, X @ Q, y, "eigen")
    new, _, clean = table(1, n=1000)
    plain = KERNEL.fit(X @ Q, y).predict(new @ Q)
    assert np.mean((found.predict(new @ Q) - clean) ** 2) < 0.7 * np.mean((plain - clean) ** 2)
    top = np.linalg.eigh(found.M_)[1][:, -3:]
    assert np.linalg.svd(Q[:3] @ top)[1].min() > 0.95


@pytest.mark.slow
def test_noise_is_left_alone_or_changed_little():
    """Errors on new noise of the same size are as before, and most fits stay plain."""
    rounds = []
    for seed in range(12):
        X, _, _ = table(seed, n=100)
        y = np.random.default_rng(seed + 50).standard_normal(100)
        found, plain = (
            overt.reweighted(KERNEL, X, y, "identity", depth, rounds=3, refit=False) for depth in (None, 1)
        )
        new, _, _ = table(seed + 100, n=500)
        rounds.append(found.n_iter_)
        assert 1 + np.mean(found.predict(new) ** 2) < 1.05 * (1 + np.mean(plain.predict(new) ** 2))
    assert np.count_nonzero(rounds) <= 4


def test_the_chosen_round_is_the_best_of_those_that_are_clearly_better():
    X, y, _ = table(n=100)
    for seed in range(3):
        found = overt.reweighted(KERNEL, X, y, seed=seed)
        clear = [p for p in found.path_ if p.gain > p.stderr]
        best = min(clear, key=lambda p: p.validation_error, default=found.path_[0])
        assert (best.basis, best.alpha, best.round) == (found.basis_, found.alpha_, found.n_iter_)
        for p in found.path_:
            assert p.gain == pytest.approx(found.path_[0].validation_error - p.validation_error)


@pytest.mark.parametrize(("spread", "chosen"), [(0.5, 1), (2.0, 0)])
def test_a_gain_within_one_standard_error_is_no_gain(spread, chosen):
    """Differences of losses are 0.1 ± a spread over √40 held-out examples."""
    X, y, _ = table(n=200)
    signs = np.where(np.arange(40) % 2, 1.0, -1.0)
    losses = iter([np.ones(40), 0.9 + spread * signs])
    found = overt.reweighted(KERNEL, X, y, "identity", rounds=1, loss=lambda o, t: next(losses))
    assert found.path_[1].gain == pytest.approx(0.1)
    assert found.path_[1].stderr == pytest.approx(spread * (40 / 39) ** 0.5 / 40**0.5)
    assert found.n_iter_ == chosen


def test_a_path_ends_after_two_rounds_without_a_lower_error():
    X, y, _ = table()
    values = iter([5.0, 4.0, 4.5, 3.0, 3.5, 3.0, 2.0])
    found = overt.reweighted(
        KERNEL, X, y, "identity", rounds=9, loss=lambda o, t: np.full(len(t), next(values))
    )
    assert [p.validation_error for p in found.path_] == [5.0, 4.0, 4.5, 3.0, 3.5, 3.0]
    assert found.n_iter_ == 3


# ---- what is multiplied ----------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", ["eigen", "identity"])
@pytest.mark.parametrize("depth", [1.5, 2, math.inf])
def test_inputs_are_multiplied_by_the_power_of_m_of_the_round_before(basis, depth):
    X, y = tensors()
    seen = []

    def fit(Z, t):
        seen.append((Z, network(Z, t, steps=30)))
        return seen[-1][1]

    found = overt.reweighted(fit, X, y, basis, depth, rounds=1, validation=(X[:50], y[:50]), loss=_falling())
    first = overt.measure(seen[0][1], X, "eigen").factor.double()
    root = reweighting_root(first.mT @ first, 1 - 1 / depth, basis)
    torch.testing.assert_close(seen[1][0], (X.double() @ root).float(), rtol=1e-4, atol=1e-4)
    multiplied = found.root_ if basis == "eigen" else torch.diag(found.root_)
    torch.testing.assert_close(multiplied.double(), root, rtol=1e-4, atol=1e-4)
    assert float(multiplied.double().square().sum()) == pytest.approx(10, rel=1e-5)
    torch.testing.assert_close(found.transform(X), seen[1][0])


def _falling():
    values = iter(range(1000, 0, -1))
    return lambda outputs, y: torch.full((len(y),), float(next(values)))


@pytest.mark.parametrize("basis", ["eigen", "identity"])
def test_m_is_that_of_the_returned_predictor(basis):
    X, y = tensors()
    found = overt.reweighted(network, X, y, basis, rounds=2, validation=(X[:50], y[:50]), loss=_falling())
    spectrum = overt.measure(found.module, X, basis)
    M = spectrum.factor.mT @ spectrum.factor if basis == "eigen" else spectrum.values.square()
    torch.testing.assert_close(found.M_, M, rtol=1e-4, atol=1e-5)
    assert found.rank_ == pytest.approx(spectrum.effective_rank, rel=1e-4)
    assert found.n_iter_ == 2


@pytest.mark.parametrize(
    ("basis", "dims"), [("eigen", None), ("identity", None), ("eigen", -1), ("identity", -1)]
)
@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 3, 4)])
def test_the_module_takes_the_place_of_the_model(basis, dims, shape):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(60, *shape, generator=generator)
    y = X.flatten(1)[:, :1] ** 2

    def fit(Z, t):
        assert Z.shape[1:] == shape
        return network(Z, t, steps=20)

    before = torch.random.get_rng_state()
    found = overt.reweighted(fit, X, y, basis, dims=dims, rounds=1, loss=_falling())
    module = found.module
    assert torch.equal(torch.random.get_rng_state(), before)
    assert isinstance(module, nn.Sequential)
    assert module[1] is found.model
    assert all(p.requires_grad for p in found.model.parameters())
    assert not any(p.requires_grad for p in module[0].parameters())
    torch.testing.assert_close(module(X), found.predict(X))
    torch.testing.assert_close(module(X), found.model(found.transform(X)))
    own = shape if dims is None else shape[-1:]
    size = math.prod(own)
    assert found.root_.shape == found.M_.shape == ((size, size) if basis == "eigen" else own)
    if basis == "eigen" and (dims or len(shape) == 1):
        assert isinstance(module[0], nn.Linear)
        assert module[0].bias is None


def test_shared_weights_are_those_of_the_mean_over_places():
    """M of ``dims`` sums the blocks of the whole M on its diagonal."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(40, 3, 4, generator=generator)
    y = X[:, 0, :1] ** 2
    options = {"validation": (X, y), "rounds": 1, "loss": _falling(), "depth": 1}
    whole = overt.reweighted(network, X, y, "eigen", **options).M_.reshape(3, 4, 3, 4)
    shared = overt.reweighted(network, X, y, "eigen", dims=-1, **options).M_
    torch.testing.assert_close(shared, sum(whole[t, :, t] for t in range(3)), rtol=1e-4, atol=1e-6)
    diagonal = overt.reweighted(network, X, y, "identity", dims=-1, **options).M_
    torch.testing.assert_close(diagonal, shared.diagonal(), rtol=1e-4, atol=1e-6)


def test_shared_weights_by_random_products_have_no_bias():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(2000, 2, 3, generator=generator)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5))
    options = {"outputs": "logits", "max_samples": None, "seed": 0}
    exact = shared_moment(model, X[:1], "eigen", (3,), probes=None, **options)
    drawn = shared_moment(model, X, "eigen", (3,), probes=1, **options)
    assert float((exact - drawn).norm() / exact.norm()) < 0.1
    assert not torch.equal(exact, drawn)


def test_long_sequences_need_no_matrix_of_whole_inputs():
    X = torch.randn(30, 2000, 8, generator=torch.Generator().manual_seed(0))
    y = X[:, :, 0].mean(1, keepdim=True)

    def fit(Z, t):
        model = nn.Sequential(nn.Linear(8, 1), nn.Flatten(), nn.AvgPool1d(2000))
        with torch.no_grad():
            model[0].weight.copy_(torch.arange(8.0)[None])
        return model

    found = overt.reweighted(fit, X, y, "eigen", dims=-1, depth=1)
    slope = torch.arange(8.0) / 2000
    torch.testing.assert_close(found.M_, 2000 * slope[:, None] * slope, rtol=1e-4, atol=1e-9)


def test_a_large_image_has_no_square_matrix_in_the_identity_basis():
    weighting = Weighting.of(torch.rand(3, 300, 300, dtype=torch.float64), 1.0, "identity", (3, 300, 300))
    assert weighting.root.shape == (3, 300, 300)
    assert float(weighting.root.square().mean()) == pytest.approx(1)


def test_rounds_of_depth_one_are_none():
    X, y, _ = table()
    found = overt.reweighted(KERNEL, X, y, depth=1)
    assert len(found.path_) == 1
    assert found.n_iter_ == found.alpha_ == 0
    assert found.basis_ is None
    np.testing.assert_array_equal(found.root_, np.eye(10))
    np.testing.assert_array_equal(found.transform(X), X)


def test_a_constant_function_ends_in_round_0():
    X, y = tensors()

    def fit(Z, t):
        model = nn.Linear(10, 1)
        with torch.no_grad():
            model.weight.zero_()
        return model

    found = overt.reweighted(fit, X, y)
    assert len(found.path_) == 1
    assert found.n_iter_ == 0
    assert found.rank_ == 0
    assert not found.M_.any()
    assert found.module is found.model
    assert overt.reweighted(KernelRidge(alpha=1e20), X.numpy() * 0 + 1, y.numpy()).rank_ == 0


# ---- learners --------------------------------------------------------------------------------------------


def test_seeds_generators_and_held_out_examples_are_handed_on():
    X, y = tensors()
    seen = []

    def fit(Z, t, seed, generator, validation):
        seen.append((seed, torch.rand(1, generator=generator).item(), validation))
        return network(Z, t, seed, steps=10)

    found = overt.reweighted(fit, X, y, "eigen", 2, rounds=1, seed=5)
    assert len(seen) == len(found.path_) == 2
    assert {s[0] for s in seen} == {5}
    assert seen[0][1] == seen[1][1]
    assert [s[2][0].shape for s in seen] == [(40, 10)] * 2
    assert not torch.allclose(seen[0][2][0], seen[1][2][0])
    torch.testing.assert_close(seen[0][2][1], seen[1][2][1])


def test_the_same_seed_gives_the_same_bits():
    X, y = tensors()
    one, other = (overt.reweighted(network, X, y, rounds=1, seed=3) for _ in range(2))
    assert one.path_ == other.path_
    assert torch.equal(one.predict(X), other.predict(X))
    assert overt.reweighted(network, X, y, "identity", rounds=1, seed=4).path_[:1] != one.path_[:1]


def test_a_random_state_that_is_open_becomes_the_seed():
    from sklearn.neural_network import MLPRegressor

    X, y, _ = table(n=60)
    scaled = make_pipeline(StandardScaler(), MLPRegressor(solver="lbfgs", tol=1.0, hidden_layer_sizes=(4,)))
    with pytest.warns(UserWarning, match="does not feel the scale"):
        found = overt.reweighted(scaled, X, y, "identity", rounds=1, seed=7)
    assert found.model[1].random_state == 7
    assert scaled[1].random_state is None
    assert not hasattr(scaled[1], "coefs_")


def test_arrays_tensors_and_lists_give_the_same():
    X, y, _ = table(n=80)
    found = [
        overt.reweighted(KERNEL, *pair, rounds=2)
        for pair in ((X, y), (torch.as_tensor(X), torch.as_tensor(y)))
    ]
    assert found[0].path_ == found[1].path_
    assert isinstance(found[0].predict(X.tolist()), np.ndarray)
    assert isinstance(found[1].predict(torch.as_tensor(X)), torch.Tensor)
    np.testing.assert_array_equal(found[0].predict(X), found[1].predict(torch.as_tensor(X)).numpy())
    frame = pytest.importorskip("pandas").DataFrame(X)
    assert overt.reweighted(KERNEL, frame, y, rounds=2).path_ == found[0].path_


def test_a_function_may_return_an_estimator_or_a_function():
    X, y, _ = table(n=80)
    one = overt.reweighted(lambda Z, t: SVR().fit(Z, t), X, y, rounds=1)
    assert one.path_ == overt.reweighted(SVR(), X, y, rounds=1).path_
    with pytest.raises(AttributeError, match="no torch module"):
        one.module  # noqa: B018

    def linear(Z, t):
        w = torch.linalg.pinv(Z) @ t
        return lambda x: (x @ w)[:, None]

    other = overt.reweighted(linear, torch.as_tensor(X), torch.as_tensor(y), "eigen")
    assert other.path_[0].effective_rank == pytest.approx(1, abs=1e-4)
    with pytest.raises(AttributeError, match="returned a function"):
        other.module  # noqa: B018


def test_a_network_of_arrays():
    X, y, _ = table()

    def fit(Z, t):
        assert isinstance(Z, np.ndarray)
        return network(torch.as_tensor(Z, dtype=torch.float32), torch.as_tensor(t, dtype=torch.float32))

    found = overt.reweighted(fit, X, y, rounds=1)
    assert isinstance(found.predict(X), np.ndarray)
    assert found.predict(X).shape == (200, 1)


def test_labels_of_networks_and_classifiers():
    X, y = tensors()
    labels = (y > 0).long()
    found = overt.reweighted(network, X, labels, "identity", rounds=1)
    assert found.predict(X).shape == (200, 2)
    new, truth = (part[:50] for part in tensors(1))
    known = (truth > 0).long()
    losses = {}
    for loss in ("auto", "cross_entropy", "error"):
        plain = overt.reweighted(network, X, labels, depth=1, loss=loss, validation=(new, known))
        losses[loss] = plain.path_[0].validation_error
    scores = plain.predict(new)
    assert losses["error"] == pytest.approx(float((scores.argmax(1) != known).double().mean()))
    assert losses["auto"] == losses["cross_entropy"]
    assert losses["auto"] == pytest.approx(float(nn.functional.cross_entropy(scores, known)), rel=1e-5)
    words = np.array(["no", "yes"])[labels.numpy()]
    other = overt.reweighted(LogisticRegression(), X.numpy(), words, rounds=2)
    assert set(other.predict(X.numpy())) <= {"no", "yes"}
    assert other.model.predict_proba(other.transform(X.numpy())).shape == (200, 2)


def test_a_model_is_left_in_its_mode():
    X, y = tensors()

    def fit(Z, t):
        model = nn.Sequential(nn.Linear(10, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 1))
        return model.train()

    found = overt.reweighted(fit, X, y, rounds=1)
    assert found.model.training
    assert torch.equal(found.predict(X), found.predict(X))


def test_the_sketch_finds_about_the_same():
    X, y = tensors()
    labels = (y > 0).long()
    options = {"basis": "identity", "rounds": 1, "loss": _falling()}
    exact = overt.reweighted(network, X, labels, **options)
    sketched = overt.reweighted(network, X, labels, method="sketch", probes=1, max_samples=100, **options)
    assert not torch.equal(exact.M_, sketched.M_)
    assert float((exact.root_ - sketched.root_).abs().max()) < 0.5


def test_refits():
    """By default where held-out examples come from X, and the learner does not stop early by them."""
    X, y, _ = table()
    sizes = []

    def fit(Z, t):
        sizes.append(len(Z))
        return SVR().fit(Z, t)

    def early(Z, t, validation):
        return fit(Z, t)

    overt.reweighted(fit, X, y, "identity", rounds=1)
    overt.reweighted(fit, X, y, "identity", rounds=1, refit=False)
    overt.reweighted(fit, X, y, "identity", rounds=1, validation=(X[:20], y[:20]))
    overt.reweighted(early, X, y, "identity", rounds=1)
    assert sizes == [160, 160, 200, 160, 160, 200, 200, 160, 160]


def test_labels_are_held_out_by_strata():
    X, _, _ = table()
    y = np.repeat([0, 1], [180, 20])
    seen = []

    def fit(Z, t):
        seen.append(t)
        return LogisticRegression().fit(Z, t)

    overt.reweighted(fit, X, y, "identity", rounds=1, refit=False)
    assert seen[0].sum() == 16


# ---- pictures and names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", ["auto", "identity", "eigen"])
def test_pictures(basis):
    pytest.importorskip("matplotlib").use("Agg")
    X, y, _ = table()
    found = overt.reweighted(KERNEL, X, y, basis, rounds=2)
    bars = found.plot(most=3)
    assert {text.get_text() for text in bars.get_yticklabels()} == {"x0", "x1", "x2"}
    assert sum(bar.get_width() for bar in found.plot(most=99).patches) == pytest.approx(1)
    errors = found.plot(kind="path")
    paths = {(p.basis, p.alpha) for p in found.path_ if p.round}
    assert len(errors.containers) == len(paths)
    (marked,) = [one for one in errors.collections if one.get_label() == "chosen"]
    assert tuple(marked.get_offsets()[0]) == pytest.approx((found.n_iter_, found._chosen.validation_error))
    with pytest.raises(ValueError, match="kind must be"):
        found.plot(kind="all")
    with pytest.raises(ValueError, match="most must be"):
        found.plot(most=0)


@pytest.mark.parametrize(
    ("basis", "dims", "shape"),
    [
        ("identity", None, (3, 5)),
        ("identity", None, (2, 3, 5)),
        ("eigen", None, (3, 5)),
        ("identity", -1, (5,)),
        ("eigen", -1, (5,)),
    ],
)
def test_pictures_of_images_and_of_what_is_shared(basis, dims, shape):
    pytest.importorskip("matplotlib").use("Agg")
    X = torch.randn(60, *(shape if len(shape) > 1 else (3, 5)), generator=torch.Generator().manual_seed(0))

    def fit(Z, t):
        model = nn.Sequential(nn.Flatten(), nn.Linear(Z[0].numel(), 1, bias=False))
        with torch.no_grad():
            model[1].weight.copy_(torch.arange(float(Z[0].numel()))[None])
        return model

    ax = overt.reweighted(fit, X, X.flatten(1)[:, :1], basis, dims=dims, depth=1).plot()
    squares = torch.arange(float(X[0].numel())).square().reshape(X.shape[1:])
    shares = squares / squares.sum()
    if len(shape) == 1:
        widths = [bar.get_width() for bar in ax.patches][::-1]
        np.testing.assert_allclose(widths, np.sort(shares.sum(0))[::-1], rtol=1e-4)
    else:
        np.testing.assert_allclose(ax.images[0].get_array(), shares.reshape(-1, 3, 5).sum(0), rtol=1e-4)


def test_the_picture_of_a_constant_function_is_empty():
    pytest.importorskip("matplotlib").use("Agg")
    found = overt.reweighted(KernelRidge(alpha=1e20), np.ones((20, 3)), np.ones(20))
    assert [bar.get_width() for bar in found.plot().patches] == [0, 0, 0]
    assert found.plot(kind="path").get_xlabel() == "round"


def test_names_of_columns_are_kept_and_compared():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    pytest.importorskip("matplotlib").use("Agg")
    X, y, _ = table(n=80)
    frame = pd.DataFrame(X, columns=list("abcdefghij"))
    found = overt.reweighted(KERNEL, frame, y, "identity", rounds=1)
    assert {text.get_text() for text in found.plot(most=99).get_yticklabels()} == set("abcdefghij")
    expected = found.predict(X)
    for same in (frame, pl.DataFrame(frame.to_dict("list"))):
        np.testing.assert_array_equal(found.predict(same), expected)
    for other in (frame[list("bacdefghij")], frame.rename(columns={"a": "z"})):
        for call in (found.predict, found.transform):
            with pytest.raises(ValueError, match="X: the fit had the columns"):
                call(other)


# ---- failures --------------------------------------------------------------------------------------------


def test_a_later_round_that_diverges_ends_the_path():
    X, y = tensors()
    calls = []

    def fit(Z, t):
        calls.append(1)
        model = network(Z, t, steps=20)
        if len(calls) == 3:
            with torch.no_grad():
                model[-1].bias.fill_(torch.nan)
        return model

    with pytest.warns(UserWarning, match="round 2 .identity basis.: the learner diverges"):
        found = overt.reweighted(fit, X, y, "identity", refit=False)
    assert [p.round for p in found.path_] == [0, 1]
    assert torch.isfinite(found.predict(X)).all()


def test_a_learner_that_standardizes_is_told():
    X, y, _ = table()
    with pytest.warns(UserWarning, match="does not feel the scale of its inputs"):
        overt.reweighted(make_pipeline(StandardScaler(), SVR()), X, y, "identity")


def _nan(X, y):
    model = nn.Linear(10, 1)
    with torch.no_grad():
        model.bias.fill_(torch.nan)
    return model


SAME = nn.Linear(10, 1)
T, U = tensors(n=20)
A, B = T.numpy(), U.numpy()
REFUSED = {
    "no learner": ((3, T, U), {}, TypeError, "fit must be a function fit"),
    "a model": ((SAME, T, U), {}, TypeError, "fit must be a function fit.*trains a model and returns it"),
    "a class": ((SVR, A, B), {}, TypeError, "got the class SVR"),
    "a transformer": ((StandardScaler(), A, B), {}, TypeError, "an estimator that predicts"),
    "no model": ((lambda X, y: None, T, U), {}, TypeError, "the fitted model, got None; return the model"),
    "the same model": ((lambda X, y: SAME, T, U), {"depth": 2}, ValueError, "the same object twice"),
    "NaN": ((_nan, T, U), {}, ValueError, "NaN or infinite on the held-out"),
    "a tuple": (
        (lambda X, y: lambda x: (x, x), T, U),
        {},
        TypeError,
        "outputs of the model must be a tensor",
    ),
    "targets": ((network, T, U[:-1]), {}, ValueError, "y must have one entry for each of the 20 inputs"),
    "no targets": ((network, T, None), {}, TypeError, "y must be one target for each input, got None"),
    "NaN targets": ((SVR(), A, B * np.nan), {}, ValueError, "y: 20 of 20 targets are NaN or infinite"),
    "words for a network": (
        (lambda X, y: nn.Linear(10, 2), T, ["a", "b"] * 10),
        {},
        TypeError,
        "y must be numbers for a torch model",
    ),
    "no date": (
        (SVR(), A, np.full(20, np.datetime64("2020-01-01"))),
        {},
        TypeError,
        "y must hold real numbers",
    ),
    "infinite targets": (
        (SVR(), A, np.full(20, np.inf)),
        {},
        ValueError,
        "20 of 20 targets are NaN or infinite",
    ),
    "no word": ((LogisticRegression(), A, ["a"] * 19 + [None]), {}, ValueError, "1 of 20 targets are NaN"),
    "sparse inputs": ((SVR(), sparse.csr_array(A), B), {}, TypeError, "X must be a dense array"),
    "a sparse tensor": ((network, T.to_sparse(), U), {}, TypeError, "X must be a dense tensor"),
    "NaN inputs": ((SVR(), A * np.nan, B), {}, ValueError, "X: 200 of 200 entries are NaN.*MatrixCompletion"),
    "a vector": ((SVR(), B, B), {}, ValueError, r"X must be a batch \(n, …\).*shape \(20,\)"),
    "words": ((SVR(), np.full((20, 2), "a"), B), {}, TypeError, "X must hold real numbers"),
    "tokens": ((network, T.long(), U), {}, TypeError, "give their embeddings"),
    "several targets": (
        (KNeighborsClassifier(), A, np.stack([B > 0, B > 1], 1)),
        {},
        ValueError,
        "several targets at once is not supported",
    ),
    "shapes": (
        (lambda X, y: nn.Linear(10, 3), T, U),
        {},
        ValueError,
        r"outputs \(4, 3\) do not fit .* \(4,\)",
    ),
    "basis": ((SVR(), A, B), {"basis": "fourier"}, ValueError, "basis must be 'auto', 'eigen' or 'identity'"),
    "depth": ((SVR(), A, B), {"depth": 0.5}, ValueError, "depth must be a number ≥ 1"),
    "rounds": ((SVR(), A, B), {"rounds": 0}, ValueError, "rounds must be an integer ≥ 1"),
    "share": ((SVR(), A, B), {"validation": 1.0}, ValueError, r"validation must be a number in \(0, 1\)"),
    "no fit left": ((SVR(), A[:3], B[:3]), {}, ValueError, "leaves fewer than two to fit"),
    "a triple": ((SVR(), A, B), {"validation": (A, B, B)}, ValueError, r"a share or a pair"),
    "other inputs": ((SVR(), A, B), {"validation": (A[:, :3], B)}, ValueError, "its inputs must be like X"),
    "one left": ((SVR(), A, B), {"validation": (A[:1], B[:1])}, ValueError, "two examples or more"),
    "loss": ((SVR(), A, B), {"loss": "l1"}, ValueError, "loss must be 'auto'"),
    "loss of scores": ((SVR(), A, B), {"loss": "cross_entropy"}, ValueError, "needs outputs .n, classes."),
    "mean loss": ((SVR(), A, B), {"loss": lambda o, y: 1.0}, ValueError, "one number for each of the 4"),
    "dims": ((SVR(), A, B), {"dims": -2}, ValueError, "dims must be the last of 1 dimensions"),
    "kind of dims": ((SVR(), A, B), {"dims": "last"}, TypeError, "dims must be integers"),
    "method": ((network, T, U), {"method": "lanczos"}, ValueError, "method must be 'exact' or 'sketch'"),
    "outputs": ((network, T, U), {"outputs": "margin"}, ValueError, "outputs must be 'logits'"),
    "refit": (
        (SVR(), A, B),
        {"validation": (A, B), "refit": True},
        ValueError,
        "refit=True adds what was held",
    ),
    "early": (
        (lambda X, y, validation: 1, A, B),
        {"refit": True},
        ValueError,
        "nothing for fit to stop early by",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    arguments, options, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words) as caught:
        overt.reweighted(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_a_result_refuses_other_inputs():
    X, y, _ = table()
    found = overt.reweighted(SVR(), X, y, rounds=1)
    for call in (found.predict, found.transform):
        with pytest.raises(ValueError, match=r"inputs of shape \(10,\), got \(9,\)"):
            call(X[:, :9])
