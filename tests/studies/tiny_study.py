"""A study that takes no time, for the runner's tests; children import it through PYTHONPATH."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overt.studies import Claim, Estimate, Run, RunContext, RunOutput, Skip, Study, StudyConfig, Verdict
from overt.studies.report.figures import Figure, Table


class TinyConfig(StudyConfig):
    """One draw of random numbers; ``trouble`` makes the run go wrong in a given way."""

    size: int = 3
    sleep: float = 0.0
    trouble: str = ""


class Tiny(Study[TinyConfig]):
    """The mean of uniform numbers is near one half."""

    name = "tiny"
    title = "Means of uniform numbers"
    config_type = TinyConfig
    claims = (
        Claim("T1", "mean σ≈½", "The mean is near one half.", "none (2026)", "within 0.5 of one half"),
        Claim("T2", "timing", "It takes no time.", "none (2026)", "under a minute"),
    )

    def plan(self, preset: str, seed: int) -> list[TinyConfig]:
        count = {"quick": 5, "full": 12}[preset]
        runs = [TinyConfig(seed=seed + k, size=3 + k % 2) for k in range(count)]
        return [*runs, TinyConfig(seed=seed, exclusive=True)]

    def execute(self, config: TinyConfig, context: RunContext) -> RunOutput:
        context.progress(f"drawing {config.size} numbers")
        trouble(config, context)
        time.sleep(config.sleep)
        values = np.random.default_rng(config.seed).random(config.size)
        records = [{"mean": float(values.mean()), "worst": float("inf"), "text": "σ"}]
        return RunOutput(records, {"values": values})

    def judge(self, runs: Sequence[Run]) -> list[Verdict]:
        means = [record["mean"] for run in runs for record in run.records]
        if not means:
            return [Verdict(claim.id, "skipped", runs[0].reason) for claim in self.claims]
        near = all(abs(mean - 0.5) <= 0.5 for mean in means)
        estimate = Estimate("mean", float(np.mean(means)), None, None, len(means))
        timed = [run for run in runs if run.config["exclusive"]]
        return [
            Verdict("T1", "reproduced" if near else "not reproduced", "means are near ½", (estimate,)),
            Verdict("T2", "reproduced" if timed else "inconclusive", f"{len(timed)} timed runs"),
        ]

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        rows = [(run.hash, float(run.arrays["values"].sum())) for run in runs if not run.skipped]
        return [Figure("sums", "Sums", "One row per run.", table=Table(("run", "sum"), rows))]

    def concerns(self, config: Mapping[str, Any], claim: str) -> bool:
        return claim == "T1" or bool(config["exclusive"])


def trouble(config: TinyConfig, context: RunContext) -> None:
    """Go wrong as the configuration says."""
    checkpoint = context.directory / "checkpoint"
    if config.trouble == "skip":
        raise Skip("the data is out of reach")
    if config.trouble == "fail" and config.seed == 1:
        raise FloatingPointError("all is NaN")
    if config.trouble == "die" and config.seed == 1 and not checkpoint.exists():
        checkpoint.write_text("died once")
        os._exit(9)
    if config.trouble == "die always" and config.seed == 1:
        os._exit(9)
    if config.trouble == "resume":
        with Path(os.environ["TINY_LOG"]).open("a") as log:
            log.write(f"{config.seed} {checkpoint.exists()}\n")
        checkpoint.write_text("half-way")
        time.sleep(0.8 if config.seed == 1 else 0)
    if config.trouble == "full":
        raise OSError(28, "No space left on device")


class Second(Tiny):
    """Another one, for commands that run several."""

    name = "second"


class Undrawable(Tiny):
    """The same study with a figure that fails."""

    def figures(self, runs: Sequence[Run]) -> list[Figure]:
        raise ValueError("no Series")


def altered(**members: Any) -> Tiny:
    """The same study with some methods or attributes replaced."""
    return type("Altered", (Tiny,), members)()


study = Tiny()
second = Second()
undrawable = Undrawable()
