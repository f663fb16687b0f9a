"""Sampling of entries: without replacement, the promised patterns, dense and sparse route alike."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from overt.problems import matrix_completion, sampling
from overt.problems.sampling import line_weights, sample_entries

PATTERNS = ["uniform", "nonuniform", "blocks"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@given(
    m=st.integers(1, 12),
    n=st.integers(1, 12),
    pattern=st.sampled_from(PATTERNS),
    seed=st.integers(0, 10**6),
    data=st.data(),
)
def test_distinct_sorted_and_in_range(m, n, pattern, seed, data):
    count = data.draw(st.integers(1, m * n))
    rows, cols = sample_entries((m, n), count, generator=seeded(seed), sampling=pattern)
    flat = rows * n + cols
    assert flat.numel() == count
    assert bool((flat[1:] > flat[:-1]).all())
    assert 0 <= int(rows.min()) <= int(rows.max()) < m
    assert 0 <= int(cols.min()) <= int(cols.max()) < n


@pytest.mark.slow
def test_uniform_hits_each_place_and_pair_equally_often():
    rounds, hits = 6000, torch.zeros(12)
    together = torch.zeros(12, 12)
    generator = seeded()
    for _ in range(rounds):
        rows, cols = sample_entries((3, 4), 5, generator=generator)
        seen = torch.zeros(12)
        seen[rows * 4 + cols] = 1
        hits += seen
        together += torch.outer(seen, seen)
    sigma = math.sqrt(rounds * 5 / 12 * 7 / 12)
    assert float((hits - rounds * 5 / 12).abs().max()) < 4.5 * sigma
    pairs = together[~torch.eye(12, dtype=torch.bool)]
    assert float((pairs / rounds - 5 / 12 * 4 / 11).abs().max()) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_dense_and_sparse_route_have_one_distribution(pattern, monkeypatch):
    """Both draw successively with probability proportional to the weight of what is left."""
    weights = line_weights((4, 40), pattern, seeded(3))
    frequencies = []
    for dense in (2**25, 0):
        monkeypatch.setattr(sampling, "_DENSE", dense)
        generator, hits = seeded(1), torch.zeros(160)
        for _ in range(3000):
            flat = sampling._draw(weights, 20, pattern == "uniform", generator)
            assert flat.unique().numel() == 20
            hits[flat] += 1
        frequencies.append(hits / 3000)
    spread = (frequencies[0] * (1 - frequencies[0]) * 2 / 3000).sqrt().clamp_min(1e-3)
    z = (frequencies[0] - frequencies[1]) / spread
    assert float(z.abs().max()) < 5
    assert float(z.square().mean()) < 1.5


def test_first_appearances_keep_their_order():
    flat = torch.tensor([5, 1, 5, 3, 1, 9])
    assert sampling._first_appearances(flat).tolist() == [5, 1, 3, 9]


def test_blocks_thin_every_second_row_block():
    problem = matrix_completion((80, 80), rank=2, n_observed=1200, seed=0, sampling="blocks")
    per_block = torch.bincount(problem.rows * 4 // 80, minlength=4).double()
    thick, thin = per_block[0::2].sum(), per_block[1::2].sum()
    # 1600 places a block, a share p of the thick and about p/4 of the thin ones.
    assert float(thin / thick) == pytest.approx(0.25, abs=0.06)
    assert float((per_block[0] - per_block[2]).abs() / per_block[0]) < 0.2
    per_column = torch.bincount(problem.cols, minlength=80).double()
    assert float(per_column.std()) < 1.4 * math.sqrt(15)


def test_nonuniform_lines_follow_log_normal_weights():
    rows, cols = line_weights((3000, 2000), "nonuniform", seeded())
    for weights in (rows, cols):
        assert float(weights.log().mean()) == pytest.approx(0, abs=0.1)
        assert float(weights.log().std()) == pytest.approx(1, abs=0.06)
    generator = seeded(7)
    row_weights, _ = line_weights((200, 300), "nonuniform", seeded(7))
    rows, _ = sample_entries((200, 300), 1500, generator=generator, sampling="nonuniform")
    counts = torch.bincount(rows, minlength=200).double()
    correlation = torch.corrcoef(torch.stack([counts, row_weights]))[0, 1]
    assert float(correlation) > 0.8
    uniform, _ = sample_entries((200, 300), 1500, generator=seeded(), sampling="uniform")
    assert float(counts.std()) > 2 * float(torch.bincount(uniform, minlength=200).double().std())


@pytest.mark.parametrize("pattern", PATTERNS)
def test_min_per_line(pattern):
    for seed in range(5):
        rows, cols = sample_entries((12, 9), 60, generator=seeded(seed), sampling=pattern, min_per_line=2)
        assert int(torch.bincount(rows, minlength=12).min()) >= 2
        assert int(torch.bincount(cols, minlength=9).min()) >= 2


def test_min_per_line_changes_the_draw_that_misses_it():
    def smallest(minimum):
        p = matrix_completion((100, 100), rank=5, n_observed=1170, seed=0, min_per_line=minimum)
        return min(int(torch.bincount(x, minlength=100).min()) for x in (p.rows, p.cols))

    assert smallest(0) < 5 <= smallest(5)


def test_min_per_line_gives_up():
    with pytest.raises(ValueError, match="no draw out of 30 put at least 3"):
        sample_entries((30, 30), 91, generator=seeded(), min_per_line=3, max_tries=30)


def test_an_impossible_demand_on_a_large_matrix_ends_soon(monkeypatch):
    monkeypatch.setattr(sampling, "_MAX_WORK", 5000)
    with pytest.raises(ValueError, match="no draw out of 5 "):
        sample_entries((30, 30), 91, generator=seeded(), min_per_line=3)


def test_everything_observed():
    for pattern in PATTERNS:
        rows, _ = sample_entries((4, 5), 20, generator=seeded(), sampling=pattern, min_per_line=4)
        assert rows.numel() == 20
