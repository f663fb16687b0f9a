"""Value and gradient of the normalized nuclear norm: Overt beside automatic differentiation.

    python benchmarks/functional.py [--quick] [--max-size N] [--threads N] [--out FILE.json]

Candidates take turns on the same matrix:

overt     overt.functional.normalized_nuclear_norm(W), then its gradient
svdvals   automatic differentiation through torch.linalg.svdvals
svd       automatic differentiation through torch.linalg.svd

Torch differentiates svdvals by the same U diag(g) Vᵀ. So all three need one SVD of a square matrix, and only
the work around it can differ. The algorithms differ for elongated matrices.

The counts of floating-point operations are those of textbook algorithms. They serve to compare rows and are
not exact: min(14 m n² + 8 n³, 6 m n² + 20 n³) for a thin SVD of an m×n matrix, m ≥ n, with both factors
(Golub & Van Loan 2013, section 8.6), 4 m n² − 4/3 n³ for a QR decomposition, 2 m n k for a product.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from _report import interleaved, parser, print_table, ratio, summary, write_json
from overt import functional as F

SHAPES = [
    (100, 100),
    (128, 128),
    (256, 256),
    (512, 512),
    (1024, 1024),
    (2048, 2048),
    (4096, 4096),
    (1000, 100),
    (2000, 20),
    (2048, 256),
    (4096, 512),
    (4096, 1024),
]
QUICK = [(100, 100), (128, 128), (256, 256), (1000, 100), (2000, 20)]


def value_and_gradient(loss: Callable[[Tensor], Tensor], W: Tensor) -> Callable[[], Tensor]:
    """Return a function that computes value and gradient, and returns the gradient."""

    def run() -> Tensor:
        (gradient,) = torch.autograd.grad(loss(W), W)
        return gradient

    return run


def through_svdvals(W: Tensor) -> Tensor:
    s: Tensor = torch.linalg.svdvals(W)
    return s.sum() / s.square().sum().sqrt()


def through_svd(W: Tensor) -> Tensor:
    s: Tensor = torch.linalg.svd(W, full_matrices=False)[1]
    return s.sum() / s.square().sum().sqrt()


CANDIDATES = {"overt": F.normalized_nuclear_norm, "svdvals": through_svdvals, "svd": through_svd}


def flops(m: int, n: int) -> dict[str, float]:
    """Floating-point operations of value and gradient."""
    m, n = max(m, n), min(m, n)
    product = 2 * m * n**2
    autograd = _svd_flops(m, n) + product
    through_qr = 4 * m * n**2 - 4 * n**3 / 3 + _svd_flops(n, n) + 2 * n**3 + product
    return {"overt": through_qr if m >= 2 * n else autograd, "svdvals": autograd, "svd": autograd}


def _svd_flops(m: int, n: int) -> float:
    return min(14 * m * n**2 + 8 * n**3, 6 * m * n**2 + 20 * n**3)


def measure(m: int, n: int, dtype: torch.dtype, device: str, repeats: int) -> dict[str, object]:
    """Time the candidates on one Gaussian matrix and compare their gradients."""
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(m, n, generator=generator, dtype=torch.float64).to(device=device, dtype=dtype)
    W.requires_grad_()
    candidates = {name: value_and_gradient(loss, W) for name, loss in CANDIDATES.items()}
    gradients = {name: run() for name, run in candidates.items()}
    size = gradients["svd"].abs().max()
    difference = ((gradients["overt"] - gradients["svd"]).abs().max() / size).item()
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    seconds = interleaved(candidates, repeats, synchronize=wait)
    count = flops(m, n)
    return {
        "shape": [m, n],
        "dtype": str(dtype).removeprefix("torch."),
        "device": device,
        "repeats": repeats,
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "ratios": {name: ratio(seconds[name], seconds["overt"]) for name in CANDIDATES if name != "overt"},
        "gflop": {name: number / 1e9 for name, number in count.items()},
        "largest_relative_difference_of_gradients": difference,
    }


def line(row: dict[str, object]) -> dict[str, object]:
    """Return the row of the printed table."""
    seconds, ratios, gflop = row["seconds"], row["ratios"], row["gflop"]
    assert isinstance(seconds, dict)
    assert isinstance(ratios, dict)
    assert isinstance(gflop, dict)
    result: dict[str, object] = {
        "shape": "×".join(map(str, row["shape"])),  # type: ignore[call-overload]
        "dtype": row["dtype"],
        "device": row["device"],
        "repeats": row["repeats"],
    }
    for name in CANDIDATES:
        result[f"{name} ms"] = 1e3 * seconds[name]["median"]
    result["overt Gflop"] = gflop["overt"]
    result["svd Gflop"] = gflop["svd"]
    for name, numbers in ratios.items():
        result[f"{name}/overt"] = f"{numbers['median']:.2f} [{numbers['low']:.2f}, {numbers['high']:.2f}]"
    result["difference"] = row["largest_relative_difference_of_gradients"]
    return result


def repeats_for(m: int, n: int, quick: bool) -> int:
    """Return a number of repeats that spends about as long on each shape."""
    work = flops(m, n)["svd"] / 2e9  # seconds, roughly
    return max(3, min(50 if quick else 200, int((1.0 if quick else 10.0) / work)))


def main() -> None:
    options: argparse.ArgumentParser = parser(str(__doc__).splitlines()[0])
    options.add_argument(
        "--max-size", type=int, default=4096, metavar="N", help="skip longer sides than this"
    )
    arguments = options.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    shapes = [s for s in (QUICK if arguments.quick else SHAPES) if max(s) <= arguments.max_size]
    rows = []
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        for dtype in (torch.float64, torch.float32):
            for m, n in shapes:
                rows.append(measure(m, n, dtype, device, repeats_for(m, n, arguments.quick)))
                print_table([line(rows[-1])])
    if not rows:
        raise SystemExit(f"no shape has both sides up to --max-size {arguments.max_size}")
    print()
    print("Value and gradient of the normalized nuclear norm; medians, and ratios with their quartiles")
    print_table([line(row) for row in rows])
    settings = {"quick": arguments.quick, "max_size": arguments.max_size, "threads": torch.get_num_threads()}
    write_json(arguments.out, "functional", rows, settings)


if __name__ == "__main__":
    main()
