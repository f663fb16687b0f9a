"""The figures: scores of every method, gains, corruption, truncation, sizes, weights and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from overt.studies.base import Run
from overt.studies.claims.evidence import select
from overt.studies.claims.numbers import columns, seeds
from overt.studies.generalization.figures_curves import rank_curves, size_curves, weight_curves
from overt.studies.generalization.methods import key, label, look
from overt.studies.generalization.results import NETWORKS, Cell, keys, mean, numbers
from overt.studies.generalization.rules import sparse_tests
from overt.studies.report.charts import Interval, heat_map, interval_chart
from overt.studies.report.draw import draw
from overt.studies.report.figures import Cell as Value
from overt.studies.report.figures import Figure, Table, format_number

__all__ = ["figures"]

SPREAD = "means over {seeds}, lines: 95 % bootstrap intervals"
PREDICTIONS = {
    "accuracy": "accuracy",
    "cross_entropy": "nats",
    "calibration_error": "calibration",
    "temperature": "T",
    "scaled_cross_entropy": "nats at T",
    "scaled_calibration_error": "calibration at T",
}
NETWORK = {
    "corrupted_accuracy": "corrupted",
    "noise_accuracy": "noise",
    "kept": "kept",
    "jacobian_norm": "√tr M",
    "effective_rank_eigen": "rank of M",
    "effective_rank_fourier": "Fourier",
    "effective_rank_identity": "pixels",
    "effective_rank_weights": "weights",
}


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Return the figures that the runs allow."""
    makers = (
        partial(forest, id_="accuracy", field="accuracy", title="Test accuracy of every method"),
        partial(forest, id_="likelihood", field="cross_entropy", title="Test cross-entropy of every method"),
        predictions,
        properties,
        against_frobenius,
        corruption,
        rank_curves,
        size_curves,
        weight_curves,
        cost,
    )
    return draw(makers, runs)


def setting_words(runs: Sequence[Run]) -> str:
    """What the compared runs have in common, in a sentence."""
    main = select(runs, group="main")
    config = main[0].config
    source = "Fashion-MNIST" if config["source"] == "fashion-mnist" else str(config["source"])
    return (
        f"{source}, {format_number(config['n_train'])} training images, {config['max_steps']} steps; four "
        f"settings of each method, one chosen on {format_number(config['n_validation'])} validation "
        f"images and tested on {format_number(config['n_test'])}"
    )


def _here(runs: Sequence[Run]) -> list[tuple[str, Cell, list[str]]]:
    found = [(name, Cell(network)) for network, name in NETWORKS.items()]
    return [(name, cell, keys(cell.runs(runs))) for name, cell in found if cell.runs(runs)]


def forest(runs: Sequence[Run], id_: str, field: str, title: str) -> Figure | None:
    """One row per method, the best at the top; a panel for each network."""
    panels, data = [], []
    for name, cell, methods in _here(runs):
        rows = []
        for method in methods:
            found = numbers(runs, cell, method, field)
            estimate = mean(list(found.values()))
            rows.append(
                Interval(label(method), estimate.value, estimate.low, estimate.high, method=look(method))
            )
            row: dict[str, Value] = {"network": name, "method": label(method), "seeds": estimate.n}
            data.append(row | columns(estimate, field))
        rows.sort(key=lambda row: (row.value or 0.0) * (-1 if field == "accuracy" else 1))
        words = "test accuracy" if field == "accuracy" else "test cross-entropy (nats)"
        panels.append(
            interval_chart(rows, title=title, x_label=words, panel=name, id=f"{id_}-{cell.network}")
        )
    if not panels:
        return None
    chosen = "accuracy" if field == "accuracy" else "cross-entropy"
    caption = (
        f"{setting_words(runs)}. The setting is the one with the best validation {chosen}; "
        f"{SPREAD.format(seeds=seeds(select(runs, group='main')))}, best at the top. Intervals of two "
        "methods may overlap where the paired difference is clear: the verdicts rest on pairs."
    )
    return Figure(id_, title, caption, svg=panels, data=data)


def predictions(runs: Sequence[Run]) -> Figure | None:
    """Accuracy, likelihood and calibration of every method, as a table."""
    return _means(
        runs,
        "predictions",
        "Predictions of every method",
        PREDICTIONS,
        "Cross-entropy in nats, calibration error and temperature T (fitted on validation) are of the "
        "setting chosen by validation cross-entropy, accuracy is of that chosen by accuracy.",
    )


def properties(runs: Sequence[Run]) -> Figure | None:
    """Robustness, compressibility and effective ranks of every method's networks, as a table."""
    return _means(
        runs,
        "properties",
        "What the networks are like",
        NETWORK,
        "Of the setting chosen by accuracy. Corrupted: mean accuracy over noise, blur, contrast and shift, "
        "two strengths each. Kept: mean share of the accuracy that truncated networks keep, over ranks 1 to "
        "32 of every layer. M is E[JᵀJ] over 128 validation images. Ranks are effective ranks: of M, of the "
        "square root of its diagonal in the Fourier basis and in that of pixels, and of the hidden layers' "
        "weights.",
    )


def _means(runs: Sequence[Run], id_: str, title: str, fields: Mapping[str, str], words: str) -> Figure | None:
    rows: list[tuple[Value, ...]] = []
    for name, cell, methods in _here(runs):
        for method in methods:
            means = [mean(list(numbers(runs, cell, method, field).values())).value for field in fields]
            rows.append((name, label(method), *(float(f"{value:.4g}") for value in means)))
    if not rows:
        return None
    caption = f"{setting_words(runs)}. Means over {seeds(select(runs, group='main'))}. {words}"
    return Figure(id_, title, caption, table=Table(("network", "method", *fields.values()), rows))


def against_frobenius(runs: Sequence[Run]) -> Figure | None:
    """G5: every sparse penalty against p = 2."""
    tests = sparse_tests(runs)
    panels, data = [], []
    for network, name in NETWORKS.items():
        for field, words in (
            ("accuracy", "gain in accuracy"),
            ("cross_entropy", "gain in cross-entropy (nats)"),
        ):
            some = [t for t in tests if t[0] == network and t[1] == field]
            if not some:
                continue
            rows = [
                Interval(
                    label(t[2]), t[3].value, t[3].low, t[3].high, note=f"p = {t[4]:.2g}", method=look(t[2])
                )
                for t in some
            ]
            panels.append(
                interval_chart(
                    rows,
                    title="Sparse penalties against the Frobenius norm",
                    x_label=words,
                    panel=name,
                    reference=(0.0, "as good as p = 2"),
                    id=f"frobenius-{network}-{field.replace('_', '-')}",
                )
            )
            data += [
                {
                    "network": name,
                    "method": label(t[2]),
                    "corrected_p": t[4],
                    **columns(t[3], f"gain_{field}"),
                }
                for t in some
            ]
    if not panels:
        return None
    caption = (
        f"{setting_words(runs)}. Gain of each penalty with p < 2 over p = 2, paired by seed: "
        f"{SPREAD.format(seeds=seeds(select(runs, group='main')))}. Right of 0 the sparse penalty is "
        "better. p: one-sided paired t-test, corrected over all rows of all panels (Holm)."
    )
    return Figure(
        "sparse-against-frobenius", "Do sparse forms beat Frobenius?", caption, svg=panels, data=data
    )


def corruption(runs: Sequence[Run]) -> Figure | None:
    """G8: accuracy under each corruption."""
    panels: list[str] = []
    data: list[dict[str, Value]] = []
    for name, cell, methods in _here(runs):
        some = cell.runs(runs)
        kinds = [(row["corruption"], row["strength"]) for row in some[0].records[0]["corruptions"]]
        values = []
        for method in methods:
            rows = [run.records[0] for run in some if run in _of(some, method)]
            found = [sum(row["clean_accuracy"] for row in rows) / len(rows)]
            found += [
                sum(row["corruptions"][i]["accuracy"] for row in rows) / len(rows) for i in range(len(kinds))
            ]
            values.append(found)
            names = ["clean", *(f"{kind} {strength:g}" for kind, strength in kinds)]
            data.append({"network": name, "method": label(method), **dict(zip(names, found, strict=True))})
        panels.append(
            heat_map(
                [label(method) for method in methods],
                names,
                values,
                title="Accuracy under corruption",
                label="accuracy",
                panel=name,
                text=[[f"{100 * value:.1f}" for value in row] for row in values],
                id=f"corruption-{cell.network}",
            )
        )
    if not panels:
        return None
    caption = (
        f"{setting_words(runs)}. Accuracy in per cent on the first 2 000 test images at most, as they are "
        "and corrupted: Gaussian noise of deviation 0.1 and 0.3 (pixels from 0 to 1), Gaussian blur of 1 "
        "and 2 pixels, contrast to a half and a quarter, shifts by 2 and 4 pixels. Means over "
        f"{seeds(select(runs, group='main'))}."
    )
    return Figure("corruption", "Accuracy under corruption", caption, svg=panels, data=data)


def _of(runs: Sequence[Run], method: str) -> list[Run]:
    return [run for run in runs if key(run.config) == method]


def cost(runs: Sequence[Run]) -> Figure | None:
    """G11: what a step costs."""
    panels: list[str] = []
    data: list[dict[str, Value]] = []
    for network, name in NETWORKS.items():
        rows = [row for run in select(runs, group="cost", network=network) for row in run.records]
        if not rows:
            continue
        rows.sort(key=lambda row: row["times"])
        drawn = [
            Interval(
                label(r["method"]),
                r["times"],
                note=f"{1e3 * r['seconds_per_step']:.2f} ms",
                method=look(r["method"]),
            )
            for r in rows
        ]
        panels.append(
            interval_chart(
                drawn,
                title="Cost of a step",
                x_label="times a plain step",
                panel=name,
                reference=(3.0, "three plain steps"),
                id=f"cost-{network}",
            )
        )
        data += [{"network": name, **row} for row in rows]
    if not panels:
        return None
    config = select(runs, group="cost")[0].config
    caption = (
        f"Median seconds of a training step on {config['batch_size']} images, one thread, over that of "
        "AdamW; all methods in turn, five rounds, alone on the machine. Spectral penalties renew their "
        "singular directions at every fifth step, Jacobian penalties use the whole batch at every step."
    )
    return Figure("cost", "Cost of a step", caption, svg=panels, data=data)
