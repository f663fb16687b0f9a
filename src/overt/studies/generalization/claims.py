"""The claims G1–G11, with the numbers of their rules, fixed before the runs.

The smallest gains that count are of the order of what ten seeds can tell apart. The penalties that stand for
their kind (p = 2, the classical one, and p = 1 in the eigenbasis, the package's default) were named before
the runs, so that no choice among thirteen variants enters.
"""

from __future__ import annotations

from overt.studies.base import Claim

__all__ = ["CLAIMS", "FEWEST", "GROUPS", "SMALLEST"]

FEWEST = 5  # seeds, below which no verdict is given
SMALLEST = {
    "accuracy": 0.005,
    "cross_entropy": 0.02,
    "scaled_cross_entropy": 0.01,
    "corrupted_accuracy": 0.01,
    "kept": 0.01,
}
REGRET = 0.05  # nats of validation cross-entropy that a weight kept from elsewhere may cost
DEAREST = 3.0  # times a plain step

_SHARED = (
    " Differences are paired by seed, means with bootstrap intervals, at 97.5 % where two penalties stand "
    "for the claim; below five seeds there is no verdict."
)


def _all_beaten(rivals: str, measure: str, smallest: str, stand: str) -> str:
    return (
        f"Reproduced if on both networks one of {stand} is better in {measure} than each of {rivals}: every "
        f"interval of the gain is above 0 and reaches {smallest}. Not reproduced if on some network the gain "
        f"of each of them over one rival is below {smallest} by its interval's upper end." + _SHARED
    )


_TWO = "the two Jacobian penalties (p = 2; p = 1, eigen)"

CLAIMS = (
    Claim(
        "G1",
        "Accuracy",
        "With few training images a Jacobian penalty gives a higher test accuracy than no penalty, weight "
        "decay and dropout at the same tuning budget.",
        "Varga, Csiszárik & Zombori (2017), Gradient regularization improves accuracy of discriminative "
        "models, abstract; the squared norm is that of Sokolić et al. (2017) and Hoffman et al. (2019)",
        _all_beaten("nothing, weight decay, dropout", "test accuracy", "0.5 points", _TWO),
    ),
    Claim(
        "G2",
        "Likelihood",
        "A Jacobian penalty gives a lower test cross-entropy than no penalty, weight decay and dropout, "
        "settings being chosen by validation cross-entropy.",
        "Overt, a probe with 500 images and three seeds",
        _all_beaten("nothing, weight decay, dropout", "test cross-entropy", "0.02 nats", _TWO),
    ),
    Claim(
        "G3",
        "More than a temperature",
        "The gain in likelihood is more than what one temperature, fitted on validation, or early stopping "
        "gives to any network.",
        "Guo, Pleiss, Sun & Weinberger (2017), On calibration of modern neural networks, section 4.2",
        _all_beaten(
            "nothing, early stopping, weight decay, dropout",
            "test cross-entropy after a temperature is fitted for all",
            "0.01 nats",
            _TWO,
        ),
    ),
    Claim(
        "G4",
        "Explicit against implicit",
        "An explicit penalty gives a higher test accuracy than linear over-parameterization, whose penalty "
        "is implicit.",
        "Huh, Mobahi, Zhang, Cheung, Agrawal & Isola (2021), The low-rank simplicity bias in deep "
        "networks: over-parameterized layers improve classification; that the explicit penalty does more "
        "is Overt's",
        _all_beaten(
            "over-parameterization by two and by three factors",
            "test accuracy",
            "0.5 points",
            "the normalized nuclear norm of the weights and the Jacobian penalty with p = 1 (eigen)",
        ),
    ),
    Claim(
        "G5",
        "Sparse against Frobenius",
        "Somewhere a sparse Jacobian penalty (p = 1 or 2/3, three bases, normalized or not) is better than "
        "the squared Frobenius norm, p = 2.",
        "Overt, P_p,U(M) with p < 2; the baseline is Hoffman, Roberts & Yaida (2019), eq. 3",
        "All sparse penalties × networks × (accuracy, cross-entropy) are compared with p = 2 by one-sided "
        "paired t-tests, corrected together (Holm 1979) to 5 %. Reproduced if one of them is better, by "
        "0.5 points or 0.02 nats in the mean. Not reproduced if none is and, for each network and measure, "
        "the mean gain over the sparse penalties is below these by its interval's upper end. Five seeds or "
        "more.",
    ),
    Claim(
        "G6",
        "Fourier for convolutional networks",
        "For a convolutional network the Fourier basis is the right one: the penalty with p < 2 gives a "
        "higher accuracy in it than in the eigenbasis and in the pixels' own.",
        "Gunasekar, Lee, Soudry & Srebro (2018), Implicit bias of gradient descent on linear convolutional "
        "networks, Theorem 2 (of linear ones)",
        "Reproduced if on the convolutional network at p = 1 or at p = 2/3 the Fourier basis is better in "
        "test accuracy than both others: each interval of the gain is above 0 and reaches 0.5 points. Not "
        "reproduced if at both the gain over one of the others is below 0.5 points by its interval's upper "
        "end." + _SHARED,
    ),
    Claim(
        "G7",
        "No tuning across scales",
        "The weight of the normalized penalty that is best for one network, size and unit serves for "
        "others; that of the penalty which is not normalized does not (p = 1, eigen).",
        "Overt, scale invariance of the normalized nuclear norm",
        "The weight with the least validation cross-entropy in the mean, fully connected, at the main "
        "size, is used everywhere else: other network, other sizes, pixels in other units. Its regret is "
        "its validation cross-entropy minus that of the best of the four there (in other units: the best "
        "in the usual ones). Reproduced if the regret of the normalized penalty is at most 0.05 nats by "
        "its interval's upper end and that of the other is larger, the interval of the difference being "
        "above 0. Not reproduced if the former is above 0.05 by its lower end or the difference below 0 by "
        "its upper end. Five seeds or more.",
    ),
    Claim(
        "G8",
        "Robustness",
        "A Jacobian penalty keeps more accuracy under noise, blur, loss of contrast and shifts than no "
        "penalty, weight decay and dropout.",
        "Hoffman, Roberts & Yaida (2019), Robust learning with Jacobian regularization, abstract (of noise)",
        _all_beaten(
            "nothing, weight decay, dropout", "mean accuracy over eight corruptions", "1 point", _TWO
        ),
    ),
    Claim(
        "G9",
        "Compressibility",
        "A spectral penalty on the weights leaves a network that keeps more of its accuracy when its "
        "layers are truncated to a low rank.",
        "Common practice in low-rank compression; the share kept is the mean over ranks 1, 2, 4, 8, 16, 32",
        _all_beaten(
            "nothing and weight decay",
            "the share of accuracy kept",
            "1 point",
            "the nuclear norm and the normalized nuclear norm of the weights",
        ),
    ),
    Claim(
        "G10",
        "The fewer images, the larger the gain",
        "The gain in accuracy of the Jacobian penalty (p = 2) over nothing is larger with the fewest "
        "images than with the most.",
        "Varga, Csiszárik & Zombori (2017), abstract: the more so where the training data are few",
        "Reproduced if on both networks the difference of the two gains is above 0 by its interval's lower "
        "end. Not reproduced if on some network it is below 0.5 points by its upper end. Five seeds or "
        "more.",
    ),
    Claim(
        "G11",
        "Cost",
        "A step with a Jacobian penalty on the whole batch costs at most three times a plain step.",
        "Overt's own target: one vector–Jacobian product, differentiated once more",
        "Reproduced if for both networks the dearest Jacobian penalty takes at most 3 times as long as a "
        "step of AdamW (medians, all methods in turn in one process, alone on the machine); not reproduced "
        "if more than 3.3 times.",
    ),
)

GROUPS: dict[str, tuple[str, ...]] = {claim.id: ("main",) for claim in CLAIMS} | {
    "G7": ("main", "sizes", "units"),
    "G10": ("sizes",),
    "G11": ("cost",),
}
