"""The study's claims, and the rule of each verdict, fixed before anything runs."""

from __future__ import annotations

from overt.studies.base import Claim

PAPER = "Woodworth et al. 2020, arXiv 2002.09277"

_FIT = (
    " Inconclusive where more than a tenth of the networks of a setting ended before a relative loss of "
    "1e-6; fewer count as the worst possible. (Added after a full run.)"
)

W1 = Claim(
    "W1",
    "Gradient descent from zero finds the minimum ℓ2 norm",
    "Without depth, gradient descent from zero converges to the interpolating solution of minimum ℓ2 norm.",
    "Well known (Zhang et al. 2017, section 5); the depth-1 end of Woodworth et al. 2020",
    "Dense and sparse truth. Reproduced if every run ends within a relative distance of 1e-6 of the minimum "
    "norm solution. Not reproduced if one that fitted the data (relative loss at most 1e-12) does not. "
    "Inconclusive where more than a tenth of the runs of a setting ended before that. (The last was added "
    "after a full run.)",
)
W2 = Claim(
    "W2",
    "Depth 2 minimizes Q_α",
    "For w = u² − v² with u = v = α at the start, gradient flow converges to the interpolating solution of "
    "minimum Q_α(w) = α² Σ q(w_i/α²) with q(z) = 2 − √(4 + z²) + z·arcsinh(z/2).",
    f"{PAPER}, theorem 1",
    "Reproduced if at every α the median relative distance to the minimizer of Q_α, found by a convex "
    "solver, is at most 0.02, and at α = 0.1 the distances to the ℓ1 and to the ℓ2 minimizer are more than "
    "ten times that to Q_α's. Not reproduced if at an α the 95 % interval lies above 0.02, or at α = 0.1 "
    "one of the two is closer." + _FIT,
)
W3 = Claim(
    "W3",
    "Depths 3 and 4 minimize Q_α of their depth",
    "For w = uᴰ − vᴰ with D > 2 the functional is αᴰ Σ q_D(w_i/αᴰ), q_D′ the inverse of "
    "h_D(z), which is 1 − z less 1 + z, each raised to the power −D/(D−2).",
    f"{PAPER}, theorem 3",
    "Reproduced if at every α and both depths the median relative distance to the minimizer is at most 0.02. "
    "Not reproduced if at one of them the 95 % interval lies above 0.02." + _FIT,
)
W4 = Claim(
    "W4",
    "From the kernel to the rich regime",
    "A large initialization gives the minimum ℓ2 norm (kernel regime), a small one the minimum ℓ1 norm (rich "
    "regime), at every depth of two or more.",
    f"{PAPER}, theorem 2 and its analogue for D > 2, figure 1",
    "Reproduced if at depths 2, 3 and 4 the median relative distance to the ℓ2 minimizer is at most 0.1 from "
    "the largest α, and ‖w‖₁ exceeds its minimum by at most 5 % from the smallest. Not reproduced if a 95 % "
    "interval lies above its bar." + _FIT,
)
W5 = Claim(
    "W5",
    "Depth enters the rich regime from larger weights",
    "Depth 2 needs an exponentially small α to come close to the ℓ1 minimizer, depth 3 a polynomially small "
    "one.",
    f"{PAPER}, section 5 (order of the transition for D = 2 and D > 2)",
    "At α = 0.1, which both depths are run from, the excess of ‖w‖₁ over its minimum (at least 1e-3, the "
    "accuracy of the fit). Reproduced if the 95 % interval of the paired ratio of depth 3 over depth 2 lies "
    "below one half. Not reproduced if it lies above." + _FIT,
)
W6 = Claim(
    "W6",
    "Depth implies ℓ1, not ℓp with p = 2/D",
    "In the rich regime the implicit bias is ℓ1 at every depth, and not the quasi-norm ℓp with p = 2/D that "
    "weight decay on the layers amounts to: with too few samples for ℓ1 depth fails with it.",
    f"{PAPER}, section 5 (limit of Q_α for D > 2)",
    "Depths 3 and 4 with 20 samples, smallest α. Reproduced if for each the median of the distance to the ℓ1 "
    "minimizer over the distance to the truth is below one half (95 % interval), over the seeds where the ℓ1 "
    "minimizer is not the truth (error above 0.1). Not reproduced if an interval lies above one half." + _FIT,
)
W7 = Claim(
    "W7",
    "Explicit penalties in the place of depth",
    "As explicit penalties on w itself, ‖w‖_p^p and ‖w‖₁/‖w‖₂ find the sparse truth that depth finds, and "
    "with p < 1 or the ratio also where ℓ1 and depth fail.",
    "Own measurement, in the sense of Zhao 2022",
    "Adam on w from the minimum norm solution at one weight and rate for all, the rate falling to zero, then "
    "least squares on the coordinates above 5 % of the largest. "
    "Reproduced if with 40 samples each of p = 1, ⅔, ½ and ‖w‖₁/‖w‖₂ has a median error of at most 0.05, and "
    "with 20 samples, over the seeds where the ℓ1 minimizer is not the truth, the best of p = ⅔, ½ and the "
    "ratio has a median error of at most half that of depth 3. Not reproduced if one of the medians at 40 "
    "is above 0.05, or the best at 20 is above depth 3's." + _FIT,
)
CLAIMS = (W1, W2, W3, W4, W5, W6, W7)

GROUPS: dict[str, frozenset[str]] = {
    "W1": frozenset({"minimum"}),
    "W2": frozenset({"scale"}),
    "W3": frozenset({"scale"}),
    "W4": frozenset({"scale"}),
    "W5": frozenset({"scale"}),
    "W6": frozenset({"few"}),
    "W7": frozenset({"explicit", "few"}),
}
