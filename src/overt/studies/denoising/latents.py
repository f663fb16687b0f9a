"""Does a penalty on one linear layer leave as few latent directions as several linear layers without one?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from overt.studies.base import Claim, Run, RunContext, RunOutput, StudyConfig
from overt.studies.claims.comparisons import Ratio
from overt.studies.claims.quantities import Median
from overt.studies.claims.verdict_rules import Rule, below, between
from overt.studies.claims.vocabulary import FELT
from overt.studies.denoising.settings import LEAST_STEPS
from overt.studies.part import Grid, Part
from overt.studies.plots import Dots, Panel

if TYPE_CHECKING:
    from torch import Tensor, nn

LR, BATCH = 1e-3, 64
# Two values of each method's knob: a learning rate, linear layers between encoder and decoder, or a weight.
SETTINGS: dict[str, tuple[float, float]] = {
    "plain": (LR, LR / 3),
    "weight 0": (LR, LR / 3),
    "implicit": (2, 4),
    "explicit": (1e-2, 1e-1),
}
NEGLIGIBLE = 0.01  # of the largest singular value of the latents
TIE = 1.25
WORDS = {
    "plain": "no linear layer",
    "weight 0": "one linear layer, weight 0",
    "implicit": "two or four linear layers",
    "explicit": "one linear layer, ‖W‖_*/‖W‖_F",
}


class LatentsConfig(StudyConfig):
    """One autoencoder of points that few numbers determine; each setting of its method is trained.

    Attributes
    ----------
    method : {"plain", "weight 0", "implicit", "explicit"}
        No linear layer between encoder and decoder, one, several, or one with the penalty.
    dim, intrinsic, latent, width : int
        Of the points, of what determines them, of the code, and of the hidden layers.
    n_train, n_validation, n_test, max_steps : int
    """

    part: Literal["latents"] = "latents"
    method: Literal["plain", "weight 0", "implicit", "explicit"] = "plain"
    dim: int = Field(default=64, ge=2)
    intrinsic: int = Field(default=6, ge=1)
    latent: int = Field(default=32, ge=1)
    width: int = Field(default=128, ge=1)
    n_train: int = Field(default=2000, ge=10)
    n_validation: int = Field(default=500, ge=10)
    n_test: int = Field(default=1000, ge=10)
    max_steps: int = Field(default=2000, ge=1)


def _ratio(field: str, label: str, ours: str, theirs: str) -> Ratio:
    return Ratio(
        field,
        f"{label}, {WORDS[ours]} / {WORDS[theirs]}",
        least=1e-6,
        of_={"method": ours},
        over={"method": theirs},
    )


class Latents(Part[LatentsConfig]):
    """Does a penalty on one linear layer leave as few latent directions as several layers without one?"""

    config = LatentsConfig
    grids: ClassVar[Any] = {
        "quick": Grid(6, method=tuple(SETTINGS), n_train=500, n_test=300, width=48, max_steps=150),
        "full": Grid(10, method=tuple(SETTINGS)),
    }
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            "DN6",
            "Extra linear layers lower the effective dimension of a code",
            "With linear layers between encoder and decoder, an autoencoder learns by itself a code of low "
            "effective dimension: its effective rank is at most nine tenths of that without these layers.",
            "Jing, Zbontar & LeCun 2020, Implicit rank-minimizing autoencoder, abstract; points and sizes "
            "are ours",
            Rule(
                below(
                    _ratio("effective_rank", "effective rank of the code", "implicit", "plain"),
                    FELT,
                    refuted=1.0,
                )
            ),
        ),
        Claim(
            "DN7",
            "Explicit and implicit codes tie",
            "One linear layer with ‖W‖_*/‖W‖_F leaves as many directions in the code as several linear "
            "layers without a penalty, and as much error, each within a quarter.",
            "Own hypothesis, from a prototype in which neither was ahead",
            Rule(
                between(_ratio("rank", "directions of the code", "explicit", "implicit"), 1 / TIE, TIE),
                between(_ratio("error", "test error", "explicit", "implicit"), 1 / TIE, TIE),
            ),
            kind="own",
        ),
    )
    figures: ClassVar[tuple[Any, ...]] = (
        Dots(
            "latents",
            "Directions in the code of an autoencoder",
            (
                Panel(Median("rank", "directions above 1 % of the largest")),
                Panel(Median("effective_rank", "effective rank of the code")),
                Panel(Median("error", "relative test error"), log=True),
            ),
            claim="DN7",
            caption="Of two settings the one with the fewest directions whose validation error is within a "
            "quarter of the better one. Six numbers determine the points.",
            words=WORDS,
            rows=("method",),
        ),
    )

    def execute(self, config: LatentsConfig, context: RunContext) -> RunOutput:
        """Train each setting, and choose by validation points."""
        trials = []
        for setting in SETTINGS[config.method]:
            context.progress(f"{config.method}, setting {setting:g}")
            trials.append({"setting": setting, **trained(config, setting)})
        known = [row for row in trials if math.isfinite(row["validation_error"])]
        if not known:
            return RunOutput([{"status": "diverged", "rank": None, "effective_rank": None, "error": None}])
        most = TIE * min(row["validation_error"] for row in known)
        chosen = min((row for row in known if row["validation_error"] <= most), key=lambda row: row["rank"])
        return RunOutput([{**chosen, "status": "trained", "trials": known}])

    def ended(self, run: Run) -> bool:
        """Whether training was long enough to say where it ends."""
        return bool(run.config["max_steps"] >= LEAST_STEPS)


def points(config: LatentsConfig) -> Tensor:
    """A smooth image of Gaussian vectors of a few numbers, of mean zero and mean square one."""
    import torch

    from overt._utils.seeds import seeded

    g, k = seeded(config.seed), config.intrinsic
    first, second = (
        torch.randn(k, 64, generator=g) / math.sqrt(k),
        torch.randn(64, config.dim, generator=g) / 8,
    )
    count = config.n_train + config.n_validation + config.n_test
    x = torch.tanh(torch.tanh(torch.randn(count, k, generator=g) @ first) @ second)
    x = x - x[: config.n_train].mean(0)
    return x / x[: config.n_train].square().mean().sqrt()


def autoencoder(config: LatentsConfig, layers: int) -> tuple[nn.Module, nn.Sequential, nn.Module]:
    """Encoder, linear layers of the code, and decoder."""
    from torch import nn

    from overt.studies.shared.redrawn import redrawn

    encoder = nn.Sequential(
        nn.Linear(config.dim, config.width), nn.ReLU(), nn.Linear(config.width, config.latent)
    )
    decoder = nn.Sequential(
        nn.Linear(config.latent, config.width), nn.ReLU(), nn.Linear(config.width, config.dim)
    )
    inner = nn.Sequential(*(nn.Linear(config.latent, config.latent, bias=False) for _ in range(layers)))
    redrawn(nn.ModuleList([encoder, decoder, inner]), config.seed)
    return encoder, inner, decoder


def trained(config: LatentsConfig, setting: float) -> dict[str, float]:
    """What one setting ends at: errors relative to the points' own size, and the rank of the code."""
    import torch

    from overt import functional as F
    from overt._utils.seeds import seeded
    from overt.penalties import SpectralPenalty
    from overt.training import make_optimizer

    x = points(config)
    train, validation, test = torch.split(x, [config.n_train, config.n_validation, config.n_test])
    layers = {"plain": 0, "weight 0": 1, "explicit": 1}.get(config.method, int(setting))
    lr = setting if config.method in ("plain", "weight 0") else LR
    encoder, inner, decoder = autoencoder(config, layers)
    whole = torch.nn.Sequential(encoder, inner, decoder)
    penalty = None
    if config.method == "explicit":
        penalty = SpectralPenalty(inner, "normalized_nuclear_norm", weight=setting)
    optimizer, generator = make_optimizer("adam", whole.parameters(), lr=lr), seeded(config.seed)
    for step in range(config.max_steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 + math.cos(math.pi * step / config.max_steps)) / 2
        batch = train[torch.randint(len(train), (BATCH,), generator=generator)]
        loss = (whole(batch) - batch).square().mean()
        if penalty is not None:
            loss = loss + penalty.penalty()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    with torch.no_grad():
        code = inner(encoder(train)).double()
        errors = [float((whole(part) - part).square().mean()) for part in (validation, test)]
        if not all(map(math.isfinite, errors)):
            return {"validation_error": math.inf, "error": math.inf, "rank": math.inf}
        s = F.singular_values(code - code.mean(0))
    return {
        "validation_error": errors[0],
        "error": errors[1],
        "rank": int((s > NEGLIGIBLE * s[0]).sum()),
        "effective_rank": float(F.effective_rank(singular_values=s)),
    }
