"""The verdicts of G1–G11, as pure functions of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from overt.studies.base import Estimate, Run, Verdict
from overt.studies.claims import evidence as ev
from overt.studies.claims.evidence import number, outcome, select
from overt.studies.claims.statistics import paired_difference
from overt.studies.generalization.claims import DEAREST, FEWEST, REGRET, SMALLEST
from overt.studies.generalization.methods import label
from overt.studies.generalization.results import NETWORKS, Cell, cells, gain, keys, mean, numbers, trials

__all__ = ["RULES", "judge", "regrets", "sparse_tests"]

FROBENIUS, DEFAULT = "jacobian 2", "jacobian 1 eigen"
JACOBIAN = (FROBENIUS, DEFAULT)
USUAL = ("nothing", "weight_decay", "dropout")
IMPLICIT = ("overparameterized 2", "overparameterized 3")
OF_WEIGHTS = ("normalized_nuclear_norm", "nuclear_norm")


def missing(claim: str) -> Verdict:
    """The verdict where the rule lacks runs."""
    needs = (
        "the run that times all methods is" if claim == "G11" else "five seeds of all that it compares are"
    )
    return Verdict(claim, "inconclusive", f"the runs that the rule needs are missing: {needs}")


class Contest:
    """Some penalties against rivals in one cell."""

    def __init__(
        self,
        runs: Sequence[Run],
        cell: Cell,
        ours: Sequence[str],
        rivals: Sequence[str],
        field: str,
        level: float,
    ) -> None:
        self.smallest = SMALLEST[field]
        found = {
            one: [
                gain(runs, cell, one, rival, field, fewest=FEWEST, confidence=level, name=label)
                for rival in rivals
            ]
            for one in ours
        }
        self.complete = all(each is not None for row in found.values() for each in row)
        self.found = {one: [each for each in row if each is not None] for one, row in found.items()}

    def wins(self, one: str) -> bool:
        """Better than every rival, and possibly by enough."""
        return all(ev.low(e) > 0 and ev.high(e) >= self.smallest for e in self.found[one])

    def beaten(self, one: str) -> bool:
        """Over some rival there is no gain that counts."""
        return any(ev.high(e) < self.smallest for e in self.found[one])

    @property
    def won(self) -> bool:
        """Whether one of the penalties is better than every rival."""
        return any(self.wins(one) for one in self.found)

    @property
    def lost(self) -> bool:
        """Whether none of them has a gain that counts over every rival."""
        return all(self.beaten(one) for one in self.found)

    @property
    def words(self) -> str:
        """The least gain of each penalty."""
        return ", ".join(
            f"{label(one)} {min(e.value for e in row):+.3f}" for one, row in self.found.items() if row
        )

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """All gains."""
        return tuple(e for row in self.found.values() for e in row)


def beats(runs: Sequence[Run], claim: str, ours: Sequence[str], rivals: Sequence[str], field: str) -> Verdict:
    """Whether on both networks one of the penalties is better than each rival."""
    level = 1 - 0.05 / len(ours)
    contests = {n: Contest(runs, Cell(n), ours, rivals, field, level) for n in NETWORKS}
    if not all(each.complete for each in contests.values()):
        return missing(claim)
    reason = "; ".join(f"{NETWORKS[n]}: least gain {each.words}" for n, each in contests.items())
    return Verdict(
        claim,
        outcome(all(c.won for c in contests.values()), any(c.lost for c in contests.values())),
        reason,
        tuple(e for c in contests.values() for e in c.estimates),
    )


def sparse_tests(runs: Sequence[Run]) -> list[tuple[str, str, str, Estimate, float]]:
    """Every sparse penalty against p = 2: network, field, method, gain, and Holm's corrected p-value."""
    rows = []
    for network in NETWORKS:
        cell = Cell(network)
        for field in ("accuracy", "cross_entropy"):
            for method in keys(cell.runs(runs)):
                if not method.startswith("jacobian") or method == FROBENIUS:
                    continue
                found = gain(runs, cell, method, FROBENIUS, field, fewest=FEWEST, name=label)
                if found is not None:
                    rows.append((network, field, method, found, _p_value(runs, cell, method, field)))
    order = sorted(range(len(rows)), key=lambda i: rows[i][4])
    corrected, largest = dict.fromkeys(order, 1.0), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(rows) - place) * rows[i][4]))
        corrected[i] = largest
    return [(*row[:4], corrected[i]) for i, row in enumerate(rows)]


def _p_value(runs: Sequence[Run], cell: Cell, method: str, field: str) -> float:
    from scipy.stats import ttest_1samp

    d = np.array(_gains(runs, cell, method, FROBENIUS, field))
    if np.ptp(d) == 0:
        return 0.0 if d[0] > 0 else 1.0
    return float(ttest_1samp(d, 0.0, alternative="greater").pvalue)


def _gains(runs: Sequence[Run], cell: Cell, ours: str, theirs: str, field: str) -> list[float]:
    first, second = (numbers(runs, cell, method, field) for method in (ours, theirs))
    sign = 1 if field in ("accuracy",) else -1
    return [sign * (first[s] - second[s]) for s in sorted(set(first) & set(second))]


def sparse(runs: Sequence[Run]) -> Verdict:
    """G5: whether a sparse penalty is somewhere better than the squared Frobenius norm."""
    tests = sparse_tests(runs)
    if not tests:
        return missing("G5")
    better = [t for t in tests if t[4] <= 0.05 and t[3].value >= SMALLEST[t[1]]]
    averages = []
    for network in NETWORKS:
        for field in ("accuracy", "cross_entropy"):
            some = [t[2] for t in tests if (t[0], t[1]) == (network, field)]
            rows = [_gains(runs, Cell(network), m, FROBENIUS, field) for m in some]
            if rows and len({len(row) for row in rows}) == 1:
                name = f"mean gain of {len(rows)} sparse penalties in {field}, {NETWORKS[network]}"
                averages.append((field, mean(np.mean(rows, axis=0).tolist(), name)))
    none = len(averages) == 4 and all(ev.high(e) < SMALLEST[f] for f, e in averages)
    best = max(tests, key=lambda t: t[3].value / SMALLEST[t[1]])
    what = f"{label(best[2])}, {best[1].replace('_', ' ')}, {NETWORKS[best[0]]}"
    reason = (
        f"{len(better)} of {len(tests)} comparisons with p = 2 are better after correction; the largest gain "
        f"is {best[3].value:+.3f} ({what}, corrected p = {ev.say(best[4])})"
    )
    shown = tuple(t[3] for t in better) or (best[3],)
    return Verdict("G5", outcome(bool(better), none), reason, shown + tuple(e for _, e in averages))


def fourier(runs: Sequence[Run]) -> Verdict:
    """G6: whether the Fourier basis is better than the others on the convolutional network."""
    contests = [
        Contest(
            runs,
            Cell("cnn"),
            (f"jacobian {p} fourier",),
            (f"jacobian {p} eigen", f"jacobian {p} identity"),
            "accuracy",
            0.975,
        )
        for p in ("1", "2/3")
    ]
    if not all(c.complete for c in contests):
        return missing("G6")
    return Verdict(
        "G6",
        outcome(any(c.won for c in contests), all(c.lost for c in contests)),
        "least gain over the eigenbasis and the pixels: " + ", ".join(c.words for c in contests),
        tuple(e for c in contests for e in c.estimates),
    )


def regrets(runs: Sequence[Run], method: str) -> tuple[float, dict[int, dict[str, float]]] | None:
    """The source's weight, and for each seed what it costs elsewhere; None without runs of the source."""
    source = trials(runs, Cell("mlp"), method)
    if not source:
        return None
    settings = sorted(next(iter(source.values())))
    weight = min(settings, key=lambda w: float(np.mean([row[w] for row in source.values()])))
    found: dict[int, dict[str, float]] = {}
    for cell in [*cells(runs), Cell("mlp", "units")]:
        if cell.network == "mlp" and cell.group == "main":
            continue
        for seed, row in trials(runs, cell, method).items():
            reference = source.get(seed, {}) if cell.group == "units" else row
            if weight in row and reference:
                name = "other units" if cell.group == "units" else f"{cell.network}, n = {cell.n_train}"
                found.setdefault(seed, {})[name] = row[weight] - min(reference.values())
    return weight, found


def scales(runs: Sequence[Run]) -> Verdict:
    """G7: what a weight costs that is kept from elsewhere, normalized and not."""
    plain, normalized = (regrets(runs, method) for method in (DEFAULT, f"{DEFAULT} normalized"))
    if plain is None or normalized is None:
        return missing("G7")
    ours, theirs = normalized[1], plain[1]
    seeds = [s for s in sorted(ours) if s in theirs and set(ours[s]) == set(theirs[s])]
    if len(seeds) < FEWEST:
        return missing("G7")
    a, b = ([float(np.mean(list(rows[s].values()))) for s in seeds] for rows in (ours, theirs))
    regret = mean(a, "regret of the normalized penalty, nats")
    other = mean(b, "regret of the penalty that is not normalized, nats")
    apart = paired_difference(b, a, np.mean, label="difference of the two")
    holds = ev.high(regret) <= REGRET and ev.low(apart) > 0
    fails = ev.low(regret) > REGRET or ev.high(apart) < 0
    reason = (
        f"the weight {normalized[0]:g} costs {regret.value:.3f} nats elsewhere if the penalty is normalized, "
        f"{plain[0]:g} costs {other.value:.3f} if not"
    )
    return Verdict("G7", outcome(holds, fails), reason, (regret, other, apart))


def sizes(runs: Sequence[Run]) -> Verdict:
    """G10: whether the gain over nothing is larger with fewer images."""
    found = []
    for network in NETWORKS:
        there = [c for c in cells(runs) if c.network == network and c.group == "sizes"]
        if len(there) < 2:
            return missing("G10")
        ends = []
        for cell in (there[0], there[-1]):
            first, second = (numbers(runs, cell, m, "accuracy") for m in (FROBENIUS, "nothing"))
            ends.append({s: first[s] - second[s] for s in set(first) & set(second)})
        seeds = sorted(set(ends[0]) & set(ends[1]))
        if len(seeds) < FEWEST:
            return missing("G10")
        few, many = ([end[s] for s in seeds] for end in ends)
        name = f"gain at n = {there[0].n_train} minus gain at n = {there[-1].n_train}, {NETWORKS[network]}"
        found.append(paired_difference(few, many, np.mean, label=name))
    holds = all(ev.low(e) > 0 for e in found)
    fails = any(ev.high(e) < SMALLEST["accuracy"] for e in found)
    reason = "; ".join(f"{e.label}: {e.value:+.3f}" for e in found)
    return Verdict("G10", outcome(holds, fails), reason, tuple(found))


def cost(runs: Sequence[Run]) -> Verdict:
    """G11: the dearest Jacobian penalty over a plain step."""
    found = []
    for network in NETWORKS:
        rows = [row for run in select(runs, group="cost", network=network) for row in run.records]
        times = {row["method"]: number(row["times"]) for row in rows if row["method"].startswith("jacobian")}
        if not times:
            return missing("G11")
        worst = max(times, key=lambda name: times[name])
        found.append((NETWORKS[network], worst, min(times[worst], ev.WORST)))
    estimates = tuple(
        Estimate(f"step with {label(w)} over a plain one, {n}", t, None, None, 1) for n, w, t in found
    )
    worst_time = max(t for _, _, t in found)
    reason = "; ".join(f"{n}: {label(w)}, {t:.2f} times a plain step" for n, w, t in found)
    return Verdict("G11", outcome(worst_time <= DEAREST, worst_time > 1.1 * DEAREST), reason, estimates)


RULES: Mapping[str, Callable[[Sequence[Run]], Verdict]] = {
    "G1": partial(beats, claim="G1", ours=JACOBIAN, rivals=USUAL, field="accuracy"),
    "G2": partial(beats, claim="G2", ours=JACOBIAN, rivals=USUAL, field="cross_entropy"),
    "G3": partial(
        beats, claim="G3", ours=JACOBIAN, rivals=(*USUAL, "early_stopping"), field="scaled_cross_entropy"
    ),
    "G4": partial(
        beats, claim="G4", ours=("normalized_nuclear_norm", DEFAULT), rivals=IMPLICIT, field="accuracy"
    ),
    "G5": sparse,
    "G6": fourier,
    "G7": scales,
    "G8": partial(beats, claim="G8", ours=JACOBIAN, rivals=USUAL, field="corrupted_accuracy"),
    "G9": partial(beats, claim="G9", ours=OF_WEIGHTS, rivals=("nothing", "weight_decay"), field="kept"),
    "G10": sizes,
    "G11": cost,
}


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the runs for it are missing."""
    return [rule(runs) for rule in RULES.values()]
