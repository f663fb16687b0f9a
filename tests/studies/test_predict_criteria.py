"""Criteria of measures of generalization, on zoos whose answers are known, and against slow loops."""

from __future__ import annotations

import doctest
import math
from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import kendalltau

from overt.studies.predict import criteria, environments
from overt.studies.predict.criteria import Zoo
from overt.studies.predict.environments import Environment, hoeffding_weight

GRID = list(product([0, 1], repeat=4))


def grid_zoo(gaps: object, seeds: int = 1, families: int = 1) -> Zoo:
    rows = GRID * (seeds * families)
    names = [f"family {i // (len(GRID) * seeds)}" for i in range(len(rows))]
    axes = {f"h{i}": [row[i] for row in rows] for i in range(4)}
    return Zoo(axes, np.asarray(gaps, dtype=float), names, 10_000)


def noise(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n)


def slow_information(zoo: Zoo, mu: np.ndarray, counts: np.ndarray) -> float:
    """K of a single family, pair by pair, in both orders."""
    axes, g = list(zoo.axes.values()), np.asarray(zoo.gaps)
    smallest = math.inf
    for size in range(3):
        for chosen in combinations(range(len(axes)), size):
            table: dict[tuple[object, ...], float] = {}
            for i in range(zoo.size):
                for j in range(zoo.size):
                    if g[i] != g[j]:
                        cell = tuple((axes[a][i], axes[a][j]) for a in chosen)
                        key = (cell, np.sign(mu[i] - mu[j]), np.sign(g[i] - g[j]))
                        table[key] = table.get(key, 0.0) + counts[i] * counts[j]
            total = sum(table.values())
            information = entropy = 0.0
            for cell in {key[0] for key in table}:
                part = {key[1:]: n / total for key, n in table.items() if key[0] == cell}
                p = sum(part.values())
                if p == 0:
                    continue
                of_mu = {s: sum(n for key, n in part.items() if key[0] == s) for s in (-1, 0, 1)}
                of_g = {s: sum(n for key, n in part.items() if key[1] == s) for s in (-1, 1)}
                information += sum(
                    n * math.log(n * p / (of_mu[a] * of_g[b])) for (a, b), n in part.items() if n > 0
                )
                entropy -= sum(n * math.log(n / p) for n in of_g.values() if n > 0)
            smallest = min(smallest, information / entropy if entropy > 1e-12 else 0.0)
    return smallest


def test_examples_in_the_docstrings() -> None:
    for module in (criteria, environments):
        found = doctest.testmod(module)
        assert found.attempted > 0
        assert found.failed == 0


def test_kendall_is_scipys_where_nothing_ties() -> None:
    g, mu = noise(40, 0), noise(40, 1)
    zoo = Zoo({"h": list(range(40))}, g, ["a"] * 40, 100)
    assert zoo.kendall(mu)[0] == pytest.approx(kendalltau(mu, g).statistic)
    assert zoo.kendall(g)[0] == 1
    assert zoo.kendall(-g)[0] == -1


def test_ties_count_nothing_and_infinities_are_ordered() -> None:
    zoo = Zoo({"h": [0, 1, 2, 3]}, [0.1, 0.2, 0.3, 0.4], ["a"] * 4, 100)
    assert zoo.kendall([0, 0, 0, 1])[0] == pytest.approx(3 / 6)
    assert zoo.kendall([0, 1, math.inf, math.inf])[0] == pytest.approx(5 / 6)


def test_families_make_no_pairs_with_each_other() -> None:
    # Within each family the order is perfect; between them it is upside down.
    zoo = Zoo({"h": [0, 1, 0, 1]}, [0.1, 0.2, 0.8, 0.9], ["a", "a", "b", "b"], 100)
    assert zoo.kendall([10, 11, 0, 1])[0] == 1


def test_granulated_is_the_mean_over_groups_and_axes() -> None:
    g, mu = noise(16, 2), noise(16, 3)
    found = grid_zoo(g).granulated(mu)
    for axis in range(4):
        signs = []
        for row in GRID:
            if row[axis] == 0:
                other = (*row[:axis], 1, *row[axis + 1 :])
                i, j = GRID.index(row), GRID.index(other)
                signs.append(np.sign(mu[i] - mu[j]) * np.sign(g[i] - g[j]))
        assert found[f"h{axis}"][0] == pytest.approx(np.mean(signs))
    mean = np.mean([value[0] for value in found.values()])
    assert grid_zoo(g).mean_granulated(mu)[0] == pytest.approx(mean)


def test_granulated_counts_each_group_once_whatever_its_size() -> None:
    # Group b=0 has three values of a, ranked rightly (three pairs); group b=1 two, ranked wrongly.
    zoo = Zoo({"a": [0, 1, 2, 0, 1], "b": [0, 0, 0, 1, 1]}, [1, 2, 3, 1, 2], ["f"] * 5, 100)
    assert zoo.granulated([1, 2, 3, 2, 1])["a"][0] == pytest.approx(0.0)


def test_a_measure_that_knows_one_hyperparameter_has_no_granulated_credit_elsewhere() -> None:
    # Simpson's paradox: the gap follows h0 strongly; the measure too, but it is wrong along all others.
    gaps = [10 * row[0] + row[1] + row[2] + row[3] for row in GRID]
    mu = [10 * row[0] - row[1] - row[2] - row[3] for row in GRID]
    zoo = grid_zoo(gaps)
    assert zoo.kendall(mu)[0] > 0
    assert {axis: psi[0] for axis, psi in zoo.granulated(mu).items()} == {
        "h0": 1,
        "h1": -1,
        "h2": -1,
        "h3": -1,
    }
    assert zoo.mean_granulated(mu)[0] == -0.5


def test_networks_that_differ_in_the_seed_alone_are_no_granulated_pair() -> None:
    zoo = Zoo({"h": [0, 0]}, [0.1, 0.2], ["a", "a"], 100)
    assert zoo.granulated([1, 2]) == {}
    assert math.isnan(zoo.mean_granulated([1, 2])[0])
    assert zoo.kendall([1, 2])[0] == 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_information_is_that_of_the_slow_count(seed: int) -> None:
    g = noise(16, seed).round(1)  # some gaps tie
    mu = (g + noise(16, seed + 10)).round(1)
    counts = np.random.default_rng(seed).integers(0, 3, size=16).astype(float)
    zoo = grid_zoo(g)
    # A network makes no pair with itself: in the slow count equal gaps are left out, which includes these.
    assert zoo.information(mu, counts[None])[0] == pytest.approx(slow_information(zoo, mu, counts))
    assert zoo.information(mu)[0] == pytest.approx(slow_information(zoo, mu, np.ones(16)))


def test_information_knows_what_hyperparameters_say_already() -> None:
    n = 16 * 8
    rows = np.array(GRID * 8)
    g = noise(n, 4)
    zoo = grid_zoo(g, seeds=8)
    assert zoo.information(g)[0] == pytest.approx(1.0)
    assert zoo.information(-g)[0] == pytest.approx(1.0)  # an upside-down order tells as much
    assert zoo.information(noise(n, 5))[0] < 0.02
    # The gap is one hyperparameter and a little noise; the measure is that hyperparameter.
    determined = grid_zoo(rows[:, 0] + 1e-3 * noise(n, 6), seeds=8)
    assert determined.information(rows[:, 0])[0] == pytest.approx(0.0, abs=1e-12)
    assert determined.information(rows[:, 0], conditioned_on=0)[0] > 0.4


def test_sign_errors_of_a_measure_that_fails_along_one_hyperparameter() -> None:
    gaps = [0.3 * row[0] + 0.1 * (row[1] + row[2] + row[3]) for row in GRID]
    mu = [-row[0] + 2.0 * (row[1] + row[2] + row[3]) for row in GRID]
    found = grid_zoo(gaps).sign_errors(mu)
    errors = {place.axis: float(error[0]) for place, (error, _) in found.items()}
    assert errors == {"h0": 1.0, "h1": 0.0, "h2": 0.0, "h3": 0.0}
    assert all(pairs == pytest.approx(8) for _, pairs in found.values())
    assert Environment("family 0", "h0", ("0", "1")) in found


def test_sign_errors_weigh_pairs_by_how_sure_their_order_is() -> None:
    # Along h the gap changes by 0.5 in one pair (ranked rightly) and by 1e-4 in the other (wrongly).
    zoo = Zoo({"h": [0, 1, 0, 1], "k": [0, 0, 1, 1]}, [0.0, 0.5, 0.0, 1e-4], ["a"] * 4, 10_000)
    mu = [0, 1, 1, 0]
    along = Environment("a", "h", ("0", "1"))
    assert zoo.sign_errors(mu)[along][0][0] == 0
    assert zoo.sign_errors(mu, filter_noise=False)[along][0][0] == 0.5


def test_weights_of_two_gaps() -> None:
    d, n = 0.03, 10_000
    expected = (1 - 2 * math.exp(-2 * n * (d / 2) ** 2)) ** 2 - 0.5
    assert hoeffding_weight(np.array([d]), n)[0] == pytest.approx(expected)
    assert hoeffding_weight(np.array([0.0, 0.019]), n).tolist() == [0, 0]


def test_leaving_a_network_out_is_a_weight_of_zero() -> None:
    g, mu = noise(16, 7), noise(16, 8)
    zoo = grid_zoo(g)
    weights = np.ones((2, 16))
    weights[0, [3, 5]] = 0
    kept = [i for i in range(16) if i not in (3, 5)]
    part = Zoo({k: [v[i] for i in kept] for k, v in zoo.axes.items()}, g[kept], ["a"] * 14, 10_000)
    assert zoo.kendall(mu, weights)[0] == pytest.approx(part.kendall(mu[kept])[0])
    assert zoo.mean_granulated(mu, weights)[0] == pytest.approx(part.mean_granulated(mu[kept])[0])
    assert zoo.information(mu, weights)[0] == pytest.approx(part.information(mu[kept])[0])
    assert zoo.kendall(mu, weights)[1] == pytest.approx(zoo.kendall(mu)[0])
    assert zoo.kendall(mu, 3 * weights)[1] == pytest.approx(zoo.kendall(mu)[0])


def test_draws_keep_the_size_of_each_family() -> None:
    zoo = grid_zoo(noise(32, 9), families=2)
    draws = zoo.draws(50, seed=1)
    assert draws.shape == (50, 32)
    assert (draws[:, :16].sum(1) == 16).all()
    assert (draws[:, 16:].sum(1) == 16).all()
    assert np.array_equal(draws, zoo.draws(50, seed=1))
    assert not np.array_equal(draws, zoo.draws(50, seed=2))


def test_bootstrap_intervals_of_kendall_cover_it() -> None:
    hits = 0
    for seed in range(40):
        g = noise(60, seed)
        mu = g + noise(60, seed + 1000)
        zoo = Zoo({"h": list(range(60))}, g, ["a"] * 60, 100)
        low, high = np.percentile(zoo.kendall(mu, zoo.draws(200)), [2.5, 97.5])
        hits += low <= 0.5 <= high  # τ = 2/π asin(ρ), with ρ = 1/√2
    assert hits >= 34


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (({"h": [1]}, [0.1], ["a"], 10), "at least two"),
        (({"h": [1, 2, 3]}, [0.1, 0.2], ["a", "a"], 10), "h must have one entry"),
        (({"h": [1, 2]}, [0.1, math.nan], ["a", "a"], 10), "finite"),
    ],
)
def test_bad_zoos_are_refused(arguments: tuple[object, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Zoo(*arguments)  # type: ignore[arg-type]


def test_bad_measures_are_refused() -> None:
    zoo = Zoo({"h": [1, 2]}, [0.1, 0.2], ["a", "a"], 10)
    for measure, words in (([1.0], "one number for each"), ([1.0, math.nan], "NaN")):
        with pytest.raises(ValueError, match=words):
            zoo.kendall(measure)
    with pytest.raises(ValueError, match="weights"):
        zoo.kendall([1.0, 2.0], np.ones((2, 3)))
