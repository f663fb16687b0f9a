"""The claims of Li, Luo & Lyu (2021), and the rule of each verdict, fixed before anything runs."""

from __future__ import annotations

from overt.studies.base import Claim

_ENDED = (
    " Inconclusive where more than a tenth of the flows of a setting were stopped before the wanted loss; "
    "fewer count as the worst possible. (Added after a full run.)"
)

L1 = Claim(
    "L1",
    "One rank after another",
    "From an infinitesimal initialization gradient flow over two factors follows Greedy Low-Rank Learning: "
    "it passes by the critical points of rank 1, 2, … that this algorithm finds, in that order.",
    "Li, Luo & Lyu 2021, Algorithm 1 and the equivalence for depth 2",
    "Distances are min over time of ‖W(t) − W_r‖_F / ‖W_r‖_F. A seed counts if at depth 2, from the smallest "
    "initialization, each is at most 0.05, at times that increase with r. Reproduced if at least 80 % of the "
    "seeds count and the distances (geometric mean over r below the true rank) at the smallest scale are at "
    "most half those at the largest (95 % interval of the paired ratio). Not reproduced if fewer than half "
    "of the seeds count, or the interval lies above one half." + _ENDED,
)
L2 = Claim(
    "L2",
    "From saddle to saddle",
    "On its way the loss rests on plateaus, at the losses of the critical points; the smaller the "
    "initialization, the longer.",
    "Li, Luo & Lyu 2021, greedy phases of Algorithm 1; loss plateaus of saddle-to-saddle dynamics",
    "A plateau's length is the time the loss spends within 5 % of a critical point's loss, f(W_r), r below "
    "the true rank. Reproduced if at each depth the plateaus (geometric mean over r) from the smallest "
    "initialization are at least twice as long as from the largest (95 % interval of the paired ratio), and "
    "from the smallest the loss at the closest approach is within 10 % of f(W_r) for each r in at least 80 % "
    "of the seeds. Not reproduced if an interval lies below two, or a share below one half." + _ENDED,
)
L3 = Claim(
    "L3",
    "Depth needs a less extreme initialization",
    "With three layers or more the flow comes as close to the greedy path from an initialization of "
    "practical scale as two layers do only from a far smaller one.",
    "Li, Luo & Lyu 2021, depth ≥ 3; Figure 5 (scale 1e-3, rank 3)",
    "At the scale 1e-3, common to all depths. Reproduced if the distances (geometric mean over r "
    "below the true rank) of depths 3 and 4 are at most half those of depth 2, and the singular value behind "
    "the true rank, relative to the first, at the end is at most half as large (95 % intervals of the "
    "paired ratios). Not reproduced if an interval lies above one half." + _ENDED,
)
L4 = Claim(
    "L4",
    "The explicit path beside it",
    "Along its weight, the normalized nuclear norm at depth 1 with Adam goes through the same ranks, and "
    "close to the same matrices.",
    "Own question; the penalty is that of Zhao 2022",
    "The path trains at one weight after another, from the smallest to the largest, each from where the last "
    "ended. A seed counts if, from the largest to the smallest, the numerical rank (above 1 % of the first "
    "singular value) takes each value 1, …, true rank before it exceeds them, and for each r the closest "
    "matrix on the path is within 0.2 of W_r (relative distance). Reproduced if at least 80 % of the seeds "
    "count, not reproduced if fewer than half do. Weights at which the loss is more than a tenth above that "
    "at a larger weight are left out: training had not ended. Inconclusive where more than a tenth of the "
    "paths fit nowhere better than the last critical point of lower rank. (The last two were added after a "
    "full run.)",
)
CLAIMS = (L1, L2, L3, L4)

GROUPS: dict[str, frozenset[str]] = {
    "L1": frozenset({"flow"}),
    "L2": frozenset({"flow"}),
    "L3": frozenset({"flow"}),
    "L4": frozenset({"path"}),
}
