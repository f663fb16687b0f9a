"""What a rule measures: medians, ratios, differences and shares over seeds, as data.

A quantity selects runs, takes a number of each, and gives one estimate for each setting in ``each``. Its
intervals hold for whatever was not seen: a run that its budget ended has an unknown number, so the interval
covers every value that the number could have; a time that was not reached is longer than the run. Verdicts on
such runs become undecided by themselves, and no rule has to guard against them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from overt.studies.base import Estimate, Run
from overt.studies.claims.statistics import Span, median_of_spans, share_of_spans

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "Median",
    "MissingRunsError",
    "MixedSettingsError",
    "PerSeed",
    "Quantity",
    "Setting",
    "Share",
    "alternatives",
    "matches",
    "select",
    "worded",
]

Ended = Callable[[Run], bool]
Value = str | Callable[[Run], Any]
Where = Mapping[str, Any]
FREE = frozenset({"seed", "exclusive"})  # fields in which repetitions of a run may differ


class MissingRunsError(LookupError):
    """The runs that a quantity needs are not there."""


class MixedSettingsError(ValueError):
    """Runs that a quantity takes as repetitions of each other differ in more than their seed."""


@dataclass(frozen=True)
class Setting:
    """An estimate and the values of ``each`` that it is of."""

    fields: dict[str, Any]
    estimate: Estimate


def select(runs: Iterable[Run], where: Where) -> list[Run]:
    """The runs that were made with these settings; a tuple stands for any of its values."""
    made = (run for run in runs if not run.skipped and run.records)
    return [run for run in made if all(matches(run.config.get(k), v) for k, v in where.items())]


def matches(value: Any, wanted: Any) -> bool:
    """Whether a value is the wanted one, or one of a tuple of them."""
    return any(map(value.__eq__, wanted)) if isinstance(wanted, tuple) else bool(value == wanted)


@dataclass(frozen=True)
class Quantity:
    """A number of each run, and the statistic of it over seeds.

    Attributes
    ----------
    value : str or callable
        The name of a field of a run's first record, or a function of the run: a number, or a truth value.
    label : str
        What it is, in words.
    where : mapping
        The settings of the runs: one value, or a tuple of those allowed.
    each : tuple of str
        One estimate for each combination of these settings that there is.
    only : callable, optional
        Keeps the runs for which it is true; its docstring says which these are.
    tuned : tuple of str
        Settings of which the best value counts: that of the smallest median, or of the largest share. One
        that its budget ended may be the best, and the interval says so.
    least : float
        Smaller numbers count as this one, such as the accuracy of a fit. Where the number is ``error``, the
        one after the refit, it is the event that a budget censors: of a run that has reached it the number
        is known, whatever ended the run. Others may fall below it on their way, and rise again.
    over_time : bool
        The number is a time: None, and a run that its budget ended, say that it is longer than ``budget``.
    budget : str
        The record's field with the run's own length.
    lost_counts : bool
        Whether a run that diverged, or has no such number, has the largest one, which speaks against a bar
        from above. It would speak for a bar from below: `overt.studies.claims.verdict_rules.Bar` then sets
        this to False, and the number is unknown.
    """

    value: Value | Callable[[Sequence[Run]], Any]
    label: str
    where: Where = field(default_factory=dict)
    each: tuple[str, ...] = ()
    only: Callable[[Run], bool] | None = None
    tuned: tuple[str, ...] = ()
    least: float = -math.inf
    over_time: bool = False
    budget: str = "steps"
    lost_counts: bool = field(default=True, metadata={"derived": True})
    statistic: ClassVar[str] = "median"

    def settings(self, runs: Sequence[Run], ended: Ended) -> list[Setting]:
        """One estimate for each setting.

        Raises
        ------
        MissingRunsError
            If there is no run, or an arm of a comparison lacks a seed.
        MixedSettingsError
            If repetitions differ in more than their seed.
        """
        chosen = self.chosen(runs)
        if not chosen:
            raise MissingRunsError(self._lacking(runs, self.where))
        found = []
        for values in self._combinations(chosen):
            some = [run for run in chosen if all(run.config.get(k) == v for k, v in values.items())]
            said = ", ".join(f"{worded(k)} {_plain(v)}" for k, v in values.items())
            label = f"{self.label}, {said}" if said else self.label
            found.append(Setting(values, replace(self.estimate(some, ended), label=label)))
        return found

    def at(self, **where: Any) -> Self:
        """The same, with these settings."""
        return replace(self, where={**self.where, **where})

    def freed(self, names: Iterable[str]) -> Self:
        """The same for all values of these settings, which were set from outside for all runs alike."""
        free = frozenset(names)
        return replace(self, where={name: value for name, value in self.where.items() if name not in free})

    def chosen(self, runs: Iterable[Run]) -> list[Run]:
        """The runs that it is of."""
        made = select(runs, self.where)
        return [run for run in made if self.only is None or self.only(run)]

    def selects(self, config: Where) -> bool:
        """Whether it needs the run of a configuration."""
        return all(matches(config.get(name), wanted) for name, wanted in self.where.items())

    def estimate(self, runs: Sequence[Run], ended: Ended) -> Estimate:
        """The estimate of one setting, at the best of the tuned values."""
        return self.of(self.best(runs, ended))

    def best(self, runs: Sequence[Run], ended: Ended) -> dict[int, Span]:
        """What is known of the number for each seed, at the best of the tuned values.

        Where another value could turn out better, for its runs were ended by their budget, the spans reach
        as far as that.
        """
        groups = [self.spans(some, ended) for some in self._by(runs, self.tuned)]
        best = min(groups, key=lambda spans: self.badness(self.of(spans)), default={})
        rivals = [
            spans
            for spans in groups
            if self.badness(self.of({seed: Span.of(self.hope(one)) for seed, one in spans.items()}))
            < self.badness(self.of(best))
        ]
        return {
            seed: self.widened(one, [self.hope(spans[seed]) for spans in rivals if seed in spans])
            for seed, one in best.items()
        }

    @staticmethod
    def hope(span: Span) -> float:
        """The best that a number may be."""
        return span.low

    @staticmethod
    def widened(span: Span, hopes: Sequence[float]) -> Span:
        """A span that reaches as far as these."""
        return replace(span, low=min(span.low, *hopes)) if hopes else span

    def of(self, spans: Mapping[int, Span]) -> Estimate:
        """The statistic of one number for each seed."""
        return median_of_spans(list(spans.values()))

    @staticmethod
    def badness(estimate: Estimate) -> float:
        """What the tuned settings are chosen by; small is good."""
        return math.inf if math.isnan(estimate.value) else estimate.value

    def spans(self, runs: Sequence[Run], ended: Ended) -> dict[int, Span]:
        """What is known of the number, for each seed."""
        _refuse_mixed(runs, (*self.tuned, *self.each))
        return {int(run.config["seed"]): self._span(run, ended) for run in runs}

    def _raw(self, run: Run) -> Any:
        of_run: Any = self.value
        return of_run(run) if callable(of_run) else run.records[0].get(of_run)

    def _span(self, run: Run, ended: Ended) -> Span:
        raw = self._raw(run)
        lost = run.records[0].get("status") == "diverged"
        if self.over_time and not lost:
            seen = _number(raw)
            if math.isfinite(seen):
                return Span.of(seen)
            longest = _number(run.records[0].get(self.budget))
            return Span(math.inf if ended(run) else longest, math.inf, math.inf)
        value = max(_number(raw), self.least)
        recovered = self.value == "error" and value <= self.least
        return self._known(value, known=lost or recovered or ended(run), lost=lost)

    def _known(self, value: float, *, known: bool, lost: bool = False) -> Span:
        sure = known and (self.lost_counts or not (lost or math.isinf(value)))
        return Span.of(value) if sure else Span(self.least, value, math.inf)

    def _combinations(self, runs: Sequence[Run]) -> list[dict[str, Any]]:
        found = {
            tuple(_hashable(run.config.get(name)) for name in self.each): {
                name: run.config.get(name) for name in self.each
            }
            for run in runs
        }
        return [found[key] for key in sorted(found, key=_order)]

    def _by(self, runs: Sequence[Run], names: Sequence[str]) -> list[list[Run]]:
        groups: dict[Any, list[Run]] = {}
        for run in runs:
            groups.setdefault(tuple(repr(run.config.get(name)) for name in names), []).append(run)
        return list(groups.values())

    def _lacking(self, runs: Sequence[Run], where: Where) -> str:
        lacking = []
        for name, wanted in where.items():
            there = sorted({_plain(run.config.get(name)) for run in runs if not run.skipped})
            needed = [_plain(one) for one in (wanted if isinstance(wanted, tuple) else (wanted,))]
            if there and not set(needed) & set(there):
                lacking.append(
                    f"it is about {worded(name)} {', '.join(needed)}; the runs have {', '.join(there)}"
                )
        if not lacking and self.only is not None and select(runs, where):
            lacking.append(f"no run {_meaning(self.only)}")
        base = f"the runs that the rule needs are missing ({self.label})"
        return f"{base}: {'; '.join(lacking)}" if lacking else base

    @property
    def words(self) -> str:
        """What it is, as a rule says it."""
        parts = [f"the {self.statistic} of {self.label}" if self.statistic else self.label]
        parts += [f"{worded(k)} {alternatives(v)}" for k, v in self.where.items()]
        parts += [f"over the runs that {_meaning(self.only)}"] if self.only else []
        parts += [f"each {' and '.join(map(worded, self.each))}"] if self.each else []
        parts += [f"at the best {' and '.join(map(worded, self.tuned))}"] if self.tuned else []
        return parts[0] + (f" ({', '.join(parts[1:])})" if parts[1:] else "")


@dataclass(frozen=True)
class Median(Quantity):
    """The median over seeds, with its distribution-free interval."""


@dataclass(frozen=True)
class PerSeed(Quantity):
    """The median over seeds of one number of all runs of a seed, such as a slope.

    Attributes
    ----------
    value : callable
        Takes the runs of one seed, in the order of ``across``; gives a number.
    across : tuple of str
        The settings in which these differ.
    """

    across: tuple[str, ...] = ()

    def spans(self, runs: Sequence[Run], ended: Ended) -> dict[int, Span]:
        _refuse_mixed(runs, (*self.tuned, *self.each, *self.across))
        of_runs: Any = self.value
        found = {}
        for seed in sorted({int(run.config["seed"]) for run in runs}):
            some = [run for run in runs if run.config["seed"] == seed]
            some.sort(key=lambda run: _order(tuple(_hashable(run.config[name]) for name in self.across)))
            value = max(_number(of_runs(some)), self.least)
            found[seed] = self._known(value, known=all(map(ended, some)))
        return found


@dataclass(frozen=True)
class Share(Quantity):
    """The share of runs for which ``value`` is true, with Wilson's interval.

    A run that its budget ended before it was true may still have become so: the upper end counts it.
    """

    statistic: ClassVar[str] = "share"

    def of(self, spans: Mapping[int, Span]) -> Estimate:
        return share_of_spans(list(spans.values()))

    @staticmethod
    def badness(estimate: Estimate) -> float:
        return -estimate.value

    @staticmethod
    def hope(span: Span) -> float:
        return span.high

    @staticmethod
    def widened(span: Span, hopes: Sequence[float]) -> Span:
        return replace(span, high=max(span.high, *hopes)) if hopes else span

    def _span(self, run: Run, ended: Ended) -> Span:
        raw = self._raw(run)
        held = float(raw is not None and bool(raw))
        return Span.of(held) if held or ended(run) else Span(0.0, 0.0, 1.0)

    @property
    def words(self) -> str:
        return super().words.replace("the share of ", "the share of runs ", 1)


def _number(value: Any) -> float:
    """A recorded number; infinity for None and NaN, which are what a diverged run leaves."""
    return math.inf if value is None or math.isnan(value) else float(value)


def _refuse_mixed(runs: Sequence[Run], varied: Iterable[str]) -> None:
    free = FREE | set(varied)
    names = sorted({name for run in runs for name in run.config} - free)
    differing = [name for name in names if len({repr(run.config.get(name)) for run in runs}) > 1]
    if differing:
        words = []
        for name in differing:
            values = sorted({_plain(run.config.get(name)) for run in runs})
            words.append(f"{name} {', '.join(values[:4])}{', …' * (len(values) > 4)}")
        raise MixedSettingsError(f"mixed settings: {'; '.join(words)}")


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((0, value, "") if isinstance(value, int | float) else (1, 0.0, str(value)) for value in key)


def _hashable(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else repr(value)


def alternatives(value: Any) -> str:
    """A wanted value in words."""
    return " or ".join(map(_plain, value)) if isinstance(value, tuple) else _plain(value)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def worded(field_: str) -> str:
    """The name of a field in words."""
    return field_.replace("_", " ")


def _meaning(function: Callable[..., Any]) -> str:
    """A function's docstring as a clause: ``"Miss the truth."`` gives ``miss the truth``."""
    said = (function.__doc__ or function.__name__).strip().splitlines()[0].rstrip(".")
    return said[:1].lower() + said[1:]
