"""Cost of a sketched measure, beside one training pass and the full Jacobian; convergence of the sketch.

    python benchmarks/measure.py [--quick] [--threads N] [--out FILE.json] [--plot FILE.png]

cost         A ResNet-18 for 32×32 images, 100 classes, and one batch of normal inputs. A pass is one
             forward and backward pass of the batch in training mode with the cross-entropy loss, gradients
             of the parameters included. It is compared with overt.measure(..., method="sketch", probes=16)
             in the Fourier basis and in the eigenbasis. All take turns on the same machine, and ratios are
             those of paired repeats.
memory       Each candidate runs once in a process of its own, which first makes the model, the batch and one
             forward pass of a single input. The peak is the largest resident size (Linux: VmHWM; on a GPU the
             largest allocated size) minus the size before. So libraries and parameters count for no
             candidate, and the gradients of the parameters count for the pass. The ratio of the total sizes
             is given too.
jacobian     The exact measure of a small convolutional network is compared with the eigenvalues or the
             Fourier diagonal of M = mean of JᵀJ from torch.func.vmap(torch.func.jacrev(f)). Times and peak
             memory are as above, and the largest relative difference is given.
convergence  Root mean square error of the sketch over the number of probes, relative to the norm of the exact
             values of the same inputs, over seeds; the mean of the errors that it reports; and the slope of
             the error on logarithmic axes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from _convergence import draw, slopes
from _networks import resnet18, small_cnn
from _report import interleaved, parser, print_table, ratio, summary, write_json
from overt.linalg import make_basis
from overt.measures import measure

PROBES = 16
CLASSES = 100
COST_LIMIT, MEMORY_LIMIT = 20.0, 2.0


def training_pass(model: nn.Module, x: Tensor) -> None:
    """One forward and backward pass with gradients of all parameters."""
    model.train()
    targets = torch.arange(len(x), device=x.device) % CLASSES
    model.zero_grad(set_to_none=True)
    cross_entropy(model(x), targets).backward()


def full_jacobian(model: nn.Module, x: Tensor, basis: str) -> Tensor:
    """The measure from all Jacobians at once, by torch.func."""
    model.eval()
    parameters = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    parameters = {name: tensor.detach() for name, tensor in parameters.items()}

    def one(single: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(model, parameters, (single[None],))
        return output[0]

    J = torch.func.vmap(torch.func.jacrev(one))(x).flatten(2)
    if basis == "fourier":
        power = make_basis("fourier", x.shape[1:]).power(J.reshape(-1, *x.shape[1:]))
        return (power.sum(0) / len(x)).sqrt()
    M = torch.einsum("nkd,nke->de", J, J) / len(x)
    return torch.linalg.eigvalsh(M).flip(0).clamp_min(0).sqrt()


def made(part: str, batch: int, device: str) -> tuple[nn.Module, Tensor]:
    """The model and the batch of a part."""
    torch.manual_seed(0)
    if part == "cost":
        return resnet18(CLASSES).to(device), torch.randn(batch, 3, 32, 32).to(device)
    return small_cnn().to(device), torch.randn(batch, 1, 16, 16).to(device)


def candidates(part: str, model: nn.Module, x: Tensor) -> dict[str, Callable[[], Any]]:
    """What is compared in a part."""
    if part == "cost":
        return {
            "pass": lambda: training_pass(model, x),
            "fourier": lambda: measure(model, x, "fourier", "sketch", probes=PROBES),
            "eigen": lambda: measure(model, x, "eigen", "sketch", probes=PROBES),
        }
    return {
        f"{who} {basis}": (
            (lambda basis=basis: measure(model, x, basis))
            if who == "overt"
            else (lambda basis=basis: full_jacobian(model, x, basis))
        )
        for basis in ("eigen", "fourier")
        for who in ("overt", "torch.func")
    }


def synchronize(device: str) -> Callable[[], object]:
    return torch.cuda.synchronize if device == "cuda" else (lambda: None)


def resident(key: str) -> float:
    """VmRSS or VmHWM of this process in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {key} in /proc/self/status")


def peak_alone(part: str, name: str, batch: int, device: str) -> None:
    """Run one candidate in this process; print its peak memory in MiB, above the start and in total."""
    model, x = made(part, batch, device)
    run = candidates(part, model, x)[name]
    with torch.no_grad():
        model.eval()(x[:1])
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        peak = torch.cuda.max_memory_allocated()
        numbers = ((peak - before) / 2**20, peak / 2**20)
    else:
        before_rss = resident("VmRSS")
        run()
        numbers = (resident("VmHWM") - before_rss, resident("VmHWM"))
    print(json.dumps(numbers))


def peaks(
    part: str, names: list[str], batch: int, device: str, threads: int
) -> dict[str, tuple[float, float]]:
    """Peak memory of each candidate, each in a process of its own."""
    found = {}
    for name in names:
        command = [sys.executable, __file__, "--alone", part, name, str(batch), device]
        command += ["--threads", str(threads)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
        above, total = json.loads(answer.stdout.splitlines()[-1])
        found[name] = (above, total)
    return found


def cost_rows(batch: int, repeats: int, device: str) -> list[dict[str, Any]]:
    """Time and memory of the sketches over those of a training pass."""
    runs = candidates("cost", *made("cost", batch, device))
    seconds = interleaved(runs, repeats, synchronize=synchronize(device))
    memory = peaks("cost", list(runs), batch, device, torch.get_num_threads())
    rows = []
    for name in runs:
        times = ratio(seconds[name], seconds["pass"])
        above = memory[name][0] / memory["pass"][0]
        rows.append(
            {
                "part": "cost",
                "candidate": name,
                "device": device,
                "batch": batch,
                "probes": PROBES,
                "seconds": summary(seconds[name]),
                "times_a_pass": times,
                "peak_mib": memory[name][0],
                "peak_over_pass": above,
                "total_mib": memory[name][1],
                "total_over_pass": memory[name][1] / memory["pass"][1],
                "within_limits": bool(times["median"] <= COST_LIMIT and above <= MEMORY_LIMIT),
            }
        )
    return rows


def jacobian_rows(batch: int, repeats: int, device: str) -> list[dict[str, Any]]:
    """The exact measure beside the full Jacobian of a small network."""
    runs = candidates("jacobian", *made("jacobian", batch, device))
    seconds = interleaved(runs, repeats, synchronize=synchronize(device))
    memory = peaks("jacobian", list(runs), batch, device, torch.get_num_threads())
    rows = []
    for basis in ("eigen", "fourier"):
        ours, theirs = f"overt {basis}", f"torch.func {basis}"
        values, expected = runs[ours]().values, runs[theirs]()
        rows.append(
            {
                "part": "jacobian",
                "candidate": basis,
                "device": device,
                "batch": batch,
                "seconds": summary(seconds[ours]),
                "seconds_torch_func": summary(seconds[theirs]),
                "torch_func_over_overt": ratio(seconds[theirs], seconds[ours]),
                "peak_mib": memory[ours][0],
                "peak_mib_torch_func": memory[theirs][0],
                "largest_relative_difference": ((values - expected).abs().max() / expected.max()).item(),
            }
        )
    return rows


def convergence_rows(seeds: int, largest: int) -> list[dict[str, Any]]:
    """Error of the sketch over the number of probes, in double precision."""
    torch.manual_seed(0)
    model, x = small_cnn(2 * largest).double(), torch.randn(4, 1, 16, 16, dtype=torch.float64)
    rows = []
    for basis in ("fourier", "eigen"):
        exact = measure(model, x, basis).values
        probes = 1 if basis == "fourier" else 4
        while probes <= largest:
            sketches = [
                measure(model, x, basis, "sketch", probes=probes, errors_over="probes", seed=seed)
                for seed in range(seeds)
            ]
            # In the eigenbasis the leading ten, which every sketch finds.
            k = len(exact) if basis == "fourier" else 10
            kinds = {"values": [s.values for s in sketches]}
            if basis == "eigen":
                kinds["uncorrected"] = [s.upper for s in sketches if s.upper is not None]
            for kind, found in kinds.items():
                errors = torch.stack([values[:k] - exact[:k] for values in found])
                norm = torch.linalg.vector_norm(exact[:k])
                told = [torch.linalg.vector_norm(s.stderr[:k]) for s in sketches if s.stderr is not None]
                reported = (torch.stack(told).mean() / norm).item() if told and kind == "values" else None
                rows.append(
                    {
                        "part": "convergence",
                        "candidate": f"{basis} {kind}",
                        "probes": probes,
                        "seeds": seeds,
                        "error": (errors.square().sum(1).mean().sqrt() / norm).item(),
                        "bias": (torch.linalg.vector_norm(errors.mean(0)) / norm).item(),
                        "reported": reported,
                    }
                )
            probes *= 2
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows of each part."""
    first = ["device", "batch", "candidate", "seconds"]
    print(f"\nSketch of a ResNet-18, {PROBES} probes, over one training pass of the batch")
    medians = [{**row, "seconds": row["seconds"]["median"]} for row in rows if row["part"] != "convergence"]
    cost = [{**row, "times": row["times_a_pass"]["median"]} for row in medians if row["part"] == "cost"]
    print_table(cost, [*first, "times", "peak_mib", "peak_over_pass", "total_over_pass"])
    print("\nExact measure of a small network beside the full Jacobian by torch.func")
    exact = [
        {
            **row,
            "theirs": row["seconds_torch_func"]["median"],
            "difference": row["largest_relative_difference"],
        }
        for row in medians
        if row["part"] == "jacobian"
    ]
    print_table(exact, [*first, "theirs", "peak_mib", "peak_mib_torch_func", "difference"])
    print("\nConvergence")
    points = [row for row in rows if row["part"] == "convergence"]
    print_table(points, ["candidate", "probes", "seeds", "error", "bias", "reported"])
    print("slopes:", {name: round(slope, 3) for name, slope in slopes(points).items()})


def main() -> None:
    options: argparse.ArgumentParser = parser(str(__doc__).splitlines()[0])
    options.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the convergence here")
    options.add_argument("--alone", nargs=4, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    if arguments.alone:
        part, name, batch, device = arguments.alone
        peak_alone(part, name, int(batch), device)
        return
    batch, repeats, seeds, largest = (8, 2, 5, 16) if arguments.quick else (32, 5, 20, 128)
    rows: list[dict[str, Any]] = []
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        rows += cost_rows(batch, repeats, device)
        rows += jacobian_rows(4 * batch, repeats, device)
    rows += convergence_rows(seeds, largest)
    show(rows)
    settings = {
        "quick": arguments.quick,
        "batch": batch,
        "repeats": repeats,
        "probes": PROBES,
        "cost_limit": COST_LIMIT,
        "memory_limit": MEMORY_LIMIT,
        "threads": torch.get_num_threads(),
        "slopes": slopes([row for row in rows if row["part"] == "convergence"]),
    }
    write_json(arguments.out, "measure", rows, settings)
    if arguments.plot is not None:
        draw([row for row in rows if row["part"] == "convergence"], arguments.plot)


if __name__ == "__main__":
    main()
