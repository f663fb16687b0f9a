"""Intervals against SciPy and closed forms, and what they do with degenerate samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overt.studies.claims.statistics import bootstrap, proportion

finite = st.floats(-1e6, 1e6)


def percentile_oracle(values, seed, confidence=0.95, resamples=2000):
    """Return the percentile interval of the median by hand."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(values), (resamples, len(values)))
    medians = np.median(np.asarray(values)[draws], axis=1)
    tail = 50 * (1 - confidence)
    return np.percentile(medians, [tail, 100 - tail])


def test_percentile_interval_is_that_of_the_resampled_medians():
    values = np.random.default_rng(0).normal(size=15)
    estimate = bootstrap(values, seed=3)
    assert estimate.value == np.median(values)
    low, high = percentile_oracle(values, 3)
    np.testing.assert_allclose((estimate.low, estimate.high), (low, high), atol=0.15)
    assert estimate.low < estimate.value < estimate.high


@pytest.mark.slow
@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_interval_of_the_mean_covers_it_about_as_often_as_it_says(method):
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(100):
        e = bootstrap(rng.normal(size=30), np.mean, seed=trial, method=method, resamples=300)
        inside += e.low <= 0 <= e.high
    assert 85 <= inside <= 100


@given(st.lists(finite, min_size=1, max_size=12), st.sampled_from(["percentile", "BCa"]))
def test_bootstrap_is_deterministic_ordered_and_within_the_sample(values, method):
    e = bootstrap(values, method=method, resamples=100)
    assert e == bootstrap(values, method=method, resamples=100)
    assert e.n == len(values)
    if len(values) == 1:
        assert e.low is None
        assert e.high is None
    else:
        slack = 1e-12 * max(map(abs, values))
        assert min(values) - slack <= e.low <= e.high <= max(values) + slack


def test_equal_values_give_an_interval_of_no_width():
    e = bootstrap([2.0] * 5, method="BCa")
    assert (e.low, e.value, e.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf], [[1.0, 2.0]]])
def test_empty_and_non_finite_samples_are_refused(values):
    with pytest.raises(ValueError, match="values must"):
        bootstrap(values)


@pytest.mark.parametrize(
    ("options", "name"),
    [({"confidence": c}, "confidence") for c in (0.0, 1.0, 1.5)]
    + [({"method": "magic"}, "method"), ({"resamples": 0}, "resamples")],
)
def test_options_out_of_range_are_refused(options, name):
    for values in ([1.0, 2.0], [1.0]):
        with pytest.raises(ValueError, match=f"^{name} must be"):
            bootstrap(values, **options)


@pytest.mark.parametrize("confidence", [0.95, 0.8, 0.5])
def test_the_interval_of_a_median_has_the_ends_of_the_binomial_distribution(confidence):
    """The median of a resample of 15 values is at most the j-th of them if 8 of 15 draws are."""
    from scipy.stats import binom

    values = [10.0**k for k in range(15)]
    e = bootstrap(values, confidence=confidence, seed=1, resamples=20_000)
    tail = (1 - confidence) / 2
    at_most = [binom.sf(7, 15, (j + 1) / 15) for j in range(15)]
    low = next(j for j, p in enumerate(at_most) if p >= tail)
    high = next(j for j, p in enumerate(at_most) if p >= 1 - tail)
    assert (e.low, e.high) == (values[low], values[high])


def test_the_defaults_are_those_of_the_docstring():
    values = np.random.default_rng(5).normal(size=9)
    plain = {"confidence": 0.95, "seed": 0, "method": "percentile", "resamples": 2000}
    assert bootstrap(values) == bootstrap(values, np.median, **plain)
    assert proportion(3, 7) == proportion(3, 7, confidence=0.95)


@given(st.integers(1, 60), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_interval_is_its_closed_form(n, share, confidence):
    from scipy.stats import norm

    k = round(share * n)
    e = proportion(k, n, confidence=confidence)
    z = norm.ppf((1 + confidence) / 2)
    centre = (k / n + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(k / n * (1 - k / n) / n + z**2 / (4 * n**2))
    assert e.low == pytest.approx(max(centre - half, 0), abs=1e-9)
    assert e.high == pytest.approx(min(centre + half, 1), abs=1e-9)
    assert 0 <= e.low <= e.value <= e.high <= 1


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_impossible_counts_are_refused(k, n):
    with pytest.raises(ValueError, match="must be"):
        proportion(k, n)
