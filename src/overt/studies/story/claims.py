"""The story's claims, and the rule of each verdict, fixed before anything runs."""

from __future__ import annotations

from overt.studies.base import Claim

S1 = Claim(
    "S1",
    "Depth lowers rank and error",
    "Gradient descent on a deep linear network finds solutions of lower effective rank and lower error than "
    "at depth 1, also where the minimum nuclear norm fails.",
    "Arora et al. 2019",
    "Reproduced if, with 2000 and with 5000 of 10 000 entries of a rank-5 matrix, the error of depth 3 is "
    "at most half that of depth 1 and its effective rank is lower (95 % intervals over seeds), and with "
    "2000 the median error of the minimum nuclear norm is above 0.1 and that of depth 3 below 0.1. Not "
    "reproduced if an interval lies on the other side or a median does.",
)
S2 = Claim(
    "S2",
    "The explicit penalty does the same without depth",
    "The normalized nuclear norm with Adam at depth 1 is at least as accurate as the best depth, at the "
    "true rank.",
    "Zhao 2022",
    "A seed counts if the error is at most 1e-5 and at most that of the best depth of 1–4, and the rank is "
    "exact. Reproduced if at least 90 % of the seeds count with 2000 entries, and 80 % with 1500. Not "
    "reproduced if the Wilson interval of a share lies below its bar.",
)
S3 = Claim(
    "S3",
    "Only element-wise adaptive steps feel the penalty",
    "With the penalty at depth 1, as published, Adam recovers the matrix, gradient descent and momentum do "
    "not.",
    "Zhao 2022",
    "An optimizer works if at its best learning rate two thirds of the seeds end with the exact rank and an "
    "error of at most 1e-5, with no refit before the spectrum has collapsed. Reproduced if Adam works and "
    "gradient descent and momentum do not at any learning rate tried. Not reproduced if Adam does not work, "
    "or one of the two does.",
)
S4 = Claim(
    "S4",
    "A weight in a window, and no small initialization",
    "The explicit route works over at least a decade of weights and whatever the initialization scale; a "
    "deep network depends on a small initialization.",
    "Zhao 2022; Arora et al. 2019",
    "Reproduced if two weights a factor of ten apart have a median error of at most 1e-5, all "
    "initialization scales from 1e-6 to 1 have one at some learning rate of the explicit route, and the "
    "best median error of depth 3 at scale 1 is at least ten times that at its best scale. Not reproduced "
    "if one of the three fails.",
)
S5 = Claim(
    "S5",
    "The nuclear norm does not do it",
    "In the place of the normalized one, the nuclear norm, with the same everything, fails.",
    "Zhao 2022",
    "Reproduced if at the nuclear norm's best weight the final error is at least ten times that of the "
    "normalized nuclear norm (95 % interval of the paired ratio). Not reproduced if the interval lies below "
    "ten.",
)
S6 = Claim(
    "S6",
    "The same story in linear regression",
    "Gradient descent from zero finds the minimum ℓ2 norm, deep diagonal networks from small initialization "
    "find sparse solutions, and ‖w‖₁/‖w‖₂ as a penalty finds them explicitly.",
    "Woodworth et al. 2020; well known for the minimum norm",
    "Reproduced if all seeds of gradient descent end within 1e-6 of the minimum-norm solution, and with "
    "five non-zeros the median errors of depth 2 from its smallest initialization and of the explicit "
    "penalty are at most a tenth of the minimum norm's, while depth 2 from initialization 1 stays above "
    "half of it. Not reproduced if one of these fails.",
)
S7 = Claim(
    "S7",
    "On real input",
    "On a photograph with pixels removed and on MovieLens 100K (u1) the explicit penalty is at least as "
    "good as depth.",
    "Zhao 2022 (MovieLens); own measurement (photograph)",
    "Reproduced if with 30 % of the pixels kept the explicit route's PSNR is at least that of depth 3 less "
    "0.1 dB in the median over masks, and its test RMSE on u1 at most that of depth 3 plus 0.005 and below "
    "the user and item biases'. Not reproduced if one of these fails. A part without data is reported as "
    "skipped.",
)
S8 = Claim(
    "S8",
    "What it costs",
    "The explicit route reaches error 1e-4 no slower than the fastest deep network with 2000 entries, and "
    "with 1500 entries, where no depth gets there, within three times that.",
    "Own measurement",
    "Deep networks are tuned over depth, optimizer and learning rate, in one process with two explicit "
    "routes: the penalty itself trained by Adam, with its refit, and IRLS, the solver that the same "
    "normalized rank drives. Each is timed once, to error 1e-4. In a seed a route is within the limits if "
    "its seconds with 2000 entries are at most those of the fastest deep network and with 1500 at most "
    "three times those. Where no deep network got there it counts with the longest time that one was given, "
    "and a slower explicit route is undecided. Reproduced if the faster route is within the limits in all "
    "seeds, not reproduced if it is outside in all, else inconclusive; the reason names both.",
)
CLAIMS = (S1, S2, S3, S4, S5, S6, S7, S8)

GROUPS: dict[str, frozenset[str]] = {
    "S1": frozenset({"depths"}),
    "S2": frozenset({"depths"}),
    "S3": frozenset({"optimizers", "floored"}),
    "S4": frozenset({"weights", "inits"}),
    "S5": frozenset({"nuclear"}),
    "S6": frozenset({"regression"}),
    "S7": frozenset({"photograph", "movielens"}),
    "S8": frozenset({"cost"}),
}
