"""The figures: how measures rank, along which hyperparameters and environments, and what the zoo is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from overt.studies.base import Run
from overt.studies.claims.numbers import columns, distinct
from overt.studies.claims.quantities import select
from overt.studies.predict.board import AXES, RANDOM, TITLES, TWIN, Board, Sample, board_of, twins
from overt.studies.predict.decisions import MIN_EFFECTIVE
from overt.studies.predict.environments import Environment
from overt.studies.predict.measures import MEASURES
from overt.studies.report.charts import Interval, heat_map, heat_maps, interval_chart
from overt.studies.report.draw import draw
from overt.studies.report.figures import Cell, Figure, Table

AXIS_WORDS = {
    "depth": "depth",
    "width": "width",
    "lr": "learning rate",
    "batch_size": "batch size",
    "weight_decay": "weight decay",
    "penalty": "penalty",
    "n_train": "training images",
}
FAMILY_WORDS = {"mlp": "fully connected", "cnn": "convolutional"}
GROUPS = {measure.name: measure.group for measure in MEASURES} | {RANDOM: "reference", TWIN: "reference"}
MAIN = (
    "cost_1_eigen_margin",
    "cost_1_fourier_margin",
    "cost_1_identity_margin",
    "cost_depth_eigen_margin",
    "normalized_eigen",
    "jacobian_margin",
    "effective_rank",
    "spectral_product_margin",
    "frobenius_product_margin",
    "parameters",
    "path_norm_margin",
    "flatness",
    "relative_flatness",
    "sharpness",
    "distance",
    "effective_parameters",
    "size",
    RANDOM,
)
ABOUT = (
    "Each measure is computed from training data alone; larger should mean a larger gap between training and "
    "test accuracy. "
)


def figures(runs: Sequence[Run]) -> list[Figure]:
    """The figures that the runs allow."""
    board = board_of(runs)
    makers: list[Callable[..., Any]] = [zoo_table]
    if board is not None:
        psi = board.granulated(board.names)
        makers = [
            partial(ranking, board, psi, twins(runs)),
            partial(_of, axes, board, psi),
            partial(_of, environments, board),
            partial(_of, criteria, board, psi),
            formulas,
            zoo_table,
        ]
    return draw(makers, runs)


def _of(make: Callable[..., Figure | None], *what: Any) -> Figure | None:
    """A figure of the board; the last of ``what`` are the runs, which it does without."""
    return make(*what[:-1])


def _setting(board: Board) -> str:
    size = f"{board.kept} networks that reached the target loss, of {board.made}"
    return f"{ABOUT}{size}; 95 % bootstrap intervals over networks. "


def _by_value(samples: dict[str, Sample]) -> list[str]:
    return sorted(
        (name for name in samples if math.isfinite(samples[name].value)), key=lambda n: -samples[n].value
    )


def ranking(board: Board, psi: dict[str, Sample], twin: Board | None, runs: Sequence[Run]) -> Figure | None:
    """Ψ of every measure over all networks, and of the main ones in each family."""
    samples = dict(psi)
    if twin is not None:
        samples |= twin.granulated([TWIN])
    groups = {"all networks": (samples, _by_value(samples))}
    for family in board.zoo.family_names:
        own = board_of(runs, family)
        if own is not None:
            groups[FAMILY_WORDS.get(family, family)] = (own.granulated(MAIN), list(MAIN))
    title = "How measures rank the generalization gap: granulated coefficient Ψ"
    panels, data = list[str](), list[dict[str, Cell]]()
    for panel, (found, names) in groups.items():
        rows = []
        for name in names:
            one, group = found[name].estimate(TITLES[name]), GROUPS[name]
            rows.append(Interval(TITLES[name], one.value, one.low, one.high, note=group, method=group))
            data.append({"networks": panel, "measure": name, "group": group, **columns(one, "psi")})
        if rows:
            id_, chance = f"ranking-{len(panels)}", (0.0, "chance")
            panels.append(
                interval_chart(rows, title=title, panel=panel, x_label="Ψ", reference=chance, id=id_)
            )
    caption = (
        f"{_setting(board)}Ψ is the mean over hyperparameters of Kendall's τ among networks that differ in "
        "that hyperparameter alone (Jiang et al. 2020): 1 is a perfect ranking, 0 what chance gives. The gap "
        "of the twin, the same network with another seed and other images, shows how well a measure can rank "
        "without knowing the seed and the images."
    )
    return Figure("ranking", title, caption, svg=panels, data=data) if panels else None


def axes(board: Board, psi: dict[str, Sample]) -> Figure | None:
    """ψ_i of every measure along each hyperparameter."""
    names = _by_value(psi)
    found = {name: board.zoo.granulated(board.values[name]) for name in names}
    shown = [axis for axis in AXES if names and axis in found[names[0]]]
    if not shown:
        return None
    grid: Any = np.array([[float(found[name][axis][0]) for axis in shown] for name in names])
    title = "Along which hyperparameter a measure ranks"
    svg = heat_map(
        [TITLES[name] for name in names],
        [AXIS_WORDS[axis] for axis in shown],
        grid,
        title=title,
        label="ψ",
        text=[[f"{value:.2f}" for value in row] for row in grid],
        limits=(-1.0, 1.0),
        id="axes",
    )
    data: list[dict[str, Cell]] = [
        {"measure": name} | {axis: float(value) for axis, value in zip(shown, row, strict=True)}
        for name, row in zip(names, grid, strict=True)
    ]
    caption = (
        f"{ABOUT}Kendall's τ among networks that differ in one hyperparameter alone, a mean over all "
        "values of the others and over both families; Ψ is the mean of a row, by which rows are ordered."
    )
    return Figure("axes", title, caption, svg=svg, data=data)


def environments(board: Board) -> Figure | None:
    """The sign error of the main measures in each environment."""
    found = {name: board.zoo.sign_errors(board.values[name]) for name in MAIN}
    families_here = board.zoo.family_names
    places = {family: [e for e in found[MAIN[0]] if e.family == family] for family in families_here}
    labels = list(dict.fromkeys(_change(place) for family in families_here for place in places[family]))
    if not labels:
        return None
    panels: dict[str, Any] = {}
    data: list[dict[str, Cell]] = []
    for family in families_here:
        grid = np.full((len(MAIN), len(labels)), np.nan)
        for place in places[family]:
            for row, name in enumerate(MAIN):
                error, pairs = found[name][place]
                data.append(
                    {"measure": name, "environment": str(place), "error": float(error[0]), "pairs": pairs}
                )
                if pairs >= MIN_EFFECTIVE:
                    grid[row, labels.index(_change(place))] = float(error[0])
        panels[FAMILY_WORDS.get(family, family)] = grid
    title = "Sign error by environment"
    svg = heat_maps(
        panels,
        [TITLES[name] for name in MAIN],
        labels,
        title=title,
        label="sign error",
        limits=(0.0, 1.0),
        id="environments",
    )
    caption = (
        f"{ABOUT}Share of pairs of networks, which differ in one hyperparameter alone, that a measure orders "
        "wrongly; pairs weigh by how sure the order of their gaps is (Dziugaite et al. 2020). 0.5 is chance. "
        f"A dot marks an environment with fewer than {MIN_EFFECTIVE} effective pairs, which is not judged."
    )
    return Figure("environments", title, caption, svg=svg, data=data)


def _change(place: Environment) -> str:
    words = AXIS_WORDS.get(place.axis, place.axis)
    return f"{words}\n{place.values[0]}\n→ {place.values[1]}" if place.axis == "penalty" else words


def criteria(board: Board, psi: dict[str, Sample]) -> Figure:
    """All criteria of all measures."""
    rows: list[tuple[Cell, ...]] = []
    for name in _by_value(psi):
        values = board.values[name]
        coarse = [float(e[0]) for e, n in board.zoo.sign_errors(values).values() if n >= MIN_EFFECTIVE]
        rows.append(
            (
                TITLES[name],
                round(psi[name].value, 3),
                round(float(board.zoo.kendall(values)[0]), 3),
                round(float(board.zoo.information(values)[0]), 3),
                round(max(coarse), 3) if coarse else None,
            )
        )
    names = ("measure", "Ψ", "τ", "K", "worst error")
    caption = (
        f"{ABOUT}Ψ: granulated Kendall coefficient; τ: Kendall's τ over all pairs of a family; K: normalized "
        "conditional mutual information, smallest over at most two hyperparameters (above its true value: "
        "compare with the random number). Worst error: the largest sign error over environments."
    )
    return Figure("criteria", "All measures by all criteria", caption, table=Table(names, rows))


def formulas(runs: Sequence[Run]) -> Figure:  # noqa: ARG001
    """What each measure is, and whose."""
    rows = [(measure.title, measure.formula, measure.source) for measure in MEASURES]
    caption = (
        "m training images, L layers, γ the 10th percentile of the margins, σ = √diag(U M U*), M = E[JᵀJ]. "
        "Numbers after Jiang et al. 2020 are those that they give their measures."
    )
    return Figure("formulas", "The measures", caption, table=Table(("measure", "formula", "source"), rows))


def zoo_table(runs: Sequence[Run]) -> Figure | None:
    """How many networks there are at each value of each hyperparameter, reached the target, and their gap."""
    made = select(runs, {})
    rows: list[tuple[Cell, ...]] = []
    for family in distinct(made, "family"):
        for axis in AXES:
            for value in distinct(select(made, {"family": family}), axis):
                group = select(made, {"family": family, axis: value})
                gaps = [float(run.records[0]["gap"]) for run in group if run.records[0]["reached"]]
                mean, spread = (np.mean(gaps), np.std(gaps)) if gaps else (None, None)
                rows.append(
                    (
                        FAMILY_WORDS.get(family, family),
                        AXIS_WORDS[axis],
                        str(value),
                        len(group),
                        len(gaps),
                        None if mean is None else round(float(mean), 4),
                        None if spread is None else round(float(spread), 4),
                    )
                )
    if not rows:
        return None
    config = made[0].config
    names = ("family", "hyperparameter", "value", "networks", "reached the loss", "mean gap", "its deviation")
    caption = (
        f"The zoo: {len(made)} networks on {config['source']} pooled by {config['pool']}, stopped at a "
        f"training cross-entropy of {config['target_loss']:g}; at most {config['max_steps']} steps of "
        f"stochastic gradient descent with momentum {config['momentum']:g}. Gap: training minus test "
        f"accuracy on {config['n_test']} images. Networks that did not reach the loss are left out of all "
        "criteria."
    )
    return Figure("zoo", "The zoo", caption, table=Table(names, rows))
