"""The claims of Arora, Cohen, Hu & Luo (2019), and the rule of each verdict, fixed before anything runs."""

from __future__ import annotations

from overt.studies.base import Claim

_FIT = (
    " Inconclusive where more than a tenth of the runs of a setting that is compared did not fit the data "
    "(relative loss above {}); fewer count as the worst possible. (Added after a full run.)"
)
_ENDED = (
    " Inconclusive where more than a tenth of the flows of a depth were stopped before the wanted loss. "
    "(Added after a full run.)"
)

A1 = Claim(
    "A1",
    "Depth helps completion where entries are few",
    "With few observed entries factorizations of depth 3 and 4 are far more accurate than depth 2 and of "
    "lower effective rank; with many entries all depths do well.",
    "Arora et al. 2019, Figure 1 (100×100, rank 5 and 10, full width)",
    "Few: about twice the degrees of freedom; many: at least four times. Reproduced if, for each rank, the "
    "error with few entries at depths 3 and 4 is at most half that of depth 2 and the effective rank lower "
    "(95 % intervals of the paired ratios over seeds below 0.5 and below 1), and with many entries the "
    "median error of each depth is at most 0.05. Not reproduced if an interval lies above its bar, or a "
    "median does." + _FIT.format("1e-4"),
)
A2 = Claim(
    "A2",
    "The same in matrix sensing",
    "What depth does in completion it does with Gaussian measurements as well.",
    "Arora et al. 2019, appendix, sensing counterpart of Figure 1 (there 100×100; here 40×40, to keep the "
    "measurements small)",
    "As A1, with few measurements one and a half to two times the degrees of freedom and many at least "
    "twice (a 40×40 matrix of rank 10 has no room for more)." + _FIT.format("1e-4"),
)
A3 = Claim(
    "A3",
    "Gradient descent and the nuclear norm part ways",
    "With few observed entries and a tiny initialization, gradient descent ends at a larger nuclear norm "
    "and a lower effective rank than the minimum nuclear norm solution; with many, all end at the same.",
    "Arora et al. 2019, Figure 2 (100×100, rank 5, 2000 and 5000 entries, depths 2 and 3)",
    "At the smallest initialization. Reproduced if with few entries, at depths 2 and 3, the nuclear norm "
    "is at least 1 % larger and the effective rank at least 10 % lower than those of the minimum nuclear "
    "norm solution (95 % intervals of the paired ratios), and with many entries the median nuclear norms "
    "are within 1 % of it. Not reproduced if an interval lies on the other side of its bar, or a median is "
    "further away." + _FIT.format("1e-6, a residual of a tenth of 1 %"),
)
A4 = Claim(
    "A4",
    "A smaller initialization means lower rank",
    "With few observed entries the effective rank and the error fall as the initialization shrinks.",
    "Arora et al. 2019, Figure 2",
    "Reproduced if at depths 2 and 3 the effective rank at the smallest scale is at most 0.8 times, and "
    "the error at most half, that at the largest scale (95 % intervals of the paired ratios). Not "
    "reproduced if an interval lies above its bar." + _FIT.format("1e-4"),
)
A5 = Claim(
    "A5",
    "The dynamics of singular values",
    "Under gradient flow from balanced layers σ̇_r = −N (σ_r²)^{1−1/N} ⟨∇ℓ(W), u_r v_rᵀ⟩, so that small "
    "singular values move slowly and large ones fast, the more so the deeper.",
    "Arora et al. 2019, Theorem 3; Figure 3, top",
    "Along a flow integrated by an ODE solver, velocities are measured by central differences of the "
    "leading singular values, twice in each solver step. The deviation is |measured − formula| / "
    "max(|formula|, 1e-3 × its largest value for that singular value). Reproduced if at depths 2–4 the "
    "largest deviation of the whole trajectory is at most 2 % in all seeds, and the exponent fitted to the "
    "measured velocities is within 0.01 of 1−1/N. Not reproduced if at some depth one of the two fails in "
    "half of the seeds or more." + _ENDED,
)
A6 = Claim(
    "A6",
    "The dynamics on MovieLens 100K",
    "The same on ratings: 10 000 of MovieLens 100K, a 943×1682 matrix.",
    "Arora et al. 2019, Theorem 3; Figure 3, bottom",
    "As A5. The start has rank 10, and by the formula a singular value of zero stays zero for N ≥ 2, so "
    "hidden layers of width 10 give the flow of full width exactly. Without the data: skipped." + _ENDED,
)
CLAIMS = (A1, A2, A3, A4, A5, A6)

GROUPS: dict[str, frozenset[str]] = {
    "A1": frozenset({"completion"}),
    "A2": frozenset({"sensing"}),
    "A3": frozenset({"scales"}),
    "A4": frozenset({"scales"}),
    "A5": frozenset({"dynamics"}),
    "A6": frozenset({"movielens"}),
}
