"""Every method at one number of training images: accuracy, likelihood, robustness and compressibility."""

from __future__ import annotations

from typing import Literal

from overt.studies.base import Claim, RunContext, RunOutput
from overt.studies.claims.comparisons import Difference
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import FunctionRule, Rule, below
from overt.studies.generalization.methods import METHODS
from overt.studies.generalization.settings import CAPTION, SMALL, SMALL_NETWORKS, WORDS, TunedConfig
from overt.studies.generalization.sparse import sparse_is_better
from overt.studies.part import Grid, Part
from overt.studies.paths import Curve, Paths
from overt.studies.plots import Dots, Heat, Panel

CLASSICAL, DEFAULT = "jacobian 2", "jacobian 1 eigen"
"""The published penalty, of which a paper's claims speak, and the package's."""
USUAL = ("nothing", "weight_decay", "dropout")
NETWORKS = ("mlp", "cnn")
DRAWN = ("nothing", "weight_decay", "nuclear_norm", "normalized_nuclear_norm", CLASSICAL, DEFAULT)
ALL = tuple(name for name in METHODS if name != "composition")  # of which no claim speaks
FEW = (*USUAL, "early_stopping", "normalized_nuclear_norm", "overparameterized 2", CLASSICAL, DEFAULT)


class CompareConfig(TunedConfig):
    """One method on one network."""

    part: Literal["compare"] = "compare"


def beats(
    ours: str | tuple[str, ...],
    rivals: tuple[str | tuple[str, ...], ...],
    field: str,
    label: str,
    by: float,
    networks: tuple[str, ...] = NETWORKS,
) -> Rule:
    """On each network ours is better than each rival by more than ``by``; small is good.

    Where each side names several methods, its better one is taken.
    """
    return Rule(
        *(
            below(
                Difference(
                    field,
                    f"{label} ({WORDS[network]}), less that of {_said(rival)}",
                    {"network": network},
                    tuned=("method",),
                    of_={"method": ours},
                    over={"method": rival},
                ),
                -by,
            )
            for network in networks
            for rival in rivals
        )
    )


def _said(rival: str | tuple[str, ...]) -> str:
    return WORDS[rival] if isinstance(rival, str) else " or ".join(WORDS[one] for one in rival)


def over_methods(id_: str, title: str, field: str, label: str, claim: str) -> Dots:
    """A row for each method, a panel for each network."""
    return Dots(
        id_,
        title,
        tuple(Panel(Median(field, label, {"network": one}), WORDS[one]) for one in NETWORKS),
        claim=claim,
        caption=CAPTION,
        words=WORDS,
        rows=("method",),
    )


def _fourier(basis: str) -> tuple[str, ...]:
    return tuple(f"jacobian {power} {basis}" for power in ("1", "2/3"))


class Compare(Part[CompareConfig]):
    """Do explicit penalties generalize better than the usual regularizers, at an equal tuning budget?"""

    config = CompareConfig
    grids = {
        "quick": Grid(6, network=SMALL_NETWORKS, method=FEW, **SMALL),
        "full": Grid(10, network=("cnn", "mlp"), method=ALL),
    }
    claims = (
        Claim(
            "G1",
            "A Jacobian penalty gains half a point of accuracy over the usual regularizers",
            "With few training images the squared norm of the Jacobian as a penalty gives a higher test "
            "accuracy than no penalty, weight decay and dropout, by half a point, on both networks.",
            "Varga, Csiszárik & Zombori (2017), Gradient regularization improves accuracy of discriminative "
            "models, abstract; the squared norm is that of Sokolić et al. (2017) and Hoffman et al. (2019)",
            beats(CLASSICAL, USUAL, "error", "test error", 0.005),
        ),
        Claim(
            "G2",
            "A Jacobian penalty gains 0.02 nats of likelihood over the usual regularizers",
            "The Jacobian penalty with p = 1 in the eigenbasis gives a lower test cross-entropy than no "
            "penalty, weight decay and dropout, settings being chosen by validation cross-entropy.",
            "Own hypothesis, from a probe with 500 images and three seeds",
            beats(DEFAULT, USUAL, "cross_entropy", "test cross-entropy", 0.02),
            kind="own",
        ),
        Claim(
            "G3",
            "A Jacobian penalty's likelihood is more than a temperature gives",
            "The gain in likelihood of p = 1 in the eigenbasis is more than what one temperature, fitted on "
            "validation for all, or early stopping gives to any network, by 0.01 nats.",
            "Own hypothesis; the temperature is that of Guo, Pleiss, Sun & Weinberger (2017), On calibration "
            "of modern neural networks, section 4.2",
            beats(
                DEFAULT,
                (*USUAL, "early_stopping"),
                "scaled_cross_entropy",
                "test cross-entropy at the fitted temperature",
                0.01,
            ),
            kind="own",
        ),
        Claim(
            "G4",
            "An explicit penalty gains half a point of accuracy over linear over-parameterization",
            "The normalized nuclear norm of the weights gives a higher test accuracy than "
            "over-parameterization by two and by three factors, whose penalty is implicit.",
            "Own hypothesis; that over-parameterized layers improve classification is of Huh, Mobahi, Zhang, "
            "Cheung, Agrawal & Isola (2021), The low-rank simplicity bias in deep networks",
            beats(
                "normalized_nuclear_norm",
                ("overparameterized 2", "overparameterized 3"),
                "error",
                "test error",
                0.005,
            ),
            kind="own",
        ),
        Claim(
            "G5",
            "Somewhere a sparse Jacobian penalty is better than the squared Frobenius norm",
            "A penalty with p = 1 or 2/3, in one of three bases, normalized or not, is better than p = 2 in "
            "accuracy by half a point, or in cross-entropy by 0.02 nats, on one of the networks.",
            "Own hypothesis, P_p,U(M) with p < 2; the baseline is Hoffman, Roberts & Yaida (2019), eq. 3",
            FunctionRule(
                sparse_is_better,
                "All sparse penalties × networks × (accuracy, cross-entropy) are compared with p = 2 by "
                "one-sided paired t-tests, corrected together (Holm 1979) to 5 %. It holds if one of them is "
                "better, by 0.5 points or 0.02 nats in the mean. It fails if none is and, for each network "
                "and measure, the mean gain over the sparse penalties is below these with its whole "
                "interval.",
            ),
            kind="own",
        ),
        Claim(
            "G6",
            "For a convolutional network the Fourier basis gains half a point of accuracy",
            "On a convolutional network the Jacobian penalty with p < 2 gives a higher accuracy in the "
            "Fourier basis than in the eigenbasis and in the pixels' own, each at the better of p = 1 and "
            "2/3.",
            "Own hypothesis, from Gunasekar, Lee, Soudry & Srebro (2018), Implicit bias of gradient descent "
            "on linear convolutional networks, Theorem 2 (of linear ones)",
            beats(
                _fourier("fourier"),
                (_fourier("eigen"), _fourier("identity")),
                "error",
                "test error",
                0.005,
                ("cnn",),
            ),
            kind="own",
        ),
        Claim(
            "G8",
            "A Jacobian penalty keeps a point more of accuracy under corruption",
            "The squared norm of the Jacobian as a penalty keeps more accuracy under noise, blur, loss of "
            "contrast and shifts than no penalty, weight decay and dropout, by one point in the mean.",
            "Hoffman, Roberts & Yaida (2019), Robust learning with Jacobian regularization, abstract (of "
            "noise)",
            beats(CLASSICAL, USUAL, "corrupted_error", "mean error over eight corruptions", 0.01),
        ),
        Claim(
            "G9",
            "The nuclear norm of the weights leaves a network that compresses better",
            "With the nuclear norm of the weights as a penalty a network keeps a larger share of its "
            "accuracy, by one point, when its layers are truncated to ranks 1, 2, 4, 8, 16 and 32, than with "
            "nothing and with weight decay.",
            "Own hypothesis, from common practice in low-rank compression",
            beats(
                "nuclear_norm",
                ("nothing", "weight_decay"),
                "lost",
                "share of accuracy lost by truncation",
                0.01,
            ),
            kind="own",
        ),
    )
    figures = (
        over_methods("accuracy", "Test error of every method", "error", "test error", "G1"),
        over_methods(
            "likelihood", "Test cross-entropy of every method", "cross_entropy", "test cross-entropy", "G2"
        ),
        over_methods(
            "temperature",
            "Test cross-entropy after a temperature is fitted",
            "scaled_cross_entropy",
            "test cross-entropy at the fitted temperature",
            "G3",
        ),
        over_methods("corruption", "Error under corruption", "corrupted_error", "mean test error", "G8"),
        Paths(
            "truncation",
            "Accuracy kept by truncated networks",
            tuple(Curve("kept", WORDS[one], {"network": one, "method": DRAWN}) for one in NETWORKS),
            x="rank",
            by="method",
            x_label="rank of every layer",
            claim="G9",
            caption="Share of its own accuracy that a network keeps with every layer truncated; products of "
            "linear layers are multiplied out before.",
            words=WORDS,
        ),
        Heat(
            "properties",
            "What the networks are like",
            (
                Panel(Median("calibration_error", "calibration error")),
                Panel(Median("jacobian_norm", "norm of the Jacobian, √tr M"), log=True),
                Panel(Median("effective_rank_eigen", "effective rank of M"), log=True),
                Panel(Median("effective_rank_fourier", "effective rank of M, Fourier"), log=True),
                Panel(Median("effective_rank_weights", "effective rank of hidden weights"), log=True),
            ),
            caption="Of the setting chosen by accuracy (calibration: by likelihood), before any temperature. "
            "M is E[JᵀJ] over 128 validation images.",
            words=WORDS,
            row="method",
            col="network",
        ),
    )

    def execute(self, config: CompareConfig, context: RunContext) -> RunOutput:
        """Tune, test, and say what the network is like."""
        from overt.studies.generalization.training import run

        return run(config, context)
