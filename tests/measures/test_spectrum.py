"""The Spectrum: what is read from it, other bases, comparison with data, files and pictures."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from measured_models import cnn, gaussian, mlp, orthogonal

from overt import functional as F
from overt.measures import Spectrum, compare, data_spectrum, measure
from overt.models import DeepLinear


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
    assert not s.values.requires_grad
    with pytest.raises(FrozenInstanceError):
        s.values = stderr
    assert Spectrum(torch.tensor([1.0, 2.0]), basis="fourier").values.tolist() == [1, 2]
    assert "k=2, basis='fourier'" in repr(Spectrum(torch.tensor([1.0, 2.0]), basis="fourier"))


def test_wrong_values_are_refused():
    for values, error, message in (
        ([1.0], TypeError, "values: expected a torch.Tensor"),
        (torch.tensor([-1.0]), ValueError, "singular values are not negative"),
        (torch.tensor([torch.nan]), ValueError, "NaN or infinite"),
        (torch.ones(2, 2), ValueError, r"expected shape \(k,\)"),
        (torch.ones(0), ValueError, "k > 0"),
    ):
        with pytest.raises(error, match=message):
            Spectrum(values)
    with pytest.raises(ValueError, match="stderr: expected a tensor of the shape of values"):
        Spectrum(torch.ones(2), stderr=torch.ones(3))
    for p in (0, -1, torch.inf, "1", True):
        with pytest.raises(ValueError, match="p: expected a finite number above 0"):
            Spectrum(torch.ones(2)).cost(p)


@given(seed=st.integers(0, 10_000), p=st.sampled_from([0.5, 2 / 3, 1.0, 1.5]))
def test_alignment_is_at_most_one_and_one_in_the_eigenbasis(seed, p):
    s = measure(mlp(seed=seed), gaussian(4, 6, seed=seed))
    for basis in ("identity", "fourier", "dct", orthogonal(6, seed=seed)):
        assert 0 < s.alignment(basis, p) <= 1 + 1e-12
    vectors = torch.linalg.svd(s.factor)[2]
    # Rounding of zero eigenvalues, some 1e-16 σ₁, counts for more the smaller p is.
    assert s.alignment(vectors, p) == pytest.approx(1, abs=1e-6)
    assert s.alignment("fourier", 2) == pytest.approx(1)


def test_the_alignment_of_a_sketch_is_that_of_one_and_the_same_matrix():
    """Its values are corrected for bias, its factor is not: only one of them gives a ratio up to 1."""
    s = measure(mlp(n_out=30), gaussian(4, 6), method="sketch", probes=2)
    vectors = torch.linalg.svd(s.factor)[2]
    assert s.alignment(vectors) == pytest.approx(1, abs=1e-6)
    assert s.cost(1) / s.in_basis(vectors).cost(1) != pytest.approx(1, abs=1e-3)


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
        with pytest.raises(ValueError, match=r"keeps values alone.*basis='eigen'"):
            other.alignment("fourier")


def test_comparison_with_the_data():
    n = 4000
    x = gaussian(n, 5) * torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    model = DeepLinear((5, 5), seed=0, dtype=torch.float64)
    for diagonal, rank, cosine in (([5, 4, 3, 2, 1], 1.0, 0.99), ([1, 2, 3, 4, 5], -1.0, 0.6)):
        with torch.no_grad():
            model.weights[0].copy_(torch.diag(torch.tensor(diagonal, dtype=torch.float64)))
        for basis in ("identity", "eigen"):
            found = measure(model, x[:2], basis).compare(x)
            assert found.rank_correlation == pytest.approx(rank)
            assert (found.cosine > cosine) == (rank == 1.0)
    found = compare(measure(model, x[:2], "fourier"), list(x.split(1000)))
    centred = x - x.mean(0)
    expected = torch.fft.fft(centred, norm="ortho").abs().square().mean(0).sqrt()
    assert torch.allclose(found.data, expected)
    assert found.data_effective_rank == pytest.approx(F.effective_rank(singular_values=expected).item())
    assert not torch.allclose(
        compare(measure(model, x[:2], "identity"), x + 9, center=False).data, found.data
    )


def test_ties_share_their_rank():
    x = gaussian(50, 6)
    s = Spectrum(torch.tensor([1.0, 2.0, 2.0, 2.0, 3.0, 3.0], dtype=torch.float64), basis="identity")
    found = s.compare(x)
    assert found.rank_correlation == pytest.approx(scipy.stats.spearmanr(s.values, found.data).statistic)
    assert math.isnan(Spectrum(torch.ones(6), basis="identity").compare(x).rank_correlation)


def test_comparison_refuses_other_inputs_and_missing_eigenvectors():
    s = measure(mlp(), gaussian(4, 6), "identity")
    with pytest.raises(ValueError, match="5 coefficients; the spectrum has 6"):
        s.compare(gaussian(4, 5))
    with pytest.raises(ValueError, match="no eigenvectors"):
        Spectrum(torch.ones(6)).compare(gaussian(4, 6))


def test_the_spectrum_of_data_is_that_of_its_covariance():
    x = gaussian(200, 4, 4) + 3
    flat = x.flatten(1)
    C = torch.cov(flat.T, correction=0)
    assert torch.allclose(data_spectrum(x).values.square(), torch.linalg.eigvalsh(C).flip(0))
    assert torch.allclose(data_spectrum(x, "identity").values.square(), C.diagonal())
    moments = data_spectrum(x, center=False)
    assert torch.allclose(moments.values.square(), torch.linalg.eigvalsh(flat.T @ flat / 200).flip(0))
    assert data_spectrum(x, "fourier", max_samples=50).n_samples == 50
    # Stationary data is diagonal in the Fourier basis; noise in each pixel is nearly so in every basis.
    smooth = torch.fft.ifft2(
        torch.fft.fft2(gaussian(5000, 4, 4)) * torch.tensor([3.0, 1, 0.1, 1]).double()
    ).real
    assert data_spectrum(smooth).alignment("fourier") > 0.98 > data_spectrum(smooth).alignment("identity")


SPECTRA = {
    "eigen": lambda: measure(mlp(n_out=30), gaussian(6, 6), method="sketch", probes=4),
    "fourier": lambda: measure(
        cnn(dtype=torch.float32), gaussian(3, 2, 8, 8, dtype=torch.float32), "fourier"
    ),
    "matrix": lambda: measure(mlp(), gaussian(3, 6), orthogonal(6)),
    "bare": lambda: Spectrum(torch.tensor([0.1, 1e-300], dtype=torch.float64)),
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
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix == "npz" and spectrum.factor is not None:
        assert found.alignment("dct") == spectrum.alignment("dct")


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.npz or \.json, got 'a\.pt'"):
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
