"""The claims about measures of generalization, and the rule of each verdict, fixed before anything runs."""

from __future__ import annotations

from overt.studies.base import Claim

OURS = "cost_1_eigen_margin"
RIVALS = ("spectral_product_margin", "frobenius_product_margin", "parameters")
NORMS = ("spectral_product_margin", "frobenius_product_margin", "path_norm_margin", "distance")
MIN_EFFECTIVE = 12  # effective number of pairs that an environment needs, as in Dziugaite et al.
MIN_ENVIRONMENTS = 7  # fewer say little of a worst case: there are seven hyperparameters

_ZOO = (
    "The zoo holds fully connected and convolutional networks, trained to the same cross-entropy on the same "
    "images; those that do not reach it are left out and counted. The gap is training minus test accuracy. "
)
_PSI = _ZOO + "Compared by the granulated coefficient Ψ, with paired 95 % bootstrap intervals over networks. "

P1 = Claim(
    "P1",
    "The nuclear norm of the Jacobian's second moment ranks better than norms of weights and their number",
    "P₁(M) in the eigenbasis over the margin ranks the generalization gap better than the products of "
    "spectral and of Frobenius norms over the margin, and than the number of parameters.",
    "Own claim; rivals as in Jiang et al. 2020 (arXiv 1912.02178), measures 31, 36 and 20",
    _PSI
    + "Reproduced if the interval of the difference of Ψ lies above 0 against all three. Not reproduced if "
    "it lies below 0 against one.",
)
P2 = Claim(
    "P2",
    "It tells more than the hyperparameters do",
    "P₁(M) in the eigenbasis over the margin has a higher conditional mutual information with the gap, given "
    "any two hyperparameters, than the same three rivals.",
    "Own claim; the conditional independence test of Jiang et al. 2020",
    _ZOO
    + "Compared by K, the smallest normalized information over sets of at most two hyperparameters, with "
    "paired 95 % bootstrap intervals over networks; an order that is upside down tells as much. Reproduced "
    "if the interval of the difference lies above 0 against all three rivals. Not reproduced if it lies "
    "below 0 against one.",
)
P3 = Claim(
    "P3",
    "Normalization helps",
    "Σσ/(Σσ²)^½ ranks the gap better than Σσ, in every basis.",
    "Own claim, from the advantage of the normalized nuclear norm in matrix completion (Zhao 2022)",
    _PSI + "In the eigen, Fourier and identity bases; neither is divided by the margin. Reproduced if the "
    "interval of the difference of Ψ (normalized − plain) lies above 0 in two bases or more and below 0 in "
    "none. Not reproduced if it lies below 0 in two or more and above 0 in none.",
)
P4 = Claim(
    "P4",
    "For convolutional networks the Fourier basis is the one",
    "Among convolutional networks P₁ in the Fourier basis over the margin ranks the gap better than in the "
    "eigen and the identity basis.",
    "Own conjecture, from linear convolutional networks (Gunasekar et al. 2018, Theorem 2)",
    _PSI
    + "Convolutional networks alone. Reproduced if the interval of the difference of Ψ lies above 0 against "
    "both other bases. Not reproduced if it lies below 0 against one.",
)
P5 = Claim(
    "P5",
    "Sparse forms rank better than the Frobenius norm of the Jacobian",
    "p = 1 in the eigenbasis ranks the gap better than p = 2, both over the margin.",
    "Own claim; p = 2 is the sensitivity of Novak et al. 2018",
    _PSI
    + "Reproduced if the interval of the difference of Ψ lies above 0, not reproduced if below. The exponent "
    "2/L of the network's depth L is reported beside it.",
)
P6 = Claim(
    "P6",
    "Flatness ranks better than norms",
    "One over the noise on the weights that raises the training error to a tenth ranks the gap better than "
    "products of norms, path norm and distance from initialization.",
    "Jiang et al. 2020 (arXiv 1912.02178): measures of sharpness rank best of some forty",
    _PSI
    + "Against the products of spectral and Frobenius norms and the path norm, each over the margin, and "
    "the distance. Reproduced if the interval of the difference of Ψ lies above 0 against all four. Not "
    "reproduced if it lies below 0 against one.",
)
P7 = Claim(
    "P7",
    "Products of norms rank the wrong way",
    "The products of spectral and of Frobenius norms are larger where the gap is smaller.",
    "Jiang et al. 2020 (arXiv 1912.02178): many norm-based measures correlate negatively with the gap",
    _ZOO
    + "Reproduced if the 95 % bootstrap interval of Ψ lies below 0 for both products. Not reproduced if it "
    "lies above 0 for one.",
)
P8 = Claim(
    "P8",
    "No measure is robust",
    "Each measure has an environment, one change of one hyperparameter, in which it orders two networks no "
    "better than a coin.",
    "Dziugaite et al. 2020 (arXiv 2010.11924): no measure has a robust sign error below one half",
    _ZOO
    + "An environment is a change of one hyperparameter within a family, all others being equal; pairs weigh "
    "by how sure the order of their gaps is, and an environment needs an effective number of 12 pairs. "
    "Intervals of the sign error hold for all environments together (Bonferroni, normal, bootstrap "
    "deviations). Reproduced if every measure has an environment whose interval does not reach below one "
    "half. Not reproduced if one measure has intervals below one half in all. Inconclusive with fewer than 7 "
    "environments.",
)
CLAIMS = (P1, P2, P3, P4, P5, P6, P7, P8)
