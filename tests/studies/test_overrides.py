"""A field takes values of its own kind, in every study; settings that make runs equal are told."""

from __future__ import annotations

import datetime
import json
from typing import Any, get_args

import numpy as np
import pytest
from tiny_study import TinyConfig, study

from overt._utils.errors import UsageError
from overt.studies import registry, run_study
from overt.studies.base import StudyConfig
from overt.studies.runs.identity import folder_name
from overt.studies.runs.overrides import Sweep, apply, parse, read_toml, settings

WRONG: dict[type, tuple[Any, ...]] = {
    bool: (0, 1, 1.0, "true", "yes", None, [True]),
    int: (True, False, "3", 1.5, "true", None, [1], {"a": 1}, "1e3"),
    float: (True, False, "3", "true", [1.0], {"a": 1}, "nan"),
    str: (True, 1, 2.5, [], ["a"], {"a": 1}),
    list: (True, 1, "1", {"a": 1}, [[1]], ["1"], [True]),
}


def configurations() -> list[tuple[str, StudyConfig]]:
    """One configuration of each type that the built-in studies plan, with the study's name."""
    found: dict[type, tuple[str, StudyConfig]] = {}
    for name in registry._BUILT_IN:
        for config in registry.get(name).plan("quick", 0):
            found.setdefault(type(config), (name, config))
    return list(found.values())


@pytest.mark.slow
def test_every_field_of_every_study_refuses_what_is_of_another_kind():
    fields = 0
    for name, config in configurations():
        for field, value in config.model_dump(mode="json").items():
            fields += 1
            kind = float if value is None else type(value)
            optional = type(None) in get_args(type(config).model_fields[field].annotation)
            for wrong in (one for one in WRONG[kind] if not (optional and one is None)):
                with pytest.raises(UsageError, match=rf"study '{name}'"):
                    apply([config], {field: wrong}, name)
            try:
                assert apply([config], {field: value}, name) == [config]
            except UsageError as error:  # pragma: no cover
                pytest.fail(f"{name}: {field} = {value!r}: {error}")
    assert fields > 150


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("seed=true", r"seed: .*valid integer, got True"),
        ("size=false", "size: .*valid integer"),
        ('size="3"', "size: .*valid integer"),
        ("size=2.5", "size: .*valid integer"),
        ("exclusive=1", "exclusive: .*valid boolean"),
        ("exclusive=yes", "exclusive: .*valid boolean"),
        ("sleep=true", "sleep: .*valid number"),
        ("sleep=NaN", "sleep: .*finite number"),
        ("trouble=3", "trouble: .*valid string"),
        ("size=" + "[" * 100_000, "--set size: it is nested"),
        ("size=" + "[" * 900 + "]" * 900, "--set size: it is nested"),
        ("size=" + "9" * 400, "--set size: it holds a whole number beyond"),
        ("size=" + "9" * 10_000, "size: .*got a str"),
        ("sleep=1e999", "--set sleep: it holds a number beyond"),
        ("trouble=\udcff", "--set trouble: it holds text with half a character"),
    ],
)
def test_values_that_no_field_has_are_one_line(text, match):
    with pytest.raises(UsageError, match=match) as caught:
        apply([TinyConfig(seed=0)], parse([text]), "tiny")
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("size=1,2,3", (1, 2, 3)),
        ("sleep=1e-3, 0.5", (1e-3, 0.5)),
        ("trouble=skip,none", ("skip", "none")),
        ("trouble=ℓ1,2", ("ℓ1", 2)),
        ("sizes=[1, 2],[3]", ([1, 2], [3])),
    ],
)
def test_values_with_commas_between_them_are_a_sweep(text, values):
    assert next(iter(parse([text]).values())) == Sweep(values)


def test_what_is_one_value_stays_one():
    assert parse(["sizes=[1, 2]", 'trouble="a,b"']) == {"sizes": [1, 2], "trouble": "a,b"}
    for wrong, match in (("size=1,", "quotation marks"), ("size=1,1.0", "twice"), ("size=1,1e999", "beyond")):
        with pytest.raises(UsageError, match=match):
            parse([wrong])


def test_sweeps_are_crossed():
    fields = {"a": Sweep((1, 2)), "b": 0, "c": Sweep(("x", "y"))}
    assert [(one["a"], one["b"], one["c"]) for one in settings(fields)] == [
        (1, 0, "x"),
        (1, 0, "y"),
        (2, 0, "x"),
        (2, 0, "y"),
    ]
    assert settings({}) == [{}]


def test_folders_say_what_was_given_and_hold_nothing_odd():
    assert folder_name("a", "quick", {"depth": [2, 3], "lr": [-1e-3]}) == "a-quick-depth=2+3-lr=-0.001"
    odd = [
        folder_name("a", "quick", parts)
        for parts in (
            {"x": ["../up"]},
            {"x": ["../uq"]},
            {"x": ["\udcff"]},
            {"x" * 300: [1]},
            {"x": ["a b" * 99]},
        )
    ]
    assert len(set(odd)) == len(odd)
    for name in odd:
        assert len(name) < 70
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")


def test_values_of_the_right_kind_are_taken_however_they_are_written():
    (config,) = apply([TinyConfig(seed=0)], parse(["seed=1e3", "sleep=2", "exclusive=true", "trouble=none"]))
    assert config == TinyConfig(seed=1000, sleep=2.0, exclusive=True, trouble="none")
    (config,) = apply([TinyConfig(seed=0)], {"size": np.int64(7), "sleep": np.float32(0.5)})
    assert (config.size, config.sleep) == (7, 0.5)
    for odd in (datetime.date(2026, 1, 1), {1}, object()):
        with pytest.raises(UsageError, match="size must be text, a number"):
            apply([TinyConfig(seed=0)], {"size": odd})


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("size = " + "[" * 5000, "nested"),
        ("size = " + "[" * 100 + "]" * 100, "nested"),
        ("size = 1e999", "beyond the range"),
        ("# " + "x" * 2**20, "too large"),
    ],
)
def test_files_of_settings_are_bounded(tmp_path, content, match):
    (tmp_path / "a.toml").write_text(content)
    with pytest.raises(UsageError, match=match):
        read_toml(tmp_path / "a.toml")


def test_settings_that_make_planned_runs_equal_are_told(tmp_path, capsys):
    summary = run_study(study, out=tmp_path / "runs", jobs=1, overrides={"seed": 5, "size": 3}, progress=True)
    said = "study 'tiny': with seed, size set, 6 planned runs are 2 different ones"
    assert summary.merged == said
    assert f"overt: {said}" in capsys.readouterr().err
    assert run_study(study, out=tmp_path / "other", jobs=1, overrides={"sleep": 0.001}).merged == ""


def test_stored_fields_give_the_configuration_of_every_planned_run():
    for name in registry._BUILT_IN:
        one = registry.get(name)
        for config in one.plan("quick", 0)[::7]:
            assert one.configured(json.loads(config.model_dump_json())) == config
    with pytest.raises(ValueError, match="part"):
        registry.get("proxies").configured({"part": ["penalties"]})
