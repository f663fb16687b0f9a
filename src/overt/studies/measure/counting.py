"""Which stored runs belong together, and the numbers that rules and figures take from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from overt.studies.base import Estimate, Run
from overt.studies.claims import evidence as ev
from overt.studies.claims.evidence import select

FACTORS = ("depth", "scale", "width", "lr", "batch_size")
ENOUGH_SEEDS, ENOUGH_SHARE = 3, 0.75
CIRCULAR: dict[str, Any] = {"group": "alignment", "model": "conv", "padding": "circular"}
ZEROS: dict[str, Any] = {"group": "alignment", "model": "conv", "padding": "zeros"}
CONNECTED: dict[str, Any] = {"group": "alignment", "model": "fc"}


def linear_settings(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of the collapse, by model and depth, in words."""
    found: dict[str, list[Run]] = {}
    for run in select(runs, group="collapse"):
        config = run.config
        words = str(config["model"]).replace("convolution_1d", "convolution 1-D")
        words = words.replace("convolution_2d", "convolution 2-D")
        if config["model"] == "linear" and config["width"] < min(config["size"], config["outputs_of_linear"]):
            words += " with bottleneck"
        found.setdefault(f"{words}, L = {config['depth']}", []).append(run)
    return dict(sorted(found.items()))


def reference(runs: Sequence[Run]) -> dict[str, Any]:
    """The value of each factor that most runs have: each factor leaves all others where they were."""
    networks = select(runs, group="dynamics", activation="relu")
    found = {factor: Counter(run.config[factor] for run in networks).most_common(1) for factor in FACTORS}
    return {factor: most[0][0] for factor, most in found.items() if most}


def around(runs: Sequence[Run], factor: str, activation: str = "relu") -> dict[Any, list[Run]]:
    """The runs at each value of a factor, every other factor being at its reference."""
    rest = {other: value for other, value in reference(runs).items() if other != factor}
    some = select(runs, group="dynamics", activation=activation, **rest)
    found: dict[Any, list[Run]] = {}
    for run in sorted(some, key=lambda run: float(run.config[factor])):
        found.setdefault(run.config[factor], []).append(run)
    return found


def advantage(
    runs: Sequence[Run], data: str, wanted: dict[str, Any] | None = None, field: str = "alignment"
) -> Estimate | None:
    """An alignment of convolutional minus that of fully connected networks, seed by seed."""
    wanted = CIRCULAR if wanted is None else wanted
    conv, fc = select(runs, data=data, **wanted), select(runs, data=data, **CONNECTED)
    when = f"{data}, untrained" if field.startswith("start_") else data
    name = "corrected a_Fourier" if field.endswith("corrected_alignment") else "a_Fourier"
    label = f"{name}, conv ({wanted['padding']}) − fc, {when}"
    return difference(reached(conv, field), reached(fc, field), max(len(conv), len(fc)), label)


def reached(runs: Sequence[Run], field: str) -> dict[int, float]:
    """One number per seed, of the runs that came to the training loss."""
    return ev.by_seed([run for run in runs if run.records[0]["status"] == "reached"], field)


def _common(first: dict[int, float], second: dict[int, float], of: int) -> list[int]:
    """The seeds that both have; none where they are too few of all."""
    seeds = sorted(set(first) & set(second))
    return seeds if len(seeds) >= max(ENOUGH_SEEDS, ENOUGH_SHARE * of) else []


def difference(first: dict[int, float], second: dict[int, float], of: int, label: str) -> Estimate | None:
    """The median difference over the seeds that both have; None where they are too few of ``of``."""
    seeds = _common(first, second, of)
    if not seeds:
        return None
    return ev.difference({s: first[s] for s in seeds}, {s: second[s] for s in seeds}, label)


def ratio(
    first: Sequence[Run], second: Sequence[Run], label: str, second_field: str = "effective_rank"
) -> Estimate | None:
    """The median ratio of effective ranks over the seeds that both have; None where they are too few."""
    a, b = reached(first, "effective_rank"), reached(second, second_field)
    seeds = _common(a, b, max(len(first), len(second)))
    if not seeds:
        return None
    return ev.ratio({s: a[s] for s in seeds}, {s: b[s] for s in seeds}, label)


def middle(runs: Sequence[Run], field: str) -> str:
    """The median in words."""
    values = reached(runs, field)
    return f"{ev.middle(values):.3g}" if values else "none"


def words(estimate: Estimate) -> str:
    """An estimate with its interval in words."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"
