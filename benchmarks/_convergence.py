"""Rate of convergence of a sketch, and a picture of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any


def slopes(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Slope of log error over log probes, by least squares; −½ means error ∝ probes^−½."""
    found = {}
    for name in {row["candidate"] for row in rows}:
        points = [(math.log(r["probes"]), math.log(r["error"])) for r in rows if r["candidate"] == name]
        mean_x, mean_y = (sum(p[i] for p in points) / len(points) for i in (0, 1))
        across = sum((a - mean_x) ** 2 for a, _ in points)
        found[name] = sum((a - mean_x) * (b - mean_y) for a, b in points) / across
    return dict(sorted(found.items()))


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the error over the number of probes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(6.4, 4), constrained_layout=True)
    styles = {"fourier values": "o-", "eigen values": "s-", "eigen uncorrected": "^:"}
    labels = {
        "fourier values": "Fourier basis, all values",
        "eigen values": "eigenbasis, ten largest, corrected",
        "eigen uncorrected": "the same, uncorrected",
    }
    for name, style in styles.items():
        points = [row for row in rows if row["candidate"] == name]
        line = ax.loglog(
            [p["probes"] for p in points], [p["error"] for p in points], style, label=labels[name]
        )[0]
        told = [(p["probes"], p["reported"]) for p in points if p["reported"]]
        if told:
            ax.loglog(*zip(*told, strict=True), "x", color=line.get_color(), label="its reported error", ms=7)
    first = next(row for row in rows if row["candidate"] == "fourier values")
    probes = [row["probes"] for row in rows if row["candidate"] == "fourier values"]
    guide = [0.6 * first["error"] * (p / probes[0]) ** -0.5 for p in probes]
    ax.loglog(probes, guide, "k--", lw=0.8, label="probes$^{-1/2}$")
    ax.set(xlabel="probes for each input", ylabel="relative root mean square error")
    ax.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"written: {path}")
