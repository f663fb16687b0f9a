"""The claims of the inverse question, and the rule of each verdict, fixed before anything runs.

The ratio of a functional is the share of its gradient in the null space of the measurements over that of
random solutions of the same data and rank: 0 is stationary, 1 is chance. See ``overt.infer_penalty``.
"""

from __future__ import annotations

from overt.studies.base import Claim

STATIONARY = 0.1  # a ratio up to it is nearly stationary
TINY, SMALL, LARGE = 1e-6, 1e-3, 0.3  # the initialization scales that claims compare

_FIT = (
    " Inconclusive where more than a tenth of the networks of a setting end above a relative loss of 1e-4, "
    "at which the instrument warns; fewer are left out. (Added after a full run.)"
)

I1 = Claim(
    "I1",
    "Depth 1 from a small start minimizes the Frobenius norm",
    "Gradient descent on a single matrix from near zero ends where the Frobenius norm, and no other Schatten "
    "norm, is stationary among the solutions that fit.",
    "Well known for the minimum norm solution; a check of the instrument",
    "Reproduced if in all seeds p = 2 has the lowest ratio of the Schatten family and the 95 % interval of "
    "its median ratio lies below 0.1. Not reproduced if that interval lies above 0.1 or p = 2 is best in "
    "less than half of the seeds." + _FIT,
)
I2 = Claim(
    "I2",
    "Depth 2 from a small start minimizes the nuclear norm",
    "Gradient descent on two factors from near zero ends where the nuclear norm is stationary.",
    "Gunasekar et al. 2017, the conjecture, for full-dimensional factorization",
    "At scale 1e-6, for the conjecture is of the limit, and depth 2. Reproduced if the 95 % interval of the "
    "median ratio at p = 1 lies below 0.1. Not reproduced if it lies above 0.1." + _FIT,
)
I3 = Claim(
    "I3",
    "Depth lowers the exponent",
    "The best Schatten exponent falls from depth 1 to 2 and from depth 2 to 4.",
    "Arora et al. 2019, §3.1, discuss Schatten quasi-norms of exponent 2/N and argue that none is minimized",
    "Gradient descent, scale 1e-3. Reproduced if the 95 % intervals of both paired differences over the "
    "seeds lie below 0. Not reproduced if one lies above 0, or both are 0 throughout." + _FIT,
)
I4 = Claim(
    "I4",
    "From depth 3 on no norm is minimized",
    "What networks of depth 3 and 4 find is not stationary for any Schatten norm or quasi-norm.",
    "Razin & Cohen 2020, Theorem 1 (another problem: all norms go to infinity); Arora et al. 2019, §3.1",
    "The lowest ratio of the Schatten family at depths 3 and 4, gradient descent, scale 1e-3. Reproduced if "
    "at both depths the 95 % interval of its median lies above 0.1. Not reproduced if at one it lies below "
    "0.1." + _FIT,
)
I5 = Claim(
    "I5",
    "A scale-invariant functional is nearer to it than any norm",
    "At depth 3 the best of the effective rank, the stable rank and S_p/S_q has a lower ratio than the "
    "best norm.",
    "Razin & Cohen 2020, who propose to look at rank rather than norms; own measurement",
    "Gradient descent, scale 1e-3. Reproduced if the 95 % interval of the paired quotient of the two lowest "
    "ratios lies below 1. Not reproduced if it lies above 1." + _FIT,
)
I6 = Claim(
    "I6",
    "A large start undoes it",
    "From a start as large as the data the solution of depth 2 is nearly stationary for nothing.",
    "Woodworth et al. 2020 for the role of the scale; own measurement",
    "The lowest ratio of all functionals at depth 2, gradient descent, scale 0.3 over that of scale 1e-3. "
    "Reproduced if the 95 % interval of the paired quotient lies above 2. Not reproduced if it lies below 2."
    + _FIT,
)
I7 = Claim(
    "I7",
    "Adam's bias is another one",
    "At depth 2, from the same start, the solution that Adam finds is farther from the nuclear norm than "
    "that of gradient descent.",
    "Own measurement",
    "Scale 1e-3; the paired quotient (Adam over gradient descent) of the ratios at p = 1. Reproduced if its "
    "95 % interval lies above 1. Not reproduced if it lies below 1." + _FIT,
)
CLAIMS = (I1, I2, I3, I4, I5, I6, I7)
