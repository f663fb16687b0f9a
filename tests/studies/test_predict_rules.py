"""The rules of P1–P8 on synthetic zoos that come out either way, or not at all."""

from __future__ import annotations

import pytest
from predict_sample import blind, truthful, wrong, zoo_runs

from overt.studies import Run, Verdict
from overt.studies.predict import study
from overt.studies.predict.measures import MEASURES
from overt.studies.predict.zoo import NORMS, OURS, RIVALS

KINDS = {
    claim.id: ("supported", "refuted") if claim.kind == "own" else ("reproduced", "not reproduced")
    for claim in study.claims
}


def verdict(claim: str, runs: list[Run]) -> Verdict:
    return next(one for one in study.judge(runs) if one.claim == claim)


def outcomes(runs: list[Run]) -> dict[str, str]:
    return {one.claim: one.outcome for one in study.judge(runs)}


@pytest.fixture(scope="module")
def good() -> dict[str, Verdict]:
    """Ours and flatness follow the gap, products are upside down, everything else knows nothing."""
    plain = [f"cost_1_{basis}" for basis in ("eigen", "fourier", "identity")]
    normalized = [f"normalized_{basis}" for basis in ("eigen", "fourier", "identity")]
    products = ["spectral_product", "frobenius_product"]
    told = {name: truthful for name in (OURS, "flatness", *normalized)}
    runs = zoo_runs(**told, **dict.fromkeys(plain, blind), **dict.fromkeys(products, wrong))
    return {one.claim: one for one in study.judge(runs)}


@pytest.fixture(scope="module")
def bad() -> dict[str, Verdict]:
    """Everything the other way round; the number of parameters follows the gap."""
    plain = [f"cost_1_{basis}" for basis in ("eigen", "fourier", "identity")]
    follow = [*plain, "jacobian_margin", "spectral_product", "parameters", "path_norm_margin"]
    follow += ["cost_1_identity_margin"]
    return {one.claim: one for one in study.judge(zoo_runs(**dict.fromkeys(follow, truthful)))}


@pytest.mark.slow
def test_every_claim_has_a_verdict(good: dict[str, Verdict]) -> None:
    assert list(good) == [claim.id for claim in study.claims]


@pytest.mark.parametrize("claim", ["P1", "P2", "P3", "P5", "P6", "P7"])
def test_holds(claim: str, good: dict[str, Verdict]) -> None:
    assert good[claim].outcome == KINDS[claim][0], good[claim].reason


@pytest.mark.slow
@pytest.mark.parametrize("claim", ["P1", "P2", "P3", "P4", "P5", "P6", "P7"])
def test_fails(claim: str, bad: dict[str, Verdict]) -> None:
    assert bad[claim].outcome == KINDS[claim][1], bad[claim].reason


@pytest.mark.slow
def test_the_fourier_basis_is_judged_on_convolutional_networks_alone() -> None:
    told = {"cost_1_fourier_margin": truthful}
    assert verdict("P4", zoo_runs(**told)).outcome == "supported"
    assert verdict("P4", zoo_runs(families=("mlp",), **told)).outcome == "undecided"
    assert study.concerns({"part": "zoo", "family": "cnn"}, "P4")
    assert not study.concerns({"part": "zoo", "family": "mlp"}, "P4")
    assert study.concerns({"part": "zoo", "family": "mlp"}, "P1")


@pytest.mark.slow
def test_information_does_not_care_for_the_direction() -> None:
    found = verdict("P2", zoo_runs(**{OURS: truthful}, spectral_product_margin=wrong))
    assert found.outcome == "undecided"


@pytest.mark.slow
def test_measures_that_know_nothing_leave_comparisons_open() -> None:
    found = outcomes(zoo_runs())
    assert {found[claim] for claim in ("P1", "P3", "P5", "P6", "P7")} == {"undecided", "inconclusive"}


@pytest.mark.slow
def test_no_measure_is_robust_where_all_are_upside_down() -> None:
    found = verdict("P8", zoo_runs(default=wrong))
    assert found.outcome == "reproduced", found.reason
    assert f"{len(MEASURES)} of {len(MEASURES)} measures surely fail" in found.reason


@pytest.mark.slow
def test_a_measure_that_always_follows_is_robust() -> None:
    found = verdict("P8", zoo_runs(default=wrong, flatness=lambda c, g, r: g))
    assert found.outcome == "not reproduced", found.reason
    assert "flatness" in found.reason


@pytest.mark.slow
def test_measures_that_neither_surely_hold_nor_surely_fail_leave_robustness_open() -> None:
    found = verdict("P8", zoo_runs())
    assert found.outcome == "inconclusive"
    assert "0 surely hold in all" in found.reason


@pytest.mark.slow
def test_too_few_environments_leave_robustness_open() -> None:
    few = [run for run in zoo_runs(default=wrong) if run.config["depth"] == 1 and run.config["lr"] == 0.1]
    found = verdict("P8", few)
    assert found.outcome == "inconclusive"
    assert "environments have an effective number" in found.reason


@pytest.mark.slow
def test_a_constant_is_no_better_than_a_coin() -> None:
    found = verdict("P8", zoo_runs(default=lambda c, g, r: 1.0))
    assert found.outcome == "reproduced", found.reason


@pytest.mark.slow
def test_networks_that_did_not_reach_the_loss_are_left_out_and_counted() -> None:
    found = verdict("P1", zoo_runs(failed=3, **{OURS: truthful}))
    assert "61 of 64 networks reached the target loss" in found.reason
    assert all(estimate.n == 61 for estimate in found.estimates)
    assert found.outcome == "supported"
    assert verdict("P1", zoo_runs(failed=4, **{OURS: truthful})).outcome == "undecided"  # too many


def test_without_networks_nothing_is_concluded() -> None:
    assert set(outcomes([]).values()) == {"inconclusive", "undecided"}
    assert set(outcomes(zoo_runs(failed=64)).values()) == {"inconclusive", "undecided"}


def test_rivals_and_norms_are_measures() -> None:
    names = [measure.name for measure in MEASURES]
    assert len(set(names)) == len(names)
    assert {OURS, *RIVALS, *NORMS, "flatness"} <= set(names)
