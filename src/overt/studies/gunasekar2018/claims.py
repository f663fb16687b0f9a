"""The study's claims, and the rule of each verdict, fixed before anything runs."""

from __future__ import annotations

from overt.studies.base import Claim

PAPER = "Gunasekar, Lee, Soudry & Srebro 2018, arXiv 1806.00468"
SETTING = "8 Gaussian samples of length 20 with random labels, exponential loss. "

_ENDED = (
    " Inconclusive where more than a tenth of the networks of a setting end below a margin of 30; fewer "
    "count as the worst possible. (Added after a full run.)"
)

G1 = Claim(
    "G1",
    "Fully connected networks find the ℓ2 margin",
    "On separable data gradient descent on a linear fully connected network of any depth converges in "
    "direction to the hard-margin support vector machine.",
    f"{PAPER}, theorem 1",
    SETTING + "Reproduced if at depths 2 and 3 the median angle to the ℓ2 maximum margin solution is at most "
    "5 degrees and ‖w‖₂ over the margin at most 1 % above its minimum. Not reproduced if a 95 % interval of "
    "an angle lies above 5 degrees." + _ENDED,
)
G2 = Claim(
    "G2",
    "Convolution of depth 2 finds the Fourier ℓ1 margin",
    "On separable data gradient descent on a full-width linear convolutional network of depth 2 converges in "
    "direction to the solution of minimum ‖ŵ‖₁ (Fourier domain) of margin one.",
    f"{PAPER}, theorem 2 with L = 2, where the stationary point is the minimum",
    SETTING + "Coordinates that the solution does not use fall only as a power of the margin M, so that the "
    "excess of ‖ŵ‖₁ per margin over its minimum falls as slowly as 1/log M. Reproduced if the 95 % interval "
    "of the excess over that of the ℓ2 solution lies below one half, and that of the excess at the end over "
    "the excess at margin 30 below one. Not reproduced if one of the intervals lies above." + _ENDED,
)
G3 = Claim(
    "G3",
    "The exponent is 2/L",
    "With depth L the limit is a first-order stationary point of the bridge penalty ℓp, p = 2/L, in the "
    "Fourier domain; for fully connected networks it is that of ℓ2 at every depth.",
    f"{PAPER}, theorems 1 and 2",
    SETTING + "The measured exponent is the p for which the trained direction is closest to stationary (the "
    "conditions of Karush, Kuhn and Tucker, multipliers by non-negative least squares). Reproduced if the "
    "95 % intervals of its median lie within 0.25 of 1 at depth 2, of ⅔ at depth 3, and of 2 for both fully "
    "connected depths, and the residual of the conditions at p = 2/L is at most 0.1 in the median for both "
    "convolutional depths. Not reproduced if an interval lies outside or a residual's interval above. (The "
    "tolerance is some 2/log M at the margins reached.)" + _ENDED,
)
G4 = Claim(
    "G4",
    "Regression: Fourier ℓ1 against ℓ2",
    "On under-determined regression from small initialization convolutional networks of depth 2 and 3 come "
    "to the minimum of ‖ŵ‖₁, not of the quasi-norm ℓp, p = 2/L, that separable data would give, and "
    "fully connected networks to the minimum ‖w‖₂.",
    "Yun, Krishnan & Mobahi 2021, arXiv 2010.02501 (underdetermined regression); the architecture of "
    + PAPER,
    "32 unknowns, 16 samples, two active frequencies, scale 1e-6. Reproduced if the fully connected network "
    "is within 5 % of the minimum norm solution and both convolutional depths have ‖ŵ‖₁ at most 5 % above "
    "its minimum (medians), while the minimum norm solution is more than 15 % above it. Not reproduced if a "
    "95 % interval lies above its bar. Inconclusive where more than a tenth of the networks of a setting end "
    "above a relative loss of 1e-6. (The last was added after a full run.)",
)
G5 = Claim(
    "G5",
    "An explicit Fourier penalty in the place of depth",
    "Σ |ŵ|ᵖ as an explicit penalty on w itself does what the convolutional architecture does implicitly.",
    "Own measurement, in the sense of Zhao 2022",
    "Adam on w from the ℓ2 solution, squared hinge loss for classification. Reproduced if with p = 1 the "
    "median excess of ‖ŵ‖₁ over its minimum is at most 5 % for classification and for regression, and with "
    "p = ⅔ ‖ŵ‖⅔ per margin is at most 5 % above that of the depth-3 network (95 % interval of the paired "
    "ratio). Not reproduced if an interval lies above its bar. Inconclusive where more than a tenth of the "
    "networks end below a margin of 30, or of the regressions above a relative loss of 0.0025. (The last was "
    "added after a full run.)",
)
CLAIMS = (G1, G2, G3, G4, G5)

GROUPS: dict[str, frozenset[str]] = {
    "G1": frozenset({"classify"}),
    "G2": frozenset({"classify"}),
    "G3": frozenset({"classify"}),
    "G4": frozenset({"regress"}),
    "G5": frozenset({"explicit", "explicit_regress", "classify"}),
}
