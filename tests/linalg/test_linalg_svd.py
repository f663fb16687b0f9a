"""Singular value decomposition: exact, robust, and refused as a differentiable map."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from overt.linalg import Factored, decompositions, rank_tolerance, singular_values, svd


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def check_decomposition(W: Tensor, U: Tensor, S: Tensor, Vh: Tensor, tolerance: float = 1e-12) -> None:
    k = S.shape[-1]
    eye = torch.eye(k, dtype=W.dtype).expand(*W.shape[:-2], k, k)
    torch.testing.assert_close(U.mT @ U, eye, rtol=0, atol=tolerance)
    torch.testing.assert_close(Vh @ Vh.mT, eye, rtol=0, atol=tolerance)
    size = W.abs().max().item() if W.numel() else 0.0
    torch.testing.assert_close((U * S.unsqueeze(-2)) @ Vh, W, rtol=0, atol=tolerance * size)
    assert (S[..., :-1] >= S[..., 1:]).all()
    assert (S >= 0).all()


@pytest.mark.slow
@given(m=st.integers(1, 8), n=st.integers(1, 8), exponent=st.integers(-307, 300), seed=st.integers(0, 1000))
def test_decomposition_at_every_scale(m: int, n: int, exponent: int, seed: int) -> None:
    W = gaussian(m, n, seed=seed) * 10.0**exponent
    check_decomposition(W, *svd(W))
    torch.testing.assert_close(singular_values(W), svd(W)[1], rtol=1e-9, atol=0)


@pytest.mark.parametrize("scale", [1e-36, 1e-30, 1e-15, 1e15, 1e30])
def test_single_precision_at_every_scale(scale: float) -> None:
    W = (gaussian(6, 4) * scale).float()
    check_decomposition(W, *svd(W), tolerance=1e-5)


def test_rescaling_is_exact() -> None:
    W = gaussian(5, 4)
    _, S, _ = svd(W)
    for exponent in (-1000, -700, 700, 1000):
        c = 2.0**exponent
        torch.testing.assert_close(svd(c * W)[1], c * S, rtol=1e-13, atol=0)
        for source in (c * W, (c * W).requires_grad_()):
            torch.testing.assert_close(singular_values(source).detach(), c * S, rtol=1e-13, atol=0)
        scaled, scale = decompositions.rescale(c * W)
        assert scale is not None
        assert torch.equal(scaled * scale[..., None], c * W)
        assert torch.frexp(scale).mantissa.item() == 0.5
        assert 1 <= scaled.abs().max() < 2


def test_rescaling_leaves_usual_matrices_alone() -> None:
    some_zero = gaussian(3, 5, 4)
    some_zero[1] = 0
    for W in (gaussian(3, 5, 4), gaussian(5, 4), some_zero, torch.zeros(2, 3, 3), torch.zeros(3, 3)):
        scaled, scale = decompositions.rescale(W)
        assert scaled is W
        assert scale is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_squares_of_what_is_not_rescaled_are_in_range(dtype: torch.dtype, batch: tuple[int, ...]) -> None:
    """Also of entries that are eps times the largest; and no more is rescaled than needs to be."""
    info = torch.finfo(dtype)
    alone = []
    for exponent in range(-126, 127, 2) if dtype == torch.float32 else range(-1000, 1001, 8):
        W = torch.full((*batch, 2, 2), 1.5, dtype=dtype) * 2.0**exponent
        if decompositions.rescale(W)[1] is None:
            alone.append(exponent)
    low, high = (info.eps * 1.5 * 2.0 ** alone[0]) ** 2, (1.5 * 2.0 ** alone[-1] / info.eps) ** 2
    assert info.tiny <= low < 2**18 * info.tiny
    assert 1 / (2**18 * info.tiny) < high <= 1 / info.tiny


def test_rescaling_is_for_each_matrix_of_a_batch() -> None:
    W = torch.stack([gaussian(3, 3), 1e-250 * gaussian(3, 3), torch.zeros(3, 3, dtype=torch.float64)])
    scaled, scale = decompositions.rescale(W)
    assert scale is not None
    peaks = scaled.abs().amax((-2, -1))
    assert ((peaks >= 1) & (peaks < 2))[:2].all()
    assert peaks[2] == 0
    check_decomposition(W[1], *(part[1] for part in svd(W)))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 0, 3), (0, 3, 2)])
def test_empty(shape: tuple[int, ...]) -> None:
    W = torch.zeros(shape, dtype=torch.float64)
    U, S, Vh = svd(W)
    k = min(shape[-2:])
    assert U.shape == (*shape[:-1], k)
    assert S.shape == (*shape[:-2], k)
    assert Vh.shape == (*shape[:-2], k, shape[-1])
    assert singular_values(W).shape == S.shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_cast_back(dtype: torch.dtype) -> None:
    W = gaussian(5, 4).to(dtype)
    exact = torch.linalg.svd(W.float(), full_matrices=False)
    for part, expected in zip(svd(W), exact, strict=True):
        assert part.dtype == dtype
        assert torch.equal(part, expected.to(dtype))
    assert singular_values(W).dtype == dtype


@pytest.mark.parametrize(("m", "n", "r"), [(7, 5, 3), (5, 7, 1), (4, 3, 6), (3, 9, 3)])
def test_factored(m: int, n: int, r: int) -> None:
    W = Factored(gaussian(m, r), gaussian(n, r, seed=1))
    U, S, Vh = svd(W)
    assert S.shape == (min(m, n, r),)
    check_decomposition(W.dense(), U, S, Vh)
    torch.testing.assert_close(singular_values(W), S)


def test_factored_keeps_small_singular_values() -> None:
    """The Gram matrices of the factors would lose everything below 1e-8."""
    Q, P = torch.linalg.qr(gaussian(50, 3))[0], torch.linalg.qr(gaussian(40, 3, seed=1))[0]
    S = torch.tensor([1.0, 1e-6, 1e-12], dtype=torch.float64)
    torch.testing.assert_close(singular_values(Factored(Q * S, P)), S, rtol=1e-3, atol=0)
    torch.testing.assert_close(singular_values(Factored(Q * S, P))[1], S[1], rtol=1e-9, atol=0)


def test_singular_values_beyond_the_range_are_refused_whichever_factor_is_large() -> None:
    U, V = gaussian(5, 2), gaussian(4, 2, seed=1)
    for u, v in ((1e300, 1e100), (1e100, 1e300), (1e200, 1e200)):
        with pytest.raises(ValueError, match=r"beyond what torch\.float64 can hold"):
            svd(Factored(u * U, v * V))
    torch.testing.assert_close(svd(Factored(1e300 * U, V))[1], 1e300 * svd(Factored(U, V))[1])


def test_factored_batch() -> None:
    U, V = gaussian(2, 3, 5, 2), gaussian(2, 3, 4, 2, seed=1)
    left, S, right = svd(Factored(U, V))
    check_decomposition(U @ V.mT, left, S, right)


@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 4)])
def test_failure_of_divide_and_conquer_falls_back(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    W = gaussian(*shape)
    expected = torch.linalg.svdvals(W)

    def fail(*_: object, **__: object) -> None:
        raise torch.linalg.LinAlgError("the algorithm failed to converge")

    monkeypatch.setattr(torch.linalg, "svd", fail)
    monkeypatch.setattr(torch.linalg, "svdvals", fail)
    U, S, Vh = svd(W)
    check_decomposition(W, U, S, Vh)
    torch.testing.assert_close(S, expected)
    torch.testing.assert_close(singular_values(W), expected)


def test_gradient_of_the_vectors_is_refused_in_words() -> None:
    W = gaussian(4, 3).requires_grad_()
    for source in (W, Factored(W, gaussian(5, 3))):
        for part in svd(source):
            assert part.requires_grad
            with pytest.raises(RuntimeError, match=r"overt\.linalg\.svd is not differentiable"):
                part.sum().backward()
    with torch.no_grad():
        assert not svd(W)[0].requires_grad


@pytest.mark.parametrize("call", [svd, singular_values])
def test_refusals(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match="W: 2 of 6 entries are NaN or infinite"):
        call(torch.tensor([[1.0, float("nan"), 0], [float("inf"), 1, 2]]))
    with pytest.raises(ValueError, match="W must be a matrix"):
        call(torch.ones(3))
    with pytest.raises(TypeError, match="W must be real"):
        call(torch.ones(3, 3, dtype=torch.complex64))
    with pytest.raises(TypeError, match=r"got torch\.bool"):
        call(torch.ones(3, 3, dtype=torch.bool))
    with pytest.raises(TypeError, match=r"W must be a torch.Tensor, got \[\["):
        call([[1.0]])
    for name in "UV":
        factors = {"U": torch.ones(3, 2), "V": torch.ones(4, 2)} | {name: torch.full((3, 2), float("nan"))}
        with pytest.raises(ValueError, match=f"^{name}: 6 of 6 entries are NaN"):
            call(Factored(**factors))
    with pytest.raises(TypeError, match=r"got torch\.float8_e4m3fn"):
        call(torch.ones(3, 3).to(torch.float8_e4m3fn))


def test_rank_tolerance() -> None:
    S = torch.tensor([[2.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[2.0 * 7 * torch.finfo(torch.float64).eps], [0.0]], dtype=torch.float64)
    assert torch.equal(rank_tolerance(S, 3, 7), expected)
    for batch in ((), (2,), (2, 5)):
        assert rank_tolerance(torch.zeros(*batch, 0), 3, 0).shape == (*batch, 1)


@pytest.mark.parametrize(
    ("m", "n", "rank"), [(40, 20, 20), (20, 40, 20), (9, 9, 4), (5, 1, 1), (4, 4, 0), (3, 0, 0)]
)
def test_least_squares(m: int, n: int, rank: int) -> None:
    A, b = gaussian(m, rank) @ gaussian(rank, n, seed=1), gaussian(m, seed=2)
    x = decompositions.least_squares(A, b)
    torch.testing.assert_close(x, torch.linalg.pinv(A) @ b if A.numel() else b.new_zeros(n))


def test_least_squares_does_not_depend_on_what_was_in_memory() -> None:
    """The default driver of torch.linalg.lstsq gave dozens of results here."""
    A, b = gaussian(40, 20), gaussian(40, seed=1)
    found = set()
    for value in range(50):
        left = [torch.full((20,), value % 7, dtype=torch.int32) for _ in range(3)]
        del left
        found.add(decompositions.least_squares(A, b).numpy().tobytes())
    assert len(found) == 1
