"""What a zoo says of claims about measures: comparisons of criteria, and worst cases over environments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from overt.studies.base import Estimate, Run
from overt.studies.claims.quantities import MissingRunsError
from overt.studies.claims.verdict_rules import Decision, State

if TYPE_CHECKING:
    from overt.studies.predict.board import Board, Sample
    from overt.studies.predict.environments import Environment

LEAST_REACHED = 0.95  # share of networks that must reach the target loss
MIN_EFFECTIVE = 12  # effective number of pairs that an environment needs, as in Dziugaite et al.
MIN_ENVIRONMENTS = 7  # fewer say little of a worst case: there are seven hyperparameters


def better(runs: Sequence[Run], *, pairs: Sequence[tuple[str, str]], criterion: str, family: str) -> Decision:
    """Whether the first measure of each pair is better in a criterion, Ψ or K."""
    from overt.studies.predict.board import TITLES

    board = _board(runs, family)
    samples = _samples(board, criterion, [name for pair in pairs for name in pair])
    found = [
        samples[own].minus(samples[other]).estimate(f"{criterion}, {TITLES[own]} − {TITLES[other]}")
        for own, other in pairs
    ]
    return _decision(board, found, lambda e: _end(e.low, -1) > 0, lambda e: _end(e.high, 1) < 0)


def wrong_way(runs: Sequence[Run], *, names: Sequence[str]) -> Decision:
    """Whether Ψ of all these measures is below zero."""
    from overt.studies.predict.board import TITLES

    board = _board(runs)
    samples = _samples(board, "Ψ", names)
    found = [samples[name].estimate(f"Ψ, {TITLES[name]}") for name in names]
    return _decision(board, found, lambda e: _end(e.high, 1) < 0, lambda e: _end(e.low, -1) > 0)


@dataclass(frozen=True)
class Worst:
    """A measure over environments: the largest sign error, and whether it surely fails or surely holds."""

    name: str
    place: Environment
    estimate: Estimate
    fails: bool
    robust: bool


def no_robust(runs: Sequence[Run]) -> Decision:
    """Whether every measure surely fails somewhere."""
    from overt.studies.predict.board import RANDOM, TITLES

    board = _board(runs)
    found, count = worst_cases(board, [name for name in board.names if name != RANDOM])
    if count < MIN_ENVIRONMENTS:
        return Decision("open", f"{count} environments have an effective number of {MIN_EFFECTIVE} pairs")
    failing, holding = sum(one.fails for one in found), sum(one.robust for one in found)
    best = min(found, key=lambda one: one.estimate.value)
    reason = (
        f"{failing} of {len(found)} measures surely fail in one of {count} environments, {holding} surely "
        f"hold in all; the smallest largest sign error is {best.estimate.value:.2f} "
        f"({TITLES[best.name]}: {best.place})"
    )
    state: State = "holds" if failing == len(found) else "fails" if holding else "open"
    return _with_count(board, state, reason, [best.estimate])


def worst_cases(board: Board, names: Sequence[str]) -> tuple[list[Worst], int]:
    """The worst environment of each measure, with intervals for all environments together; their number."""
    from scipy.stats import norm

    from overt.studies.predict.board import TITLES

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
        fails = any(
            bottom >= 0.5 - 1e-9 for bottom, _ in ends.values()
        )  # a constant errs in exactly one half
        found.append(Worst(name, place, estimate, fails, all(top < 0.5 for _, top in ends.values())))
    return found, count


def _board(runs: Sequence[Run], family: str = "") -> Board:
    from overt.studies.predict.board import board_of

    board = board_of(runs, family)
    if board is None:
        raise MissingRunsError(
            "the networks that the rule needs are missing, or did not reach the target loss"
        )
    return board


def _samples(board: Board, criterion: str, names: Sequence[str]) -> dict[str, Sample]:
    ask = board.granulated if criterion == "Ψ" else board.information
    samples = ask(dict.fromkeys(names))
    if not all(math.isfinite(one.value) for one in samples.values()):
        raise MissingRunsError("no two networks differ in one hyperparameter alone")
    return samples


def _decision(
    board: Board, found: Sequence[Estimate], good: Callable[[Estimate], bool], bad: Callable[[Estimate], bool]
) -> Decision:
    state: State = "holds" if all(map(good, found)) else "fails" if any(map(bad, found)) else "open"
    said = ", ".join(
        f"{e.label} {e.value:+.2f} [{_end(e.low, -1):.2f}, {_end(e.high, 1):.2f}]" for e in found
    )
    return _with_count(board, state, said, found)


def _with_count(board: Board, state: State, reason: str, found: Sequence[Estimate]) -> Decision:
    """Open where too many networks were left out: what they would have shown is not known."""
    enough = board.kept >= LEAST_REACHED * board.made
    said = f"{reason}; {board.kept} of {board.made} networks reached the target loss"
    return Decision(state if enough else "open", said, tuple(found))


def _end(end: float | None, sign: int) -> float:
    return sign * math.inf if end is None else end
