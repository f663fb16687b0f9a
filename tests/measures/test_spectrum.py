"""The Spectrum: what is read from it, other bases, comparison with data, files and pictures."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from measured_models import cnn, drawn, gaussian, mlp, orthogonal
from torch import nn

from overt import functional as F
from overt.measures import Spectrum, measure


def test_numbers_are_those_of_the_functionals():
    values = torch.tensor([4.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    s = Spectrum(values)
    for name in ("effective_rank", "normalized_nuclear_norm", "participation_ratio", "stable_rank"):
        assert getattr(s, name) == pytest.approx(getattr(F, name)(singular_values=values).item())
    assert s.cost(1) == 7
    assert s.cost(2) == s.trace == 21
    assert s.cost(0.5) == pytest.approx(2 + 2**0.5 + 1)


def test_it_is_frozen_sorted_in_the_eigenbasis_only_and_detached():
    stderr = torch.tensor([0.1, 0.2])
    s = Spectrum(torch.tensor([1.0, 2.0], requires_grad=True), stderr=stderr)
    assert s.values.tolist() == [2, 1]
    assert torch.equal(s.stderr, stderr.flip(0))
    bounds = Spectrum(
        torch.tensor([1.0, 2.0]), lower=torch.tensor([0.5, 0.7]), upper=torch.tensor([3.0, 2.0])
    )
    assert bounds.values.tolist() == [2, 1]
    assert bounds.upper.tolist() == [3, 2]
    assert torch.equal(bounds.lower, torch.tensor([0.5, 0.7]))
    assert not s.values.requires_grad
    with pytest.raises(FrozenInstanceError):
        s.values = stderr
    assert Spectrum(torch.tensor([1.0, 2.0]), basis="fourier").values.tolist() == [1, 2]
    assert "k=2, basis='fourier'" in repr(Spectrum(torch.tensor([1.0, 2.0]), basis="fourier"))


def test_wrong_values_are_refused():
    for values, error, message in (
        ([1.0], TypeError, "values must be a torch.Tensor"),
        (torch.tensor([-1.0]), ValueError, "values must not be negative"),
        (torch.tensor([torch.nan]), ValueError, "NaN or infinite"),
        (torch.ones(2, 2), ValueError, r"shape \(k,\)"),
        (torch.ones(0), ValueError, "k > 0"),
    ):
        with pytest.raises(error, match=message):
            Spectrum(values)
    with pytest.raises(ValueError, match="stderr must have the shape of values"):
        Spectrum(torch.ones(2), stderr=torch.ones(3))
    for p, error in (
        (0, ValueError),
        (-1, ValueError),
        (torch.inf, ValueError),
        ("1", TypeError),
        (True, TypeError),
    ):
        with pytest.raises(error, match="p must be a finite number > 0"):
            Spectrum(torch.ones(2)).cost(p)


@pytest.mark.slow
@given(seed=st.integers(0, 10_000), p=st.sampled_from([0.5, 2 / 3, 1.0, 1.5]))
def test_alignment_is_at_most_one_and_one_in_the_eigenbasis(seed, p):
    s = measure(mlp(seed=seed), gaussian(4, 6, seed=seed))
    for basis in ("identity", "fourier", "dct", orthogonal(6, seed=seed)):
        assert 0 < s.alignment(basis, p) <= 1 + 1e-12
    vectors = torch.linalg.svd(s.factor)[2]
    assert s.alignment(vectors, p) == pytest.approx(1, abs=1e-9)
    assert s.alignment("fourier", 2) == pytest.approx(1)


def test_the_alignment_of_a_sketch_is_that_of_one_and_the_same_matrix():
    """Its values are corrected for bias, its factor is not: only one of them gives a ratio up to 1."""
    s = measure(mlp(n_out=30), gaussian(4, 6), method="sketch", probes=2)
    vectors = torch.linalg.svd(s.factor)[2]
    assert s.alignment(vectors) == pytest.approx(1, abs=1e-6)
    assert s.cost(1) / s.in_basis(vectors).cost(1) != pytest.approx(1, abs=1e-3)


def rank_two(dtype, depth=10, n=50):
    """A deep linear network of orthogonal layers, with two singular values of 1 and zeros."""
    layers = [orthogonal(n, seed=seed) for seed in range(depth)]
    layers[depth // 2][:, 2:] = 0
    return chain(layers, dtype)


def chain(layers, dtype):
    model = nn.Sequential(*(nn.Linear(*W.T.shape, bias=False, dtype=dtype) for W in layers))
    with torch.no_grad():
        for layer, W in zip(model, layers, strict=True):
            layer.weight.copy_(W)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_does_not_count_however_small_p_is(dtype):
    model, x = rank_two(dtype), gaussian(3, 50, dtype=dtype)
    s = measure(model, x)
    for p in (0.05, 0.2, 1.0):
        assert s.cost(p) == pytest.approx(2, rel=1e-4)
        assert s.alignment("fourier", p) == pytest.approx(2 / s.in_basis("fourier").cost(p), rel=1e-4)
    expected = measure(rank_two(torch.float64), x.double()).alignment("fourier", 0.2)
    assert s.alignment("fourier", 0.2) == pytest.approx(expected, rel=1e-3)
    # In a fixed basis too: a filter of two frequencies, one of them conjugate to the other.
    t = torch.arange(64, dtype=torch.float64)
    taps = torch.cos(2 * torch.pi * 5 * t / 64).to(dtype)
    rows = torch.stack([taps.roll(shift) for shift in range(64)])
    filtered = measure(chain([rows], dtype), gaussian(2, 64, dtype=dtype), "fourier")
    assert filtered.cost(0.2) == pytest.approx(2 * 32**0.2, rel=1e-4)


def test_small_values_above_rounding_count():
    values = torch.tensor([1.0, 1e-5, 1e-7], dtype=torch.float32)
    assert Spectrum(values).cost(0.5) == pytest.approx(1 + 1e-5**0.5, rel=1e-6)
    assert Spectrum(values.double()).cost(0.5) == pytest.approx(float(values.double().sqrt().sum()))


def test_a_map_that_is_zero_is_aligned_with_every_basis():
    zero = nn.Linear(4, 3).double()
    torch.nn.init.zeros_(zero.weight)
    for options in ({}, {"method": "sketch", "probes": 2}, {"method": "lanczos", "k": 2}):
        s = measure(zero, gaussian(5, 4), **options)
        assert s.alignment("fourier") == 1
        assert s.cost(0.2) == 0


def test_every_basis_has_the_same_trace():
    model, x = mlp(n_in=12, n_out=30), gaussian(4, 12)
    exact = measure(model, x)
    sketch = measure(model, x, method="sketch", probes=2)
    lanczos = measure(model, x, method="lanczos", k=3)
    assert sketch.tail > 0
    assert lanczos.tail > 0
    for s in (exact, sketch, lanczos):
        for basis in ("fourier", "identity", orthogonal(12), "eigen"):
            assert s.in_basis(basis).trace == pytest.approx(s.trace, rel=1e-12)
        turned = s.in_basis(orthogonal(12)[:3]).in_basis("fourier")
        assert turned.trace == pytest.approx(s.trace, rel=1e-12)
    assert sketch.in_basis("fourier").tail == pytest.approx(0, abs=1e-12 * sketch.trace)


def test_lanczos_that_has_not_converged_warns_where_it_was_called():
    model = drawn(nn.Linear(400, 400, bias=False))
    with pytest.warns(RuntimeWarning, match="residuals reach .* than k=1, or accept a larger") as caught:
        measure(model, gaussian(1, 400), method="lanczos", k=1, tolerance=1e-14)
    assert [warning.filename for warning in caught] == [__file__]


def test_the_alignment_of_a_part_says_so():
    model, x = mlp(n_in=12, n_out=30), gaussian(4, 12)
    part = measure(model, x, method="lanczos", k=3)
    with pytest.warns(RuntimeWarning, match=r"alignment: 0\.\d+ of the trace of M is not in this spectrum"):
        part.alignment("fourier")
    # The rest is estimated without differences of large numbers: nothing is missing here.
    whole = measure(mlp(n_in=12, n_out=3, hidden=3), x, method="lanczos", k=4, tolerance=1e-12)
    assert whole.tail <= 1e-20 * whole.trace
    expected = measure(mlp(n_in=12, n_out=3, hidden=3), x).alignment("fourier")
    assert whole.alignment("fourier") == pytest.approx(expected)
    assert measure(model, x, method="sketch", probes=2).alignment("fourier") < 1


def test_another_basis_from_the_factor_is_what_a_measurement_there_gives():
    model, x = cnn(), gaussian(4, 2, 8, 8)
    s = measure(model, x)
    for basis in ("identity", "fourier", "dct", "haar"):
        assert torch.allclose(s.in_basis(basis).values, measure(model, x, basis).values, rtol=1e-10)
    assert torch.allclose(
        s.in_basis("fourier", dims=[0]).values, measure(model, x, "fourier", dims=[0]).values
    )
    assert torch.allclose(s.in_basis("fourier").in_basis("eigen").values, s.values, atol=1e-13)


def test_alignment_says_what_it_needs():
    s = measure(mlp(), gaussian(4, 6))
    with pytest.raises(ValueError, match="name a basis such as 'fourier'"):
        s.alignment()
    with pytest.raises(ValueError, match="complete basis"):
        s.alignment(orthogonal(6)[:3])
    for other in (Spectrum(torch.ones(3)), measure(mlp(), gaussian(4, 6), "fourier")):
        with pytest.raises(ValueError, match=r"has values only.*basis='eigen'"):
            other.alignment("fourier")


SPECTRA = {
    "eigen": lambda: measure(mlp(n_out=30), gaussian(6, 6), method="sketch", probes=4),
    "fourier": lambda: measure(
        cnn(dtype=torch.float32), gaussian(3, 2, 8, 8, dtype=torch.float32), "fourier"
    ),
    "matrix": lambda: measure(mlp(), gaussian(3, 6), orthogonal(6)),
    "bare": lambda: Spectrum(torch.tensor([0.1, 1e-300], dtype=torch.float64)),
    "half matrix": lambda: measure(mlp(), gaussian(3, 6), orthogonal(6).bfloat16()),
    "complex matrix": lambda: measure(
        mlp(), gaussian(3, 6), torch.fft.fft(torch.eye(6, dtype=torch.float64), norm="ortho")
    ),
    "half": lambda: Spectrum(torch.tensor([0.1, 0.2], dtype=torch.bfloat16)),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_files_hold_every_digit(tmp_path, name, suffix):
    spectrum = SPECTRA[name]()
    path = tmp_path / f"spectrum.{suffix}"
    spectrum.save(path)
    found = Spectrum.load(path)
    for field in ("values", "stderr", "lower", "upper", "factor"):
        before, after = getattr(spectrum, field), getattr(found, field)
        if before is None or (field == "factor" and suffix == "json"):
            assert after is None
        else:
            assert torch.equal(before.to(after.dtype), after)
            assert before.dtype in (after.dtype, torch.bfloat16)
    for field in (
        "n_samples",
        "n_probes",
        "method",
        "covers",
        "input_shape",
        "dims",
        "tail",
        "trace_squared",
    ):
        assert getattr(spectrum, field) == getattr(found, field)
    if isinstance(spectrum.basis, str):
        assert found.basis == spectrum.basis
    elif suffix == "npz":
        assert torch.equal(found.basis, spectrum.basis)
        assert found.basis.dtype == spectrum.basis.dtype
        assert found.compare(gaussian(5, 6)).cosine > 0
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix == "npz" and spectrum.factor is not None:
        assert found.alignment("dct") == spectrum.alignment("dct")


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.npz or \.json, got 'a\.pt'"):
        Spectrum(torch.ones(1)).save(tmp_path / "a.pt")
    (tmp_path / "a.json").write_text("{}")
    np.savez(tmp_path / "a.npz", x=np.ones(2))
    for name in ("a.json", "a.npz"):
        with pytest.raises(ValueError, match="holds no spectrum"):
            Spectrum.load(tmp_path / name)
    np.savez(tmp_path / "b.npz", meta=np.array([{"evil": 1}], dtype=object))
    with pytest.raises(ValueError, match="holds no spectrum"):
        Spectrum.load(tmp_path / "b.npz")
    Spectrum(torch.ones(1)).save(tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text())
    (tmp_path / "c.json").write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(ValueError, match="newer"):
        Spectrum.load(tmp_path / "c.json")
    with pytest.raises(FileNotFoundError):
        Spectrum.load(tmp_path / "none.npz")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "s.npz"
    Spectrum(torch.ones(1)).save(path)
    before = path.read_bytes()

    def broken(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(OSError, match="disk full"):
        Spectrum(torch.zeros(1)).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["s.npz"]


@pytest.fixture
def axes():
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    return Figure().subplots()


def test_an_eigen_spectrum_is_drawn_as_a_curve(axes):
    s = SPECTRA["eigen"]()
    assert s.plot(axes, label="net") is axes
    (line,) = axes.lines
    assert np.allclose(line.get_ydata(), s.values)
    assert axes.get_yscale() == "log"
    assert len(axes.collections) == 1
    axes.figure.canvas.draw()


def test_a_fourier_spectrum_of_images_is_drawn_with_frequency_0_in_the_middle(axes):
    s = SPECTRA["fourier"]()
    s.plot(axes)
    picture = axes.images[0].get_array()
    assert picture.shape == (8, 8)
    squares = s.values.double().square().reshape(2, 8, 8).mean(0)
    assert picture[4, 4] == pytest.approx(squares[0, 0].sqrt().item())
    left, _, _, top = axes.images[0].get_extent()
    assert left + 4.5 == 0
    assert top + 4.5 == 0
    axes.figure.canvas.draw()


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0, 0.0], [2.0, 2.0]])
def test_degenerate_spectra_are_drawn(axes, values):
    Spectrum(torch.tensor(values), stderr=torch.ones(2)).plot(axes)
    axes.figure.canvas.draw()


def test_a_constant_picture_is_drawn(axes):
    Spectrum(torch.ones(4), basis="fourier", input_shape=(2, 2), dims=(0, 1)).plot(axes)
    axes.figure.canvas.draw()


def test_a_figure_is_made_where_none_is_given(axes):
    from matplotlib import pyplot

    ax = Spectrum(torch.ones(3), basis="identity").plot()
    assert ax.get_ylabel() == "sensitivity"
    pyplot.close(ax.figure)
