"""Explicit penalties: value and gradient beside automatic differentiation, and the cost in a training step.

    python benchmarks/penalty.py [--quick] [--max-size N] [--threads N] [--parts NAME …] [--out FILE.json]

Part ``kernel``: value and gradient of the normalized nuclear norm of one Gaussian float32 matrix, n×n:

svdvals        automatic differentiation through torch.linalg.svdvals
svd, gram      SpectralPenalty(method=…), exact
polar          SpectralPenalty(method="polar"), six steps, in bfloat16 and in float32
polar, 5 steps the same with polar_steps=5, in bfloat16

Errors are relative to float64: the relative error of the value, and one minus the cosine for the gradient.
They are also given for a matrix of the same size with singular values 1, 1/2, 1/3, …, which has more small
ones. Each row also has the floating-point operations of the textbook algorithm, the least time that they can
take at the rate of a matrix product, and the least time for one reading of all operands at the rate of a
copy. Both rates are measured in the same run.

Part ``step``: a training step without and with SpectralPenalty on all matrices, every=10. Ten steps of the
one alternate with ten of the other, so that ten penalized steps have one decomposition. The models are a
convolutional network with ResNet-18's layers (no pretrained weights, 32×32 images) and a small transformer.

Part ``jacobian``: the same for JacobianPenalty (p = 1) on the inputs. It runs on the whole batch in the
Fourier basis and in the eigenbasis, with the outputs of the step's own forward pass if possible, at every
tenth step, and on a tenth of the batch. The least cost of the whole batch follows from counting forward
passes. A plain step costs 3. The penalty adds a forward pass, a backward pass to the inputs, and the backward
pass of both: 1 + 1 + 4 more, hence 3 plain steps in total. With rectifiers alone, whose second derivative is
left out, it adds 1 + 1 + 2, hence 2.33. With the outputs given it adds 1 + 2, hence 2.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as tf
from torch.nn.attention import SDPBackend, sdpa_kernel

from _report import interleaved, parser, print_table, ratio, summary, write_json
from overt.linalg.polar import MIRROR_FROM
from overt.penalties import JacobianPenalty, SpectralPenalty

SIZES = [256, 512, 1024, 2048, 4096, 8192]
EVERY = 10


class Matrix(nn.Module):
    def __init__(self, W: Tensor) -> None:
        super().__init__()
        self.W = nn.Parameter(W)


def through_svdvals(W: Tensor) -> Tensor:
    s: Tensor = torch.linalg.svdvals(W)
    return s.sum() / s.square().sum().sqrt()


def gradient_of(value: Callable[[], Tensor], W: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
    def run() -> tuple[Tensor, Tensor]:
        result = value()
        (gradient,) = torch.autograd.grad(result, W)
        return result.detach(), gradient

    return run


def candidates_of(W: Tensor) -> dict[str, Callable[[], tuple[Tensor, Tensor]]]:
    """Value and gradient by each method, on one matrix."""
    model = Matrix(W)
    settings: dict[str, dict[str, Any]] = {
        "svd": {"method": "svd"},
        "gram": {"method": "gram"},
        "polar bfloat16": {"method": "polar", "precision": "bfloat16"},
        "polar float32": {"method": "polar", "precision": "float32"},
        "polar bfloat16, 5 steps": {"method": "polar", "precision": "bfloat16", "polar_steps": 5},
    }
    result = {"svdvals": gradient_of(lambda: through_svdvals(model.W), model.W)}
    for name, options in settings.items():
        penalty = SpectralPenalty(model, **options)
        result[name] = gradient_of(penalty.value, model.W)
    return result


def gflop_of(name: str, n: int, device: str) -> float:
    """Textbook counts: 22 n³ for an SVD with factors and 2 n³ for the gradient; 9 n³ for a symmetric
    eigendecomposition and three products; three products a step of the iteration, two of them of a symmetric
    result, of which 5/8 are computed where the matrix is large and on the CPU."""
    if name in ("svdvals", "svd"):
        return 24e-9 * n**3
    if name == "gram":
        return 15e-9 * n**3
    each = 4.5e-9 if device == "cpu" and n >= MIRROR_FROM else 6e-9
    return (5 if "5 steps" in name else 6) * each * n**3


def gaussian(n: int) -> Tensor:
    return torch.randn(n, n, generator=torch.Generator().manual_seed(0))


def power_law(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    U, V = (torch.linalg.qr(torch.randn(n, n, generator=generator))[0] for _ in range(2))
    return (U / torch.arange(1, n + 1)) @ V


def errors(W: Tensor) -> dict[str, dict[str, float]]:
    """Of the value and the gradient of each candidate, against float64."""
    exact = W.double().cpu().requires_grad_()
    value = through_svdvals(exact)
    (slope,) = torch.autograd.grad(value, exact)
    truth = value.item()
    result = {}
    for name, run in candidates_of(W).items():
        value, gradient = run()
        cosine = tf.cosine_similarity(gradient.double().cpu().flatten(), slope.flatten(), dim=0)
        result[name] = {"value": abs(value.item() / truth - 1), "gradient": 1 - float(cosine)}
    return result


def rates(n: int, device: str, repeats: int) -> dict[str, float]:
    """Gflop/s of a product in each precision, and GB/s of a copy."""
    X = gaussian(n).to(device)
    half, high = X.bfloat16(), X.double()
    runs: dict[str, Callable[[], object]] = {
        "float32": lambda: X @ X,
        "bfloat16": lambda: half @ half,
        "float64": lambda: high @ high,
        "copy": lambda: X.clone(),
    }
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    seconds = {k: min(v) for k, v in interleaved(runs, repeats, synchronize=wait).items()}
    found = {k: 2e-9 * n**3 / v for k, v in seconds.items() if k != "copy"}
    return {**found, "copy": 8e-9 * n * n / seconds["copy"]}


def kernel(n: int, device: str, repeats: int) -> dict[str, object]:
    runs = candidates_of(gaussian(n).to(device))
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    seconds = interleaved(runs, repeats, synchronize=wait)
    rate = rates(n, device, max(3, repeats))
    # Rates are those of float32, except for methods that compute in another precision.
    kind = {"gram": "float64", "polar bfloat16": "bfloat16", "polar bfloat16, 5 steps": "bfloat16"}
    least = {name: gflop_of(name, n, device) / rate[kind.get(name, "float32")] for name in runs}
    small = n <= 2048
    return {
        "part": "kernel",
        "n": n,
        "device": device,
        "repeats": repeats,
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "svdvals_over": {
            name: ratio(seconds["svdvals"], seconds[name]) for name in runs if name != "svdvals"
        },
        "gflop": {name: gflop_of(name, n, device) for name in runs},
        "least_seconds_of_flops": least,
        "least_seconds_of_bytes": 8e-9 * n * n / rate["copy"],
        "rates": rate,
        "errors_gaussian": errors(gaussian(n).to(device)) if small else {},
        "errors_power_law": errors(power_law(n).to(device)) if small else {},
    }


class Residual(nn.Module):
    """Two 3×3 convolutions and a shortcut: ResNet-18's block."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outer) for _ in range(2))
        same = inner == outer and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inner, outer, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = tf.relu(self.norms[0](self.first(x)))
        return tf.relu(self.norms[1](self.second(hidden)) + self.shortcut(x))


def convolutional() -> tuple[nn.Module, Tensor, Tensor]:
    """11 million parameters; 32 images of 32×32 a step."""
    torch.manual_seed(0)
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    widths += [(128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
    blocks = [Residual(*sizes) for sizes in widths]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)]
    stem = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, *head), torch.randn(32, 3, 32, 32), torch.randint(10, (32,))


def transformer() -> tuple[nn.Module, Tensor, Tensor]:
    """3 million parameters in four layers of width 256; 16 sequences of 128 a step."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    model = nn.Sequential(nn.Linear(64, 256), encoder, nn.Linear(256, 64))
    return model, torch.randn(16, 128, 64), torch.randint(64, (16, 128))


MODELS = {"ResNet-18-sized CNN": convolutional, "transformer, 4×256": transformer}


def step(name: str, device: str, rounds: int) -> dict[str, object]:
    model, x, y = (part.to(device) for part in MODELS[name]())
    assert isinstance(model, nn.Module)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    penalty = SpectralPenalty(model, weight=1e-3, every=EVERY)

    def steps(with_penalty: bool) -> Callable[[], None]:
        def run() -> None:
            penalty.refresh()
            for _ in range(EVERY):
                optimizer.zero_grad()
                loss = tf.cross_entropy(model(x).flatten(0, -2), y.flatten())
                (loss + penalty.penalty() if with_penalty else loss).backward()
                optimizer.step()

        return run

    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    seconds = interleaved({"plain": steps(False), "penalty": steps(True)}, rounds, synchronize=wait)
    return {
        "part": "step",
        "model": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "matrices": len(penalty.penalized()),
        "device": device,
        "every": EVERY,
        "seconds_of_ten_steps": {key: summary(values) for key, values in seconds.items()},
        "penalty_over_plain": ratio(seconds["penalty"], seconds["plain"]),
    }


GIVEN = "whole batch, outputs given"
JACOBIAN: dict[str, dict[str, Any]] = {
    "whole batch, Fourier": {"basis": "fourier"},
    "whole batch, eigen": {"basis": "eigen"},
    GIVEN: {"basis": "fourier"},
    "every 10th step": {"basis": "fourier", "every": EVERY},
    "a tenth of the batch": {"basis": "fourier", "share": 0.1},
}


def jacobian(name: str, device: str, rounds: int) -> dict[str, object]:
    model, x, y = (part.to(device) for part in MODELS[name]())
    assert isinstance(model, nn.Module)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def steps(penalty: JacobianPenalty | None, given: bool = False) -> Callable[[], None]:
        inputs = x.clone().requires_grad_(given)
        # Fused attention cannot be differentiated twice, so a step that gives its outputs does not use it.

        def run() -> None:
            for _ in range(EVERY):
                optimizer.zero_grad()
                with sdpa_kernel(SDPBackend.MATH) if given else nullcontext():
                    outputs = model(inputs)
                loss = tf.cross_entropy(outputs.flatten(0, -2), y.flatten())
                if penalty is not None:
                    loss = loss + penalty.penalty(inputs, outputs if given else None)
                loss.backward()
                optimizer.step()

        return run

    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    ways = {"plain": steps(None)}
    mixing = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    for way, options in JACOBIAN.items():
        if way != GIVEN or not mixing:
            ways[way] = steps(JacobianPenalty(model, p=1.0, weight=1e-3, **options), way == GIVEN)
    seconds = interleaved(ways, rounds, synchronize=wait)
    return {
        "part": "jacobian",
        "model": name,
        "device": device,
        "seconds_of_ten_steps": {key: summary(values) for key, values in seconds.items()},
        "over_plain": {way: ratio(seconds[way], seconds["plain"]) for way in ways if way != "plain"},
    }


def line(row: dict[str, Any]) -> list[dict[str, object]]:
    """The lines of the printed table for one row."""
    if row["part"] == "step":
        over = row["penalty_over_plain"]
        return [
            {
                "model": row["model"],
                "device": row["device"],
                "matrices": row["matrices"],
                "plain s": row["seconds_of_ten_steps"]["plain"]["median"],
                "penalty s": row["seconds_of_ten_steps"]["penalty"]["median"],
                "ratio": f"{over['median']:.3f} [{over['low']:.3f}, {over['high']:.3f}]",
            }
        ]
    if row["part"] == "jacobian":
        return [
            {
                "model": row["model"],
                "device": row["device"],
                "JacobianPenalty": way,
                "plain s": row["seconds_of_ten_steps"]["plain"]["median"],
                "ratio": f"{over['median']:.3f} [{over['low']:.3f}, {over['high']:.3f}]",
            }
            for way, over in row["over_plain"].items()
        ]
    lines: list[dict[str, object]] = []
    for name, seconds in row["seconds"].items():
        over = row["svdvals_over"].get(name)
        gauss = row["errors_gaussian"].get(name, {})
        power = row["errors_power_law"].get(name, {})
        lines.append(
            {
                "n": row["n"],
                "device": row["device"],
                "method": name,
                "ms": 1e3 * seconds["median"],
                "least ms": 1e3 * row["least_seconds_of_flops"][name],
                "svdvals/this": ""
                if over is None
                else f"{over['median']:.2f} [{over['low']:.2f}, {over['high']:.2f}]",
                "value error": gauss.get("value", ""),
                "1−cos": gauss.get("gradient", ""),
                "value error, 1/i": power.get("value", ""),
                "1−cos, 1/i": power.get("gradient", ""),
            }
        )
    return lines


def kernel_rows(arguments: argparse.Namespace, device: str) -> list[dict[str, Any]]:
    limit = min(arguments.max_size, 2048 if device == "cpu" else 8192)
    sizes = [n for n in ([256, 512] if arguments.quick else SIZES) if n <= limit]
    rows = []
    for n in sizes:
        rows.append(kernel(n, device, max(3, min(20, round(20 * (512 / n) ** 3)))))
        print_table(line(rows[-1]))
    return rows


def step_rows(arguments: argparse.Namespace, device: str) -> list[dict[str, Any]]:
    names = list(MODELS)[1:] if arguments.quick else list(MODELS)
    rows = []
    for name in names:
        rows.append(step(name, device, 3 if arguments.quick else 8))
        print_table(line(rows[-1]))
    return rows


def jacobian_rows(arguments: argparse.Namespace, device: str) -> list[dict[str, Any]]:
    rows = []
    for name in list(MODELS)[1:] if arguments.quick else list(MODELS):
        rows.append(jacobian(name, device, 2 if arguments.quick else 4))
        print_table(line(rows[-1]))
    return rows


# Each part makes and prints its rows.
PARTS: dict[str, Callable[[argparse.Namespace, str], list[dict[str, Any]]]] = {
    "kernel": kernel_rows,
    "step": step_rows,
    "jacobian": jacobian_rows,
}


def main() -> None:
    options = parser(str(__doc__).splitlines()[0])
    options.add_argument("--max-size", type=int, default=8192, metavar="N", help="skip larger matrices")
    options.add_argument("--parts", nargs="+", choices=sorted(PARTS), default=list(PARTS), metavar="NAME")
    arguments = options.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        for part in arguments.parts:
            rows += PARTS[part](arguments, device)
    settings = {
        "quick": arguments.quick,
        "max_size": arguments.max_size,
        "threads": torch.get_num_threads(),
        "parts": arguments.parts,
    }
    write_json(arguments.out, "penalty", rows, settings)


if __name__ == "__main__":
    main()
