"""The claims of Zhao (2022), and the rule of each verdict, fixed before anything runs."""

from __future__ import annotations

from overt.studies.base import Claim

_FEELS = (
    "At each learning rate an optimizer is run with and without the penalty on the same seeds. It feels the "
    "penalty if its error with the penalty, at the best rate, is at most half of that without, at its own "
    "best rate: the upper end of the 95 % interval of the paired ratio is at most 0.5; it does not if the "
    "lower end is above 0.5. "
)

_TRAINED = (
    " Inconclusive where a method that is compared has at none of its settings fitted the data in nine of "
    "ten runs (relative loss at most 1e-4 without a penalty, 1e-2 with one). (Added after a full run.)"
)

Z1 = Claim(
    "Z1",
    "Adam feels the penalty, gradient descent does not",
    "The penalty ‖W‖⁎/‖W‖F lowers the error of a one-layer network under Adam; under gradient descent and "
    "momentum it has no such effect.",
    "Zhao (2022), abstract",
    _FEELS
    + "Reproduced if Adam feels it and neither gradient descent nor momentum does. Not reproduced if Adam "
    "does not, or one of the two feels it." + _TRAINED,
)
Z2 = Claim(
    "Z2",
    "So do the other adaptive optimizers",
    "What Adam does with the penalty its relatives do as well: AMSGrad, AdamW, NAdam, RAdam, Adamax, "
    "RMSprop, Adagrad, Adadelta.",
    "Zhao (2022), the optimizers of its experiments",
    _FEELS
    + "Reproduced if at least six of the eight feel it. Not reproduced if at least three do not."
    + _TRAINED,
)
Z3 = Claim(
    "Z3",
    "Curvature is no substitute",
    "L-BFGS, which adapts to the curvature and not entry by entry, does not make the penalty work.",
    "Zhao (2022), the optimizers of its experiments",
    _FEELS
    + "Reproduced if L-BFGS, with as many evaluations of the gradient as the others, does not feel it. Not "
    "reproduced if it does." + _TRAINED,
)
Z4 = Claim(
    "Z4",
    "The penalty makes depth unnecessary",
    "With the penalty and Adam a one-layer network is as accurate as a deep linear network.",
    "Zhao (2022), abstract",
    "At n = 100 (quick: the like at n = 30), with some two observations for each degree of freedom (rank 5 "
    "with 2000 entries and rank 10 with 4000). Reproduced if at both ranks the error of depth 1 with the "
    "penalty is at most twice that of depth 3 without (upper end of the paired ratio's interval) and the "
    "median error is at most 0.05. Not reproduced if at one of the ranks the lower end is above two or the "
    "median error above 0.05." + _TRAINED,
)
Z5 = Claim(
    "Z5",
    "It needs fewer observations",
    "Where entries are scarce the one-layer network with the penalty is more accurate than depth 3 and than "
    "the minimum nuclear norm.",
    "Zhao (2022), abstract",
    "At n = 100 (quick: the like at n = 30), with some one and a half observations for each degree of "
    "freedom (rank 5 with 1500 entries and rank 10 with 3000). Reproduced if at both ranks the error of "
    "depth 1 with the penalty is at most half of that of depth 3 and of the minimum nuclear norm (upper "
    "ends of the paired ratios' intervals). Not reproduced if one of the four ratios has its lower end "
    "above a half." + _TRAINED,
)
Z6 = Claim(
    "Z6",
    "None of the other penalties is better",
    "Among the eight penalties of the paper under Adam, none is clearly better than ‖W‖⁎/‖W‖F.",
    "Zhao (2022), the penalties of its experiments",
    "Each penalty at the weight where its median error is smallest, all with the same number of weights. "
    "Reproduced if for each of the seven others the error relative to that of ‖W‖⁎/‖W‖F, seed by seed, is "
    "above one half (lower end of the interval above 0.5). Not reproduced if for one of them the upper end "
    "is at most 0.5." + _TRAINED,
)
Z7 = Claim(
    "Z7",
    "Nonlinear layers are not needed either",
    "A one-layer network with the penalty is at least as accurate as three layers with ReLU between them.",
    "Zhao (2022), the nonlinear networks of its experiments",
    "Reproduced if the error of depth 1 with the penalty is at most that of depth 3 with ReLU, whichever of "
    "with and without the penalty has the smaller median error (upper end of the paired ratio's interval at "
    "most 1). Not reproduced if the lower end is above 1." + _TRAINED,
)
_MOVIELENS = (
    "A tenth of the training ratings chooses the step and the setting. Reproduced if the median over the "
    "splits of the test RMSE of the two penalized factors less that of depth 3 without a penalty is at most "
    "0.005 and the penalized factors are below the user and item biases. Not reproduced if the difference's "
    "lower end is above 0.005, or the median RMSE is not below that of the biases. Reported beside it, and "
    "no part of the rule: the same factors without the penalty, which say what the penalty adds, and the "
    "full matrix (depth 1), run on one split. (Until a full run was reviewed the claim spoke of a network "
    "without depth; the rule is unchanged.)"
)
Z8 = Claim(
    "Z8",
    "MovieLens 100K, published splits",
    "On the published splits u1–u5 two factors of inner width 100 with the penalty keep up with depth 3.",
    "After Zhao (2022), MovieLens 100K; two factors in the place of one layer, and the published splits, "
    "are ours",
    "Splits u1 to u5 alone. " + _MOVIELENS,
)
Z9 = Claim(
    "Z9",
    "MovieLens 100K, random splits",
    "On random splits into 80 % and 20 % of the ratings two factors of inner width 100 with the penalty keep "
    "up with depth 3.",
    "After Zhao (2022), MovieLens 100K with random splits into 80 % and 20 %; two factors in the place of "
    "one layer are ours",
    "Random splits alone. " + _MOVIELENS,
)
CLAIMS = (Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9)

GROUPS: dict[str, frozenset[str]] = {
    "Z1": frozenset({"optimizers"}),
    "Z2": frozenset({"optimizers"}),
    "Z3": frozenset({"optimizers"}),
    "Z4": frozenset({"depths"}),
    "Z5": frozenset({"depths"}),
    "Z6": frozenset({"penalties"}),
    "Z7": frozenset({"relu"}),
    "Z8": frozenset({"movielens"}),
    "Z9": frozenset({"movielens"}),
}
