"""What every study keeps. A new one needs one line in smallest_runs.py; a test fails while it has none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from smallest_runs import SMALLEST, smallest, untimed, write_images

from overt.studies import Run, RunContext, RunOutput, Study, StudyConfig, Verdict, registry
from overt.studies.base import Outcome
from overt.studies.claims.assess import Stored, assess
from overt.studies.runs.identity import config_hash, run_name
from overt.studies.runs.records import dump_lines, load_lines


def test_every_study_is_here():
    assert list(SMALLEST) == [name for name in registry.names() if name in registry._BUILT_IN]


@pytest.fixture(params=SMALLEST, scope="module")
def study(request: pytest.FixtureRequest) -> Study[Any]:
    return registry.get(request.param)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images")
    write_images(path)
    return path


# ---- claims and plans ------------------------------------------------------------------------------------


def test_it_says_what_it_is(study: Study[Any]):
    assert run_name(study.name, "0" * 12) == f"{study.name}-{'0' * 12}"
    assert registry.get(study.name) is study
    assert study.title
    assert "\n" not in study.title
    assert study.version >= 1
    assert study.presets[:2] == ("quick", "full")


def test_claims_are_told_apart_and_complete(study: Study[Any]):
    ids = [claim.id for claim in study.claims]
    assert ids
    assert len(set(ids)) == len(ids)
    for claim in study.claims:
        assert all([claim.title, claim.statement, claim.source, claim.rule]), claim.id
        for text in (claim.id, claim.title, claim.statement, claim.source, claim.rule_words):
            assert text == text.strip()
            assert "  " not in text, claim.id


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_planned_runs_are_valid_and_told_apart(study: Study[Any], preset: str):
    plan = study.plan(preset, 7)
    assert plan
    assert len({config_hash(study.name, study.version, config) for config in plan}) == len(plan)
    for config in plan:
        assert isinstance(config, StudyConfig)
        assert config.seed >= 7
        fields = config.model_dump(mode="json")
        assert type(config)(**fields) == config
        stored = json.loads(json.dumps(fields, allow_nan=False))
        assert config_hash(study.name, study.version, stored) == config_hash(
            study.name, study.version, config
        )
        words = study.label(config)
        assert words
        assert "\n" not in words


def test_a_plan_is_the_same_again_and_another_seed_gives_other_runs(study: Study[Any]):
    assert study.plan("quick", 3) == study.plan("quick", 3)
    assert not set(study.plan("quick", 0)) & set(study.plan("quick", 1000))


def test_the_fullest_plan_has_runs_for_each_claim(study: Study[Any]):
    plan = [config.model_dump(mode="json") for config in study.plan(study.presets[-1], 0)]
    needless = [
        claim.id for claim in study.claims if not any(study.concerns(config, claim.id) for config in plan)
    ]
    assert needless == []


def test_unknown_settings_are_refused(study: Study[Any]):
    config = study.plan("quick", 0)[0]
    with pytest.raises(ValueError, match="no_such_field"):
        type(config)(**{**config.model_dump(), "no_such_field": 1})
    with pytest.raises(ValueError, match="seed"):
        type(config)(**{**config.model_dump(), "seed": -1})


# ---- the smallest run ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(study: Study[Any], images: Path) -> StudyConfig:
    return smallest(study, images)


@pytest.fixture(scope="module")
def output(
    study: Study[Any], config: StudyConfig, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunOutput, list[str]]:
    said: list[str] = []
    return study.execute(config, RunContext(tmp_path_factory.mktemp(study.name), said.append)), said


@pytest.fixture(scope="module")
def run(study: Study[Any], config: StudyConfig, output: tuple[RunOutput, list[str]]) -> Run:
    """The run as it comes back from the store."""
    found, _ = output
    hash_ = config_hash(study.name, study.version, config)
    records = load_lines(dump_lines(found.records))
    meta = {"status": "done", "study_version": study.version, "seconds": 0.1}
    return Run(study.name, hash_, config.model_dump(mode="json"), records, found.arrays, meta)


def test_records_and_arrays_can_be_stored(output: tuple[RunOutput, list[str]]):
    found, said = output
    assert found.records
    again = load_lines(dump_lines(found.records))
    assert dump_lines(again) == dump_lines(found.records)
    for name, array in found.arrays.items():
        assert np.asarray(array).dtype.kind in "biuf", name
    assert all(isinstance(line, str) and "\n" not in line for line in said)


@pytest.mark.slow
def test_a_run_depends_on_its_configuration_alone(
    study: Study[Any], config: StudyConfig, output: tuple[RunOutput, list[str]], tmp_path: Path
):
    np.random.seed(1)  # noqa: NPY002  (the global state must not matter)
    again = study.execute(config, RunContext(tmp_path, lambda line: None))
    first, _ = output
    assert again.arrays.keys() == first.arrays.keys()
    for name in first.arrays:
        np.testing.assert_array_equal(again.arrays[name], first.arrays[name])
    assert dump_lines(untimed(again.records)) == dump_lines(untimed(first.records))


def test_its_rules_judge_one_run(study: Study[Any], run: Run):
    verdicts = study.judge([run])
    assert [verdict.claim for verdict in verdicts] == [claim.id for claim in study.claims]
    for verdict in verdicts:
        check_verdict(verdict)
    assert study.judge([run]) == verdicts


def check_verdict(verdict: Verdict) -> None:
    assert verdict.outcome in get_args(Outcome)
    assert verdict.reason
    assert "\n" not in verdict.reason
    for estimate in verdict.estimates:
        assert estimate.label
        assert math.isfinite(estimate.value)
        assert estimate.n >= 1
        if estimate.low is not None and estimate.high is not None:
            assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.slow
def test_its_report_takes_one_run(study: Study[Any], run: Run):
    section = assess(study, Stored(None, [run]))
    assert section.notes == []
    assert [verdict.claim for verdict in section.verdicts] == [claim.id for claim in study.claims]
    names = [figure.id for figure in section.figures]
    assert len(set(names)) == len(names)
    for figure in section.figures:
        assert figure.title
        assert figure.svg or figure.table or figure.images, figure.id


def test_its_report_takes_a_run_that_was_skipped(study: Study[Any], run: Run):
    meta = {"status": "skipped", "reason": "there is no data here", "study_version": study.version}
    section = assess(study, Stored(None, [Run(run.study, run.hash, run.config, [], {}, meta)]))
    assert section.notes == []
    assert not {verdict.outcome for verdict in section.verdicts} & {"reproduced", "not reproduced"}
