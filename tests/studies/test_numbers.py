"""Words and cells of figures."""

from __future__ import annotations

from overt.studies import Estimate, Run
from overt.studies.claims import numbers as nb


def run(seed=0, **config):
    return Run("s", f"{seed:012x}", {"seed": seed, "n": 30, **config}, [{"error": 0.1}])


def test_cells():
    estimate = Estimate("", 2.0, 1.0, 3.5, 3)
    assert nb.columns(estimate, "a") == {"a": 2.0, "a_low": 1.0, "a_high": 3.5}
    assert nb.columns(None, "a") == {"a": None, "a_low": None, "a_high": None}


def test_words():
    numbers = (0.003, 1e-4, 9.9e-5, 1e-6, 100.0, 99999.0, 1e5, 1e12, 0.0, -0.5)
    words = ["0.003", "0.0001", "1e−4", "1e−6", "100", "99999", "1e5", "1e12", "0", "−0.5"]
    assert [nb.short(value) for value in numbers] == words
    one, two = [run()], [run(), run(seed=1), run(seed=1, n=9)]
    assert (nb.seeds(one), nb.seeds(two)) == ("one seed", "2 seeds")
    assert nb.distinct(two, "n") == [9, 30]
