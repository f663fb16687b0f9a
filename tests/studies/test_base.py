"""Configurations refuse what they do not know, and their hash names them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tiny_study import TinyConfig, study

from overt.studies import Verdict
from overt.studies.runs.identity import config_hash, run_name, split_run_name


def test_unknown_fields_and_missing_seed_are_refused():
    with pytest.raises(ValidationError, match="sise"):
        TinyConfig(seed=0, sise=4)
    with pytest.raises(ValidationError, match="seed"):
        TinyConfig()
    with pytest.raises(ValidationError, match="frozen"):
        TinyConfig(seed=0).size = 4


def test_hash_depends_on_every_part_and_on_nothing_else():
    base = config_hash("tiny", 1, TinyConfig(seed=0))
    assert base == config_hash(
        "tiny", 1, {"trouble": "", "sleep": 0.0, "exclusive": False, "size": 3, "seed": 0}
    )
    others = [
        config_hash("tiny", 2, TinyConfig(seed=0)),
        config_hash("tinier", 1, TinyConfig(seed=0)),
        config_hash("tiny", 1, TinyConfig(seed=1)),
        config_hash("tiny", 1, TinyConfig(seed=0, exclusive=True)),
    ]
    assert len({base, *others}) == 5


@pytest.mark.parametrize("name", ["../up", "a/b", "A", "", "a-b", "x" * 64, "a\n"])
def test_run_name_cannot_lead_out_of_its_folder(name):
    with pytest.raises(ValueError, match="study's name"):
        run_name(name, "0" * 12)


@pytest.mark.parametrize("hash_", ["../../etc/pa", "0" * 11, "G" * 12, "0" * 12 + "\n"])
def test_run_name_takes_hashes_alone(hash_):
    with pytest.raises(ValueError, match="hexadecimal"):
        run_name("tiny", hash_)


def test_run_names_split_into_what_they_were_made_of():
    assert split_run_name(run_name("a_1", "0123456789ab")) == ("a_1", "0123456789ab")
    for name in ("../a-0123456789ab", "a-0123456789ab\n", "a_0123456789ab", ""):
        assert split_run_name(name) is None


def test_outcome_must_be_one_of_the_four():
    with pytest.raises(ValueError, match="inconclusive"):
        Verdict("S1", "proved", "because")


def test_label_tells_what_is_unusual():
    assert study.label(TinyConfig(seed=7, size=4)) == "seed=7, size=4"
