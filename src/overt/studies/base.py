"""What a study is: frozen configurations, claims, verdicts, and the runs they are read from.

A study states its claims and the rule of each verdict before anything runs. It then

1. ``plan``\\ s the runs of a preset, each one frozen configuration;
2. ``execute``\\ s one configuration, which gives records (plain JSON) and arrays;
3. ``judge``\\ s stored runs and draws ``figures`` from them, both as pure functions, so that a report
   can be rebuilt from stored records alone.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field

from overt._utils.checks import check_choice, is_integer, is_number, message

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from overt.studies.report.figures import Figure

    Array = NDArray[Any]

__all__ = [
    "Claim",
    "Estimate",
    "Outcome",
    "Run",
    "RunContext",
    "RunOutput",
    "Skip",
    "Study",
    "StudyConfig",
    "Verdict",
]

Outcome = Literal[
    "reproduced", "not reproduced", "inconclusive", "supported", "refuted", "undecided", "skipped"
]
FAULT = "the rule ended with an error"  # so begins the reason of a verdict that could not be given
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class StudyConfig(BaseModel):
    """The settings of one run. Subclass it with the fields of a study; unknown fields are refused.

    Attributes
    ----------
    seed : int
        The seed of everything random in the run; mandatory.
    exclusive : bool
        Whether the run measures time and so must be executed alone, after the parallel ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = Field(ge=0, lt=2**63)
    exclusive: bool = False


ConfigT = TypeVar("ConfigT", bound=StudyConfig)


class JudgeLike(Protocol):
    """A rule as data; see `overt.studies.claims.verdict_rules.Rule`."""

    @property
    def words(self) -> str:
        """The rule in words."""

    @property
    def digest(self) -> str:
        """A hash of all that decides."""

    def selects(self, config: Mapping[str, Any]) -> bool:
        """Whether a verdict needs the run of a configuration."""

    def judge(
        self, claim: Claim, runs: Sequence[Run], ended: Callable[[Run], bool], free: Iterable[str] = ()
    ) -> Verdict:
        """The verdict; ``free`` are settings that were set from outside for all runs alike."""


@dataclass(frozen=True)
class Claim:
    """A statement that runs can support or contradict.

    Attributes
    ----------
    id : str
        Short name, such as ``"S1"``; unique among all studies.
    title : str
        A short sentence that can be false.
    statement : str
        The claim, in one or two sentences; that of a paper in the paper's own setting.
    source : str
        Where it was made: author, year, theorem or figure.
    rule : str or Rule
        When it counts as true, when as false; anything else is left open.
    kind : {"paper", "own"}
        A paper's claim is *reproduced*, *not reproduced* or *inconclusive*; a hypothesis of our own is
        *supported*, *refuted* or *undecided*.
    """

    id: str
    title: str
    statement: str
    source: str
    rule: str | JudgeLike
    kind: Literal["paper", "own"] = "paper"

    @property
    def rule_words(self) -> str:
        """The rule in words."""
        return self.rule if isinstance(self.rule, str) else self.rule.words

    @property
    def digest(self) -> str:
        """A hash of all that decides."""
        rule = self.rule
        return hashlib.sha256(rule.encode()).hexdigest()[:12] if isinstance(rule, str) else rule.digest

    @property
    def open(self) -> Outcome:
        """The outcome where nothing can be said."""
        return "inconclusive" if self.kind == "paper" else "undecided"


@dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes
    ----------
    label : str
        What was measured.
    value : float
        The estimate.
    low, high : float or None
        The interval's ends; None where there is none, as for a single value.
    n : int
        How many values (runs, seeds) it rests on.
    unit : str
        The unit, empty for a pure number.
    method : str
        How the interval was found, ``"bootstrap"`` or empty: a bootstrap of few values is too narrow, which
        a report says.
    """

    label: str
    value: float
    low: float | None
    high: float | None
    n: int
    unit: str = ""
    method: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if not is_number(number) and (name == "value" or number is not None):
                raise TypeError(message(name, "a number", number))
        if not is_integer(self.n):
            raise TypeError(message("n", "an integer", self.n))


@dataclass(frozen=True)
class Verdict:
    """What the stored runs say about one claim.

    Attributes
    ----------
    claim : str
        The id of the claim.
    outcome : {"reproduced", "not reproduced", "inconclusive", "supported", "refuted", "undecided", "skipped"}
    reason : str
        The numbers against the rule, in one sentence.
    estimates : tuple of Estimate
        What the outcome rests on.
    """

    claim: str
    outcome: Outcome
    reason: str
    estimates: tuple[Estimate, ...] = ()

    def __post_init__(self) -> None:
        check_choice(self.outcome, "outcome", OUTCOMES)


@dataclass(frozen=True)
class RunOutput:
    """What one run gives.

    Attributes
    ----------
    records : list of dict
        JSON-able rows: text, numbers (non-finite ones too), booleans, None, lists and dicts of these.
    arrays : dict of str to ndarray
        Numbers too many for a record, such as pictures and spectra over time; no Python objects.
    """

    records: list[dict[str, Any]]
    arrays: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class RunContext:
    """What a running study may use besides its configuration.

    Attributes
    ----------
    directory : Path
        A folder for checkpoints. It survives an interruption, so that ``execute`` can continue where
        it was, and is removed once the run is stored.
    progress : callable
        Takes one line that says how far the run is.
    """

    directory: Path
    progress: Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One stored run.

    Attributes
    ----------
    study : str
        The study's name.
    hash : str
        The hash of the configuration, twelve hexadecimal digits.
    config : dict
        The configuration's fields.
    records : list of dict
    arrays : Mapping of str to ndarray
        Read from disk when asked for.
    meta : dict
        Status, seconds, versions, commit, machine, command.
    """

    study: str
    hash: str
    config: dict[str, Any]
    records: list[dict[str, Any]]
    arrays: Mapping[str, Array] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def skipped(self) -> bool:
        """Whether the run could not be made here; ``reason`` says why."""
        return self.meta.get("status") == "skipped"

    @property
    def reason(self) -> str:
        """Why the run was skipped; empty otherwise."""
        return str(self.meta.get("reason", ""))


class Skip(Exception):  # noqa: N818  (not an error: the run says that it cannot be made here)
    """Raised by ``execute`` when a run cannot be made here, as when a data set is out of reach.

    Parameters
    ----------
    reason : str
        Why, in one sentence; it is stored and shown in the report.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Study(ABC, Generic[ConfigT]):
    """Base class of studies.

    Attributes
    ----------
    name : str
        Lower-case letters, digits and underscores; what the user types.
    title : str
        One line.
    version : int
        Raise it whenever ``execute`` changes what a configuration gives: older runs then no longer count.
    config_type : type
        The study's subclass of `StudyConfig`.
    claims : tuple of Claim
    presets : tuple of str
        The presets' names, the quickest first.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[int] = 1
    config_type: type[ConfigT]
    claims: ClassVar[tuple[Claim, ...]]
    presets: ClassVar[tuple[str, ...]] = ("quick", "full")

    @abstractmethod
    def plan(self, preset: str, seed: int) -> list[ConfigT]:
        """Return the configurations of all runs of a preset; ``seed`` shifts every run's seed."""

    @abstractmethod
    def execute(self, config: ConfigT, context: RunContext) -> RunOutput:
        """Make one run. It must depend on ``config`` alone, and may raise `Skip`."""

    @abstractmethod
    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """Return one verdict for each claim, as a pure function of stored runs."""

    @abstractmethod
    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """Return the report's figures, as a pure function of stored runs.

        Made with `overt.studies.report.draw.draw`, a figure that fails leaves the others standing.
        """

    def configured(self, fields: Mapping[str, Any]) -> StudyConfig:
        """Return the configuration that stored fields give; a run whose fields give none is left out.

        By default one of ``config_type``. A study whose plan has several types overrides it.

        Raises
        ------
        ValueError
            If they are the fields of none.
        """
        return self.config_type.model_validate(dict(fields))

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:  # noqa: ARG002
        """Whether a claim's verdict needs the run of this configuration; by default each needs all.

        Where a planned run is missing, the verdicts that need it are inconclusive.
        """
        return True

    def ended(self, run: Run) -> bool:
        """Whether there is no more to expect of a run; by default, its budget did not end it."""
        return all(record.get("status") != "budget" for record in run.records)

    def label(self, config: ConfigT) -> str:
        """Return a few words for the progress display; by default the fields that are not as usual."""
        fields = type(config).model_fields
        unusual = {
            name: value
            for name, value in config.model_dump().items()
            if value != fields[name].default and name != "exclusive"
        }
        return ", ".join(f"{name}={value}" for name, value in unusual.items())
