"""Rules as data: quantities, the bars that they must keep to, and the verdict that follows."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any, Literal

from overt.studies.base import Claim, Estimate, Outcome, Run, Verdict
from overt.studies.claims.quantities import Ended, Median, MissingRunsError, MixedSettingsError, Quantity
from overt.studies.report.figures import format_number

__all__ = ["Bar", "Decision", "FunctionRule", "Rule", "State", "above", "below", "between"]

State = Literal["holds", "fails", "open"]
OUTCOMES: Mapping[str, Mapping[State, Outcome]] = {
    "paper": {"holds": "reproduced", "fails": "not reproduced", "open": "inconclusive"},
    "own": {"holds": "supported", "fails": "refuted", "open": "undecided"},
}


@dataclass(frozen=True)
class Bar:
    """Where the whole interval of a quantity must lie, in each of its settings.

    Attributes
    ----------
    quantity : Quantity
    low, high : float
        The interval must lie between them; an end that equals one decides nothing.
    refuted : float or None
        It fails where the whole interval lies beyond this number, on the side of the nearer end; without it
        beyond ``low`` or ``high`` themselves. Between the two nothing is decided.
    """

    quantity: Quantity
    low: float = -math.inf
    high: float = math.inf
    refuted: float | None = None

    @property
    def asked(self) -> Quantity:
        """The quantity, in which a lost run never speaks for the bar."""
        return replace(self.quantity, lost_counts=math.isfinite(self.high))

    def state(self, estimate: Estimate) -> State:
        """What an estimate says."""
        low = -math.inf if estimate.low is None else estimate.low
        high = math.inf if estimate.high is None else estimate.high
        if (math.isinf(self.low) or low > self.low) and (math.isinf(self.high) or high < self.high):
            return "holds"
        least = self.low if self.refuted is None or not math.isfinite(self.low) else self.refuted
        most = self.high if self.refuted is None or not math.isfinite(self.high) else self.refuted
        return "fails" if high < least or low > most else "open"

    @property
    def words(self) -> str:
        """The bar, as a rule says it."""
        beyond = "" if self.refuted is None else f" (refuted beyond {format_number(self.refuted)})"
        return f"{self.quantity.words} {self.region}{beyond}"

    @property
    def region(self) -> str:
        """Where the interval must lie."""
        if math.isinf(self.low):
            return f"is below {format_number(self.high)}"
        if math.isinf(self.high):
            return f"is above {format_number(self.low)}"
        return f"is between {format_number(self.low)} and {format_number(self.high)}"


def below(quantity: Quantity, bar: float, *, refuted: float | None = None) -> Bar:
    """The quantity is below ``bar``, with its interval."""
    return Bar(quantity, high=bar, refuted=refuted)


def above(quantity: Quantity, bar: float, *, refuted: float | None = None) -> Bar:
    """The quantity is above ``bar``, with its interval."""
    return Bar(quantity, low=bar, refuted=refuted)


def between(quantity: Quantity, low: float, high: float) -> Bar:
    """The quantity is between two numbers, with its interval."""
    return Bar(quantity, low, high)


@dataclass(frozen=True)
class Found:
    """One estimate against its bar."""

    estimate: Estimate
    state: State
    region: str

    @property
    def words(self) -> str:
        """The estimate, as a verdict says it."""
        one = self.estimate
        value = format_number(one.value)
        low, high = (end if end is not None else math.nan for end in (one.low, one.high))
        interval = (
            f" [{format_number(low)}, {format_number(high)}]" if (low, high) != (one.value,) * 2 else ""
        )
        return f"{one.label} {value}{interval}"


@dataclass(frozen=True)
class Rule:
    """When a claim holds: where each bar is kept in each setting. It fails where one is broken.

    Attributes
    ----------
    bars : tuple of Bar
    some : bool
        Whether it is enough that one setting keeps its bar; it then fails where all are broken.
    changed : str
        What was changed after runs had been looked at, and why; empty for a rule that stands as registered.
    """

    bars: tuple[Bar, ...]
    some: bool = False
    changed: str = ""

    def __init__(self, *bars: Bar, some: bool = False, changed: str = "") -> None:
        for name, value in (("bars", bars), ("some", some), ("changed", changed)):
            object.__setattr__(self, name, value)

    @property
    def words(self) -> str:
        """The rule in words; the outcome's own are those of the claim's kind."""
        listed = f"; {'or' if self.some else 'and'} ".join(bar.words for bar in self.bars)
        counts = "One setting is enough. " if self.some else ""
        changed = f" Changed: {self.changed}" if self.changed else ""
        return (
            f"{listed[:1].upper()}{listed[1:]}; each with its whole 95 % interval. {counts}{changed}".strip()
        )

    @property
    def digest(self) -> str:
        """A hash of all that decides: quantities, bars, and the source of functions in them."""
        return hashlib.sha256(repr(_plain(self)).encode()).hexdigest()[:12]

    def selects(self, config: Mapping[str, Any]) -> bool:
        """Whether a verdict needs the run of a configuration."""
        return any(bar.quantity.selects(config) for bar in self.bars)

    def judge(self, claim: Claim, runs: Sequence[Run], ended: Ended, free: Iterable[str] = ()) -> Verdict:
        """The verdict; undecided where runs are missing or of mixed settings; ``free``: `Quantity.freed`."""
        words = OUTCOMES[claim.kind]
        try:
            found = [
                Found(one.estimate, bar.state(one.estimate), bar.region)
                for bar in self.bars
                for one in bar.asked.freed(free).settings(runs, ended)
            ]
        except (MissingRunsError, MixedSettingsError) as lacking:
            return Verdict(claim.id, words["open"], str(lacking))
        states = [one.state for one in found]
        good, bad = (any, all) if self.some else (all, any)
        holds, fails = good(s == "holds" for s in states), bad(s == "fails" for s in states)
        state: State = "holds" if holds else "fails" if fails else "open"
        return Verdict(claim.id, words[state], _reason(found, state), tuple(one.estimate for one in found))


@dataclass(frozen=True)
class Decision:
    """What a rule of one's own found.

    Attributes
    ----------
    state : {"holds", "fails", "open"}
    reason : str
        The numbers against the rule, in one sentence.
    estimates : tuple of Estimate
    """

    state: State
    reason: str
    estimates: tuple[Estimate, ...] = ()


@dataclass(frozen=True)
class FunctionRule:
    """A rule that quantities and bars cannot say, such as a comparison over a whole zoo of networks.

    Attributes
    ----------
    decide : callable
        Takes the part's runs. It may raise MissingRunsError.
    words : str
        When the claim holds, when it fails; anything else leaves it open.
    where : mapping
        The settings of the runs that it needs; a tuple stands for any of its values.
    """

    decide: Callable[[Sequence[Run]], Decision]
    words: str
    where: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """A hash of the words, the settings, and the function's source and arguments."""
        return hashlib.sha256(repr(_plain(self)).encode()).hexdigest()[:12]

    def selects(self, config: Mapping[str, Any]) -> bool:
        """Whether a verdict needs the run of a configuration."""
        return Median("", "", self.where).selects(config)

    def judge(
        self,
        claim: Claim,
        runs: Sequence[Run],
        ended: Ended,  # noqa: ARG002
        free: Iterable[str] = (),  # noqa: ARG002
    ) -> Verdict:
        """The verdict; undecided where runs are missing."""
        words = OUTCOMES[claim.kind]
        try:
            found = self.decide([run for run in runs if not run.skipped and run.records])
        except MissingRunsError as lacking:
            return Verdict(claim.id, words["open"], str(lacking))
        return Verdict(claim.id, words[found.state], found.reason, found.estimates)


def _reason(found: Sequence[Found], state: State) -> str:
    """The estimates that decide, and what they should be."""
    telling = [one for one in found if one.state == state] or list(found)
    kept = sum(one.state == "holds" for one in found)
    shown = "; ".join(f"{one.words} ({one.region.replace('is ', 'bar: ')})" for one in telling[:3])
    more = f"; and {len(telling) - 3} more" if len(telling) > 3 else ""
    counted = f"{kept} of {len(found)} bars are kept: " if len(found) > 1 else ""
    return f"{counted}{shown}{more}"


def _plain(value: Any) -> Any:
    """A value without addresses: dataclasses by their fields, functions by their source."""
    if is_dataclass(value) and not isinstance(value, type):
        decisive = [f.name for f in fields(value) if not f.metadata.get("derived")]
        return type(value).__name__, [(name, _plain(getattr(value, name))) for name in decisive]
    if isinstance(value, partial):
        return _plain(value.func), _plain(value.args), _plain(value.keywords)
    if callable(value):
        enclosed = [_plain(cell.cell_contents) for cell in getattr(value, "__closure__", None) or ()]
        return (inspect.getsource(value), enclosed) if enclosed else inspect.getsource(value)
    if isinstance(value, Mapping):
        return sorted((str(key), _plain(each)) for key, each in value.items())
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value
