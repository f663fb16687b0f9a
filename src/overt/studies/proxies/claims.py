"""The claims of the part on explicit penalties, and the rule of each verdict, fixed before anything runs."""

from __future__ import annotations

from overt.studies.base import Claim

_TUNED = (
    "Every proxy gets the same number of settings (learning rate × weight), chosen on pilot seeds that are "
    "judged nowhere. "
)

_FIT = (
    " Inconclusive where more than a tenth of the trainings of a proxy that is compared end above a relative "
    "loss of 1e-2: they were stopped. (Added after a full run.)"
)

P1 = Claim(
    "P1",
    "Normalizing the nuclear norm matters",
    "Under Adam the nuclear norm over the Frobenius norm recovers what the nuclear norm itself does not.",
    "Own question; Zhao (2022) for the normalized nuclear norm",
    _TUNED + "Reproduced if the error of the normalized form is at most half of that of the plain one "
    "(upper end of the 95 % interval of the paired ratio at most 0.5). Not reproduced if the lower end is "
    "above 0.5." + _FIT,
)
P2 = Claim(
    "P2",
    "Normalizing the others matters, too",
    "The same holds for Schatten ½ and ⅔, log-det and the truncated nuclear norm.",
    "Own question",
    _TUNED + "As for P1, pair by pair. Reproduced if it holds for at least three of the four pairs. Not "
    "reproduced if for at least two of them the lower end is above 0.5." + _FIT,
)
P3 = Claim(
    "P3",
    "Pick the normalized nuclear norm",
    "Under Adam no proxy that is not told the rank is clearly more accurate than the normalized nuclear "
    "norm.",
    "Own question",
    _TUNED + "Reproduced if no other proxy that does not know the rank has an error of at most half of its "
    "(no paired ratio's interval reaches down to 0.5), and its own median error is at most 0.1. Not "
    "reproduced if one has (an interval's upper end is at most 0.5), or its own median error is above 0.1."
    + _FIT,
)
P4 = Claim(
    "P4",
    "Every proxy needs Adam's kind of step",
    "Steps that adapt entry by entry make several proxies work; steps that follow the gradient, or "
    "normalize it as a whole matrix, make none work.",
    "Own question; Zhao (2022) for the normalized nuclear norm",
    _TUNED
    + "A proxy works under an optimizer if the 95 % interval of its median error lies at or below 0.05, does "
    "not if it lies above, and is undecided else, or where more than a tenth of its trainings end above a "
    "relative loss of 1e-2. Reproduced if under Adam at least three proxies work that do not know the rank, "
    "and none of them works or is undecided under gradient descent and Muon. Not reproduced if fewer than "
    "three work or are undecided under Adam, or one works under gradient descent or Muon. (Until a full run "
    "was reviewed the medians alone decided.)",
)
P5 = Claim(
    "P5",
    "It is robust to the weight",
    "The normalized nuclear norm works over at least a decade of weights, and over no fewer than the others.",
    "Own question",
    "Under Adam at the chosen learning rate, for each seed the decades between the smallest and the largest "
    "weight of an unbroken row of weights with an error of at most 0.1. Reproduced if the median window is "
    "at least one decade and no proxy that does not know the rank has one that is wider by more than half a "
    "decade (lower ends of the paired differences at least −0.5). Not reproduced if the window is below one "
    "decade or an upper end is below −0.5." + _FIT,
)
P6 = Claim(
    "P6",
    "It needs no small initialization",
    "The normalized nuclear norm under Adam works whatever the scale of the initialization between 1e-6 and "
    "1.",
    "Own question",
    "At the chosen setting, for each seed the share of the initialization scales tried with an error of at "
    "most 0.1. Reproduced if the median share and its lower end are 1. Not reproduced if the upper end is "
    "below 1." + _FIT,
)
P7 = Claim(
    "P7",
    "It costs no more steps",
    "The normalized nuclear norm under Adam reaches an error of 0.1 within twice the steps of the fastest "
    "proxy that does not know the rank.",
    "Own question",
    _TUNED + "Reproduced if the ratio of steps, seed by seed, has its upper end at most 2. Not reproduced "
    "if the lower end is above 2. A run that never gets there counts as one that takes a thousand times the "
    "budget.",
)
CLAIMS = (P1, P2, P3, P4, P5, P6, P7)
