"""A study as a list of parts: one question each, with its configurations, rules as data, and figures."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, cast

from overt._utils.checks import check_integer, message
from overt.studies.base import FAULT, Claim, ConfigT, Run, RunContext, RunOutput, Study, StudyConfig, Verdict

if TYPE_CHECKING:
    from overt.studies.report.figures import Figure

    Maker = Callable[["Part[Any]", Sequence[Run]], Figure | Sequence[Figure] | None]

__all__ = ["Grid", "Part", "StudyOfParts"]


class Grid:
    """Configurations as a product: each tuple of values is crossed with the others, for each seed.

    Parameters
    ----------
    seeds : int
        How many seeds.
    fields
        Fields of the configuration. A tuple lists values; a mapping in it sets several fields at once
        (``arm=({"depth": 3}, {"depth": 1, "weight": 0.02})``; the name of such a group is yours); anything
        else is one value.

    Examples
    --------
    >>> class Config(StudyConfig):
    ...     depth: int
    >>> [(one.depth, one.seed) for one in Grid(2, depth=(3, 2)).configs(Config, 5)]
    [(3, 5), (3, 6), (2, 5), (2, 6)]
    """

    def __init__(self, seeds: int, **fields: Any) -> None:
        self.seeds = check_integer(seeds, "seeds", least=1)
        self.fields = fields

    def configs(self, config: type[ConfigT], seed: int) -> Iterator[ConfigT]:
        """All configurations, seeds last; ``seed`` is the first of them."""
        values = [value if isinstance(value, tuple) else (value,) for value in self.fields.values()]
        for chosen in itertools.product(*values):
            settings: dict[str, Any] = {}
            for name, value in zip(self.fields, chosen, strict=True):
                settings |= value if isinstance(value, Mapping) else {name: value}
            for one in range(seed, seed + self.seeds):
                yield config(seed=one, **settings)


class Part(ABC, Generic[ConfigT]):
    """One question of a study: an experiment, the claims that it decides, and their figures.

    The docstring's first line is the question.

    Attributes
    ----------
    config : type
        The configuration, with only this question's fields, among them ``part: Literal["name"] = "name"``:
        the part's name, by which its stored runs are found.
    grids : mapping of str to Grid or sequence of Grid
        For each preset the runs, the long ones first so that two workers end together.
    over_seeds : bool
        Whether estimates are over seeds, of which ``quick`` then has at least six and ``full`` ten; False for
        a zoo, whose estimates are over networks.
    claims : tuple of Claim
        Their rules are data; they see the runs of this part alone.
    figures : tuple
        What is drawn, the most telling one first: see `overt.studies.plots` and `overt.studies.paths`.
    """

    config: type[ConfigT]
    grids: ClassVar[Mapping[str, Grid | Sequence[Grid]]]
    over_seeds: ClassVar[bool] = True
    claims: ClassVar[tuple[Claim, ...]] = ()
    figures: ClassVar[tuple[Maker, ...]] = ()

    @abstractmethod
    def execute(self, config: ConfigT, context: RunContext) -> RunOutput:
        """Make one run."""

    def ended(self, run: Run) -> bool:
        """Whether there is no more to expect of a run; by default, its budget did not end it."""
        return run.records[0].get("status") != "budget"

    def plan(self, preset: str, seed: int) -> Iterator[ConfigT]:
        """The configurations of a preset."""
        grids = self.grids[preset]
        for grid in [grids] if isinstance(grids, Grid) else grids:
            yield from grid.configs(self.config, seed)

    @property
    def name(self) -> str:
        """The value of ``part`` in its configurations."""
        field = self.config.model_fields.get("part")
        if field is None or not isinstance(field.default, str):
            raise TypeError(f'{self.config.__name__} needs a field \'part: Literal["name"] = "name"\'')
        return field.default

    @property
    def question(self) -> str:
        """The first line of the docstring."""
        return (type(self).__doc__ or self.name).strip().splitlines()[0]

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each claim; a rule that raises an error costs its own claim alone."""
        from overt.studies.report.draw import fault

        own, verdicts = self.own(runs), []
        free = self.free(own)
        for claim in self.claims:
            if own and all(run.skipped for run in own):
                verdicts.append(Verdict(claim.id, "skipped", own[0].reason))
                continue
            if isinstance(claim.rule, str):
                raise TypeError(message("rule", "a Rule", claim.rule))
            try:
                verdicts.append(claim.rule.judge(claim, own, self.ended, free))
            except Exception as error:
                verdicts.append(Verdict(claim.id, claim.open, f"{FAULT} ({fault(error)})"))
        return verdicts

    def free(self, own: Sequence[Run]) -> frozenset[str]:
        """The settings that were set from outside: all runs have one value, which no preset plans.

        A claim is then judged at that value: it says what becomes of it with one setting changed.
        """
        there = {name: {repr(run.config.get(name)) for run in own} for name in self.config.model_fields}
        single = {name for name, values in there.items() if len(values) == 1}
        return frozenset(name for name in single if not there[name] & self._planned[name])

    @cached_property
    def _planned(self) -> dict[str, set[str]]:
        """The values of each field in any preset."""
        configs = [one.model_dump(mode="json") for preset in self.grids for one in self.plan(preset, 0)]
        return {name: {repr(one[name]) for one in configs} for name in self.config.model_fields}

    def own(self, runs: Sequence[Run]) -> list[Run]:
        """The runs of this part."""
        return [run for run in runs if run.config.get("part") == self.name]


class StudyOfParts(Study[StudyConfig]):
    """A study that is a list of parts.

    Parameters
    ----------
    name, title : str
    parts : sequence of Part
    version : int, default=1
        Raise it whenever a part's ``execute`` changes what a configuration gives.
    """

    config_type = StudyConfig

    def __init__(self, name: str, title: str, parts: Sequence[Part[Any]], version: int = 1) -> None:
        self.name, self.title, self.version, self.parts = name, title, version, tuple(parts)  # type: ignore[misc]
        self.claims = tuple(claim for part in self.parts for claim in part.claims)  # type: ignore[misc]
        self.presets = tuple(dict.fromkeys(name for part in self.parts for name in part.grids))  # type: ignore[misc]
        for what, names in (
            ("claims", [one.id for one in self.claims]),
            ("parts", [one.name for one in self.parts]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"{what} of study {name!r} must have distinct names, got {names}")

    def part_of(self, config: Mapping[str, Any]) -> Part[Any]:
        """The part that a configuration's fields name.

        Raises
        ------
        ValueError
            If there is none.
        """
        for part in self.parts:
            if part.name == config.get("part"):
                return part
        names = ", ".join(part.name for part in self.parts)
        raise ValueError(f"part must be one of the study's ({names}), got {config.get('part')!r}")

    def plan(self, preset: str, seed: int) -> list[StudyConfig]:
        """The runs of all parts that have this preset."""
        return [config for part in self.parts if preset in part.grids for config in part.plan(preset, seed)]

    def configured(self, fields: Mapping[str, Any]) -> StudyConfig:
        """The configuration of the part that the fields name."""
        return cast(StudyConfig, self.part_of(fields).config.model_validate(dict(fields)))

    def execute(self, config: StudyConfig, context: RunContext) -> RunOutput:
        """One run, by its part."""
        return self.part_of(config.model_dump()).execute(config, context)

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        """One verdict for each claim."""
        return [verdict for part in self.parts for verdict in part.judge(runs)]

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        """The figures that the runs allow, part by part."""
        from functools import partial

        from overt.studies.report.draw import draw

        return draw(
            [partial(maker, part) for part in self.parts if part.own(runs) for maker in part.figures], runs
        )

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        """Whether a claim's rule selects the run."""
        for part in self.parts:
            for one in part.claims:
                if one.id == claim:
                    mine = config.get("part") == part.name
                    return mine and not isinstance(one.rule, str) and one.rule.selects(config)
        return False

    def ended(self, run: Run) -> bool:
        """Whether there is no more to expect of a run, as its part says."""
        return run.skipped or not run.records or self.part_of(run.config).ended(run)

    def label(self, config: StudyConfig) -> str:
        """The part and the fields that are not as usual."""
        said = super().label(config)
        return f"{config.model_dump().get('part')}: {said}" if said else str(config.model_dump().get("part"))
