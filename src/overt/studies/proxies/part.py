"""A part of a study: its own claims, configurations, runs, rules and figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig, Verdict

if TYPE_CHECKING:
    from overt.studies.report.figures import Figure

__all__ = ["Part"]

ConfigT = TypeVar("ConfigT", bound=StudyConfig)


class Part(ABC, Generic[ConfigT]):
    """One question of a study that asks several, with nothing in common but the study's name.

    Attributes
    ----------
    config_type : type
        The part's own configuration. It must have a field ``group``, whose values no other part uses:
        stored runs are told apart by it.
    claims : tuple of Claim
        Their ids must be unique in the study.
    groups : mapping of str to frozenset of str
        For each claim the groups of runs that its verdict rests on.
    """

    config_type: type[ConfigT]
    claims: ClassVar[tuple[Claim, ...]]
    groups: ClassVar[Mapping[str, frozenset[str]]]

    @abstractmethod
    def plan(self, preset: str, seed: int) -> Iterable[ConfigT]:
        """The configurations of a preset, the long runs first."""

    @abstractmethod
    def execute(self, config: ConfigT, context: RunContext) -> RunOutput:
        """Make one run."""

    @abstractmethod
    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each claim of the part, from the study's stored runs."""

    @abstractmethod
    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The part's figures that the study's stored runs allow."""

    def label(self, config: ConfigT) -> str:
        """A few words for the progress display; empty for the study's own."""
        del config
        return ""
