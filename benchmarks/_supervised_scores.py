"""Errors of supervised learners, and what they come to over tables.

The error of a regression is Σ(ŷ − y)² / Σ(y − ȳ)² over the test rows, ȳ the mean of the training targets: 1
is the error of that mean. The error of a classification is the log loss, probabilities below 1e-4 counting as
1e-4; ``wrong`` is its share of wrong classes. A fit that failed has the error of the mean target, or of the
training shares of the classes, since a user would be left with that, and is counted in ``failed``.

Of each method and table the errors of all splits are averaged. Over tables, in pairs with kernel ridge:

* ``ratio``, the geometric mean, with a 95 % t interval of the logarithms;
* ``median``, the median ratio, with its distribution-free interval by order statistics;
* ``worst``, the largest ratio, and its table.

``rank`` is the mean rank among all methods over the tables that all of them have, 1 the best; ``regret`` is
the largest ratio to the best method of a table. Errors below 1e-3 (log loss) or 1e-8 count as that in ratios.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, t

from overt.studies.claims.statistics import Span, median_of_spans

CLIP = 1e-4
LEAST = {"regression": 1e-8, "classification": 1e-3}
Matrix = NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]


def log_loss(probabilities: Matrix, labels: NDArray[Any]) -> float:
    """Mean of −log p of the true classes."""
    found = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(found, CLIP, 1)).mean())


def errors(predicted: NDArray[Any], truth: NDArray[Any], classes: int) -> dict[str, float]:
    """What a prediction is judged by; training targets have mean 0 in a regression.

    Raises
    ------
    ValueError
        If a prediction is no number.
    """
    if not np.isfinite(predicted).all():
        raise ValueError("the predictions are not finite")
    if not classes:
        return {"error": float(((predicted - truth) ** 2).sum() / (truth**2).sum())}
    wrong = float((predicted.argmax(1) != truth).mean())
    return {"error": log_loss(predicted, truth), "wrong": wrong}


def floor(labels: NDArray[Any], truth: NDArray[Any], classes: int) -> dict[str, float]:
    """The errors of the training mean, or of the training shares of the classes."""
    if not classes:
        return {"error": 1.0}
    shares = np.bincount(labels, minlength=classes) / len(labels)
    return errors(np.tile(shares, (len(truth), 1)), truth, classes)


# ---- over tables -----------------------------------------------------------------------------------------


def by_table(rows: Rows, name: str = "error") -> dict[str, float]:
    """Mean of a number over the splits of each table."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.get(name) is not None:
            found.setdefault(row["table"], []).append(row[name])
    return {table: float(np.mean(values)) for table, values in found.items()}


def shared(records: Mapping[str, Rows]) -> dict[str, list[Mapping[str, Any]]]:
    """Of each method's rows of one condition those of splits that all methods have."""
    keys = [{(row["table"], row["seed"]) for row in rows} for rows in records.values() if rows]
    common = set.intersection(*keys) if keys else set()
    return {
        name: [row for row in rows if (row["table"], row["seed"]) in common]
        for name, rows in records.items()
        if rows
    }


def geometric(ratios: Iterable[float]) -> dict[str, float]:
    """Geometric mean and median of ratios with their 95 % intervals; the first needs two, the other six."""
    values = np.array(list(ratios))
    logs = np.log(values)
    found = {"ratio": float(np.exp(logs.mean()))}
    if len(logs) > 1:
        half = float(t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs)))
        found |= {"low": float(np.exp(logs.mean() - half)), "high": float(np.exp(logs.mean() + half))}
    middle = median_of_spans([Span.of(float(one)) for one in values])
    found["median"] = middle.value
    if np.isfinite([middle.low, middle.high]).all():
        found |= {"median low": middle.low, "median high": middle.high}
    return found


def mean_ranks(means: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean rank of each method over the tables that all have, ties sharing their ranks."""
    tables = sorted(set.intersection(*(set(found) for found in means.values()))) if means else []
    if not tables:
        return {}
    ranks = np.array([rankdata([found[table] for found in means.values()]) for table in tables])
    return dict(zip(means, ranks.mean(0).tolist(), strict=True))


def compared(records: Mapping[str, Rows], task: str, reference: str) -> list[dict[str, Any]]:
    """One line a method for the rows of one task and condition.

    Ratios are over the splits that the method and the reference have; rank and regret over the splits that
    all methods have, whose number is ``splits for rank``.
    """
    present = {name: rows for name, rows in records.items() if rows}
    means = {name: _means(rows, task) for name, rows in shared(present).items()}
    together = {
        table: min(found[table] for found in means.values()) for table in next(iter(means.values()), {})
    }
    ranks = mean_ranks(means)
    lines = []
    for name, rows in present.items():
        line: dict[str, Any] = {"method": name, "tables": len(by_table(rows)), "splits": len(rows)}
        line |= {"failed": sum("failed" in row for row in rows)}
        if reference in present and name != reference:
            line |= _against({"ours": rows, "theirs": present[reference]}, task)
        if together:
            over = {table: means[name][table] / least for table, least in together.items()}
            last = max(over, key=lambda table: over[table])
            line |= {"rank": ranks[name], "regret": over[last], "regret table": last}
            line |= {"splits for rank": len(shared(present)[name])}
        if task == "classification":
            line |= {"wrong": float(np.mean(list(by_table(rows, "wrong").values())))}
        lines.append(line | cost(rows))
    return lines


def _means(rows: Rows, task: str) -> dict[str, float]:
    """Mean error by table, tiny ones raised."""
    return {table: max(error, LEAST[task]) for table, error in by_table(rows).items()}


def _against(pair: Mapping[str, Rows], task: str) -> dict[str, Any]:
    """Ratios by table over the splits that both have."""
    ours, theirs = (_means(rows, task) for rows in shared(pair).values())
    if not ours:
        return {}
    ratios = {table: ours[table] / theirs[table] for table in ours}
    worst = max(ratios, key=lambda table: ratios[table])
    found: dict[str, Any] = geometric(ratios.values())
    found |= {"better on": sum(one < 1 for one in ratios.values())}
    return found | {"worst": ratios[worst], "worst table": worst}


def cost(rows: Rows) -> dict[str, Any]:
    """Median and sum of the processor seconds of a fit, and the median of those of a prediction."""
    fits = [row["cpu"] for row in rows if "cpu" in row]
    predictions = [row["cpu predict"] for row in rows if "cpu predict" in row]
    if not fits:
        return {}
    found = {"cpu": float(np.median(fits)), "cpu, all": float(np.sum(fits))}
    return found | ({"cpu predict": float(np.median(predictions))} if predictions else {})


def structured(records: Mapping[str, Rows], ours: str) -> list[dict[str, Any]]:
    """One line a problem and method: mean error, spread over seeds, and ratio to the best rival's.

    A digit's error is its share of wrong classes. ``over best rival`` divides by the smallest mean among the
    other methods, `ours` not counting as a rival of the rest.
    """
    rows_of = {name: rows for name, rows in records.items() if rows}
    problems = list(dict.fromkeys(row["table"] for rows in rows_of.values() for row in rows))
    lines = []
    for problem in problems:
        part = shared(
            {n: [r for r in rows if r["table"] == problem] for n, rows in rows_of.items()},
        )
        values = {
            name: [row["wrong"] if row.get("wrong") is not None else row["error"] for row in rows]
            for name, rows in part.items()
        }
        for name, found in values.items():
            if not found:
                continue
            rivals = [float(np.mean(v)) for other, v in values.items() if v and other not in (name, ours)]
            mean = float(np.mean(found))
            line: dict[str, Any] = {"problem": problem, "method": name, "seeds": len(found), "error": mean}
            line |= {"spread": float(np.std(found, ddof=1))} if len(found) > 1 else {}
            line |= {"over best rival": mean / min(rivals)} if rivals and min(rivals) > 0 else {}
            line |= {"failed": sum("failed" in row for row in part[name])}
            lines.append(line | cost(part[name]))
    return lines
