"""The verdicts of P1–P8, as pure functions of stored runs. The rules in words are in ``claims``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from overt.studies.base import Estimate, Run, Verdict
from overt.studies.claims.evidence import high, low, missing, outcome
from overt.studies.predict.board import RANDOM, Board, Sample, board_of
from overt.studies.predict.claims import MIN_EFFECTIVE, MIN_ENVIRONMENTS, NORMS, OURS, RIVALS
from overt.studies.predict.environments import Environment
from overt.studies.predict.measures import MEASURES
from overt.studies.predict.quantities import BASES

TITLES = {measure.name: measure.title for measure in MEASURES} | {RANDOM: "a random number"}


def judge(runs: Sequence[Run]) -> list[Verdict]:
    """Return one verdict for each claim; *inconclusive* where the networks for it are not there."""
    board, cnn = board_of(runs), board_of(runs, "cnn")
    names = dict.fromkeys(
        [OURS, *RIVALS, *NORMS, "flatness", "spectral_product", "frobenius_product", "jacobian_margin"]
        + [f"{kind}_{basis}" for basis in BASES for kind in ("cost_1", "normalized")]
        + ["cost_depth_eigen_margin"]
    )
    psi = board.granulated(names) if board else {}
    verdicts = [
        _against("P1", psi, OURS, RIVALS, "Ψ"),
        _against("P2", board.information([OURS, *RIVALS]) if board else {}, OURS, RIVALS, "K"),
        normalizing(psi),
        _bases(cnn),
        sparse(psi),
        _against("P6", psi, "flatness", NORMS, "Ψ"),
        wrong_way(psi),
        robust(board),
    ]
    return [_with_count(verdict, cnn if verdict.claim == "P4" else board) for verdict in verdicts]


def _with_count(verdict: Verdict, board: Board | None) -> Verdict:
    if board is None:
        return verdict
    count = f"; {board.kept} of {board.made} networks reached the target loss"
    return replace(verdict, reason=verdict.reason + count)


def _words(estimate: Estimate) -> str:
    ends = "" if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.value:+.2f}{ends}"


def _difference(samples: dict[str, Sample], first: str, second: str, letter: str) -> Estimate:
    label = f"{letter}, {TITLES[first]} − {TITLES[second]}"
    return samples[first].minus(samples[second]).estimate(label)


def _usable(samples: dict[str, Sample], names: Sequence[str]) -> bool:
    return bool(samples) and all(math.isfinite(samples[name].value) for name in names)


def _against(claim: str, samples: dict[str, Sample], own: str, others: Sequence[str], letter: str) -> Verdict:
    """P1, P2, P4, P6: above each of the others, or below one."""
    if not _usable(samples, [own, *others]):
        return missing(claim)
    gaps = [_difference(samples, own, other, letter) for other in others]
    reason = f"{letter} of {TITLES[own]} is {samples[own].value:.2f}; difference to " + ", ".join(
        f"{TITLES[other]} {_words(gap)}" for other, gap in zip(others, gaps, strict=True)
    )
    holds, fails = all(low(gap) > 0 for gap in gaps), any(high(gap) < 0 for gap in gaps)
    return Verdict(claim, outcome(holds, fails), reason, tuple(gaps))


def normalizing(psi: dict[str, Sample]) -> Verdict:
    """P3."""
    pairs = [(f"normalized_{basis}", f"cost_1_{basis}") for basis in BASES]
    if not _usable(psi, [name for pair in pairs for name in pair]):
        return missing("P3")
    gaps = [_difference(psi, own, plain, "Ψ") for own, plain in pairs]
    above, below = sum(low(gap) > 0 for gap in gaps), sum(high(gap) < 0 for gap in gaps)
    reason = "Ψ of normalized − plain: " + ", ".join(
        f"{basis} {_words(gap)}" for basis, gap in zip(BASES, gaps, strict=True)
    )
    holds, fails = above >= 2 and not below, below >= 2 and not above
    return Verdict("P3", outcome(holds, fails), reason, tuple(gaps))


def _bases(cnn: Board | None) -> Verdict:
    """P4."""
    names = [f"cost_1_{basis}_margin" for basis in ("fourier", "eigen", "identity")]
    return _against("P4", cnn.granulated(names) if cnn else {}, names[0], names[1:], "Ψ")


def sparse(psi: dict[str, Sample]) -> Verdict:
    """P5."""
    own, deep, plain = OURS, "cost_depth_eigen_margin", "jacobian_margin"
    if not _usable(psi, [own, deep, plain]):
        return missing("P5")
    gap, other = _difference(psi, own, plain, "Ψ"), _difference(psi, deep, plain, "Ψ")
    reason = f"Ψ of p = 1 − p = 2: {_words(gap)}; of p = 2/L − p = 2: {_words(other)}"
    return Verdict("P5", outcome(low(gap) > 0, high(gap) < 0), reason, (gap, other))


def wrong_way(psi: dict[str, Sample]) -> Verdict:
    """P7."""
    names = ("spectral_product", "frobenius_product")
    if not _usable(psi, names):
        return missing("P7")
    found = [psi[name].estimate(f"Ψ, {TITLES[name]}") for name in names]
    reason = "Ψ: " + ", ".join(f"{TITLES[n]} {_words(e)}" for n, e in zip(names, found, strict=True))
    holds, fails = all(high(e) < 0 for e in found), any(low(e) > 0 for e in found)
    return Verdict("P7", outcome(holds, fails), reason, tuple(found))


@dataclass(frozen=True)
class Worst:
    """A measure over environments: the largest sign error, and whether it surely fails or surely holds."""

    name: str
    place: Environment
    estimate: Estimate
    fails: bool
    robust: bool


def worst_cases(board: Board, names: Sequence[str]) -> tuple[list[Worst], int]:
    """The worst environment of each measure, with intervals for all environments together; their number."""
    from scipy.stats import norm

    found: list[Worst] = []
    count = 0
    for name, errors in board.errors(names).items():
        judged = {place: sample for place, (sample, pairs) in errors.items() if pairs >= MIN_EFFECTIVE}
        count = len(judged)
        if not judged:
            continue
        reach = float(norm.ppf(1 - 0.025 / count))
        ends = {
            place: (s.value - reach * s.deviation, s.value + reach * s.deviation)
            for place, s in judged.items()
        }
        place = max(judged, key=lambda key: (judged[key].value, str(key)))
        label = f"largest sign error, {TITLES[name]}: {place}"
        clipped = (max(0.0, ends[place][0]), min(1.0, ends[place][1]))
        estimate = Estimate(label, judged[place].value, *clipped, board.kept)
        fails = any(bottom >= 0.5 - 1e-9 for bottom, _ in ends.values())
        found.append(Worst(name, place, estimate, fails, all(top < 0.5 for _, top in ends.values())))
    return found, count


def robust(board: Board | None) -> Verdict:
    """P8."""
    if board is None:
        return missing("P8")
    found, count = worst_cases(board, [name for name in board.names if name != RANDOM])
    if count < MIN_ENVIRONMENTS:
        reason = f"{count} environments have an effective number of {MIN_EFFECTIVE} pairs"
        return Verdict("P8", "inconclusive", reason)
    failing, holding = [w for w in found if w.fails], [w for w in found if w.robust]
    best = min(found, key=lambda one: one.estimate.value)
    own = next(one for one in found if one.name == OURS)
    reason = (
        f"{len(failing)} of {len(found)} measures surely fail in one of {count} environments, {len(holding)} "
        f"surely hold in all; the smallest largest sign error is {best.estimate.value:.2f} "
        f"({TITLES[best.name]}: {best.place}), that of {TITLES[OURS]} {own.estimate.value:.2f} ({own.place})"
    )
    estimates = (best.estimate, own.estimate) if best is not own else (own.estimate,)
    return Verdict("P8", outcome(len(failing) == len(found), bool(holding)), reason, estimates)
