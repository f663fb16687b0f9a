"""The study's claims, and the rule of each verdict, fixed before anything runs."""

from __future__ import annotations

from overt.studies.base import Claim

ARORA = "Arora, Cohen, Hu & Luo 2019, arXiv 1905.13655"
_COUNTED = (
    " Runs count where they reached the training loss; with fewer than three such seeds, or fewer than three "
    "quarters of all, the verdict is inconclusive."
)

M1 = Claim(
    "M1",
    "On linear models the measure is the spectrum they are known by",
    "The values of M = E[JᵀJ] are the singular values of the product for a deep linear network (also with a "
    "bottleneck), |ĥ| for deep circular convolutions in one and two dimensions, and the moduli of the "
    "coordinates for a diagonal network: at the start, along training and at its end.",
    "Definition of the measure; for the convolution Gunasekar, Lee, Soudry & Srebro 2018, arXiv 1806.00468, "
    "section 2",
    "Reproduced if at every recorded step of every run the largest deviation is at most 1e-10 of the largest "
    "value, in double precision. Not reproduced if one is larger.",
)
M2 = Claim(
    "M2",
    "P_{2/L} is the representation cost",
    "Σ σ^{2/L} is the least mean squared norm (1/L) Σ ‖W_j‖² of weights that compute the same map with L "
    "layers; gradient descent from balanced layers stays at that least norm.",
    "Dai, Karzand & Srebro 2021, Representation costs of linear neural networks; balancedness: Arora, Cohen "
    "& Hazan 2018, arXiv 1802.06509, theorem 1",
    "Ratio of the trained layers' mean squared norm to P_{2/L} of the measure. Reproduced if it is at least "
    "1 − 1e-8 at every recorded step and at most 1.01 at the end of every run. Not reproduced if it is below "
    "1 − 1e-8 once, or in one setting the median at the end is above 1.05.",
)
M3 = Claim(
    "M3",
    "Training lowers the effective rank",
    "Gradient descent on images takes the effective rank of M below that of the untrained network.",
    f"Own measurement, in the sense of {ARORA}, section 3 (linear networks)",
    "Reference setting. Reproduced if the 95 % interval of the paired ratio end / start lies below 1. Not "
    "reproduced if it lies above 1." + _COUNTED,
)
M4 = Claim(
    "M4",
    "Depth lowers the effective rank",
    "At the same training loss, deeper networks have the lower effective rank, as deep linear networks do.",
    f"{ARORA}, theorem 3 and section 3 (linear networks), carried over to ReLU networks",
    "Deepest against shallowest, all else as in the reference. Reproduced if the 95 % interval of the paired "
    "ratio lies below 1. Not reproduced if it lies above 1. Networks without ReLU are given as a control."
    + _COUNTED,
)
M5 = Claim(
    "M5",
    "A small initialization lowers the effective rank",
    "At the same training loss, networks that start smaller have the lower effective rank, as deep linear "
    "networks do.",
    f"{ARORA}, section 3; Li, Luo & Lyu 2021, arXiv 2012.09839 (linear networks), carried over to ReLU "
    "networks",
    "Smallest against largest scale, all else as in the reference. Reproduced if the 95 % interval of the "
    "paired ratio lies below 1. Not reproduced if it lies above 1. Networks without ReLU are given as a "
    "control." + _COUNTED,
)
M6 = Claim(
    "M6",
    "Width, learning rate and batch size do not matter",
    "Gradient flow of a linear network from balanced layers depends on the product alone, so that width, "
    "learning rate and batch size leave the effective rank as it is; so they do for ReLU networks.",
    f"{ARORA}, theorem 3 (linear networks, gradient flow), carried over to ReLU networks",
    "Largest against smallest value of each, at the same training loss. Reproduced if all three 95 % "
    "intervals of the paired ratio lie between 0.9 and 1/0.9. Not reproduced if one lies outside of that "
    "range." + _COUNTED,
)
M7 = Claim(
    "M7",
    "Convolutional networks align with the Fourier basis of images",
    "On real images a_Fourier is higher for convolutional than for fully connected networks of as many "
    "parameters and layers, trained to the same loss.",
    "Own measurement; for linear full-width convolutions Gunasekar et al. 2018, arXiv 1806.00468, theorem 2",
    "Circular padding, held-out images. Reproduced if the 95 % interval of the paired difference conv − fc "
    "lies above 0. Not reproduced if it lies below 0." + _COUNTED,
)
M8 = Claim(
    "M8",
    "Only where the data is sparse in Fourier",
    "With pixels permuted, which makes the power spectrum flat, convolutional networks lose that advantage.",
    "Own measurement",
    "Reproduced if the advantage conv − fc is above 0 on real images, below 0.02 on permuted ones, and "
    "larger on real than on permuted ones (95 % intervals of paired differences). Not reproduced if the "
    "interval lies above 0.02 on permuted images, or below 0 on real ones, or that of their difference lies "
    "below 0." + _COUNTED,
)
M9 = Claim(
    "M9",
    "The power spectrum is enough",
    "With phases scrambled, which keeps the power spectrum and removes the edges, convolutional networks "
    "keep the advantage.",
    "Own measurement",
    "Reproduced if the 95 % interval of the paired difference conv − fc on images with scrambled phases lies "
    "above 0. Not reproduced if it lies below 0." + _COUNTED,
)
M10 = Claim(
    "M10",
    "The alignment is learned",
    "On real images training raises a_Fourier of a convolutional network over that of the same network "
    "untrained.",
    "Own measurement",
    "Reproduced if the 95 % interval of the paired difference trained − untrained lies above 0. Not "
    "reproduced if it lies below 0." + _COUNTED,
)
M11 = Claim(
    "M11",
    "The padding does not decide",
    "The difference on real images has the same sign with zero padding, with which a convolution is no "
    "longer diagonal in the Fourier basis.",
    "Own measurement",
    "Reproduced if the 95 % intervals of conv − fc lie on the same side of 0 with both paddings. Not "
    "reproduced if they lie on different sides." + _COUNTED,
)
M12 = Claim(
    "M12",
    "The alignment is not a matter of rank",
    "a_Fourier of any M grows with its rank: for M turned at random it is about Σσ/√(D Σσ²). Corrected for "
    "that chance level, (a_Fourier − a_random) / (1 − a_random), convolutional networks are still ahead on "
    "real images.",
    "Own measurement; added when the quick preset had shown a_Fourier to grow with the width of fully "
    "connected networks, and before the full preset. The chance level was first that of a random real basis; "
    "it became that of a random rotation since Fourier's values come in pairs",
    "The rule of M7, for the corrected alignment with one random rotation for each seed. "
    "Reproduced if the 95 % interval of the paired difference conv − fc lies above 0. Not reproduced if it "
    "lies below 0." + _COUNTED,
)
M13 = Claim(
    "M13",
    "Only where the data is sparse in Fourier, corrected for rank",
    "With pixels permuted, convolutional networks lose the advantage in corrected alignment.",
    "Own measurement; added together with M12",
    "The rule of M8, for the corrected alignment of M12: reproduced if the advantage conv − fc is above 0 on "
    "real images, below 0.02 on permuted ones, and larger on real than on permuted ones. Not reproduced if "
    "the interval lies above 0.02 on permuted images, or below 0 on real ones, or that of their difference "
    "lies below 0." + _COUNTED,
)
CLAIMS = (M1, M2, M3, M4, M5, M6, M7, M8, M9, M10, M11, M12, M13)

GROUPS: dict[str, str] = {
    **dict.fromkeys(("M1", "M2"), "collapse"),
    **dict.fromkeys(("M3", "M4", "M5", "M6"), "dynamics"),
    **dict.fromkeys(("M7", "M8", "M9", "M10", "M11", "M12", "M13"), "alignment"),
}
