"""From a plan to stored runs: skip what is there, make the rest, store each as soon as it is made."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from overt._utils.errors import StoreError
from overt._utils.signals import Interrupted, Interrupts
from overt.studies.base import Study, StudyConfig
from overt.studies.runs.backends import Task, WorkerDied, Workers
from overt.studies.runs.display import Display
from overt.studies.runs.identity import config_hash
from overt.studies.runs.plans import Plan
from overt.studies.runs.store import IF_FULL, Store
from overt.studies.runs.worker import Result, execute, failed

__all__ = ["Counts", "Loop"]


@dataclass
class Counts:
    """How many runs were made now and were there before, and one line for each that failed."""

    made: int = 0
    resumed: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


class Loop:
    """Makes the runs of studies and stores them.

    Parameters
    ----------
    store : Store
        With its lock held.
    workers : Workers
    interrupts : Interrupts
    display : Display
    origin : dict
        What `provenance` says; stored with each run.
    """

    def __init__(
        self,
        store: Store,
        workers: Workers,
        interrupts: Interrupts,
        display: Display,
        origin: Mapping[str, Any],
    ) -> None:
        self.store = store
        self.workers = workers
        self.interrupts = interrupts
        self.display = display
        self.origin = dict(origin)

    def run(
        self,
        study: Study[Any],
        preset: str,
        seed: int,
        overrides: Mapping[str, Any],
        configs: Sequence[StudyConfig],
        command: str,
        claims: Sequence[str] = (),
        sweep: Mapping[str, Sequence[Any]] | None = None,
    ) -> Counts:
        """Store what is missing of a study's plan.

        Raises
        ------
        StoreError
            If a stored run is damaged or a new one cannot be written.
        Interrupted
            On Ctrl-C or SIGTERM, after what was being stored is stored.
        """
        by_hash = {config_hash(study.name, study.version, config): config for config in configs}
        fields = {hash_: config.model_dump(mode="json") for hash_, config in by_hash.items()}
        rules = {claim.id: claim.digest for claim in study.claims}
        tried = {name: list(values) for name, values in (sweep or {}).items()}
        plan = Plan(
            study.name,
            study.version,
            preset,
            seed,
            fields,
            dict(overrides),
            command,
            rules,
            list(claims),
            tried,
        )
        self.store.save_plan(plan)
        pending = {hash_: config for hash_, config in by_hash.items() if not self._finished(study, hash_)}
        counts = Counts(resumed=len(by_hash) - len(pending))
        self.display.begin(study.name, counts.resumed, len(by_hash), self.store.path / "scratch")
        clock = time.perf_counter()
        try:
            with contextlib.closing(self._make(study, pending)) as results:
                for result in results:
                    with self.interrupts.held():
                        self._store(study, pending[result.hash], result, counts)
        except Interrupted as interruption:
            interruption.stored, interruption.planned = counts.resumed + counts.made, len(by_hash)
            raise
        counts.seconds = time.perf_counter() - clock
        return counts

    def _finished(self, study: Study[Any], hash_: str) -> bool:
        if self.store.status(study.name, hash_) != "done":
            return False
        self.store.load(study.name, hash_)  # damage is reported now, not after hours of running
        return True

    def _make(self, study: Study[Any], pending: Mapping[str, StudyConfig]) -> Generator[Result, None, None]:
        tasks = [
            (hash_, config, Store(self.store.path.resolve()).scratch(study.name, hash_))
            for hash_, config in pending.items()
        ]
        together = [task for task in tasks if not task[1].exclusive]
        if self.workers.here:
            yield from self._make_here(study, together)
        elif together:
            yield from self._make_in_workers(study, together)
        # Runs that measure time come last, one at a time, with nothing else running.
        yield from self._make_here(study, [task for task in tasks if task[1].exclusive])

    def _make_here(self, study: Study[Any], tasks: Sequence[Task]) -> Generator[Result, None, None]:
        for hash_, config, directory in tasks:
            self.display.working(study.label(config))
            yield execute(study, config, hash_, directory, self.display.progress)

    def _make_in_workers(self, study: Study[Any], tasks: Sequence[Task]) -> Generator[Result, None, None]:
        left = {task[0]: task for task in tasks}
        deaths = 0  # since a run was last made
        while left:
            alone = deaths > 1
            batch = [next(iter(left.values()))] if alone else list(left.values())
            try:
                for result in self.workers.make(study, batch):
                    deaths = deaths if alone else 0
                    del left[result.hash]
                    yield result
            except WorkerDied:
                deaths += 1
                if alone:
                    # The run at fault is found; the others may be made side by side again.
                    deaths = 0
                    del left[batch[0][0]]
                    yield failed(
                        batch[0][0],
                        "its worker process died with no other run in it, most often for lack of memory",
                    )
                else:
                    again = "once more" if deaths == 1 else "one at a time, to find the one at fault"
                    self.display.note(f"a worker process died; making the runs that it lost {again}")

    def _store(self, study: Study[Any], config: StudyConfig, result: Result, counts: Counts) -> None:
        label = study.label(config)
        status, reason, trace = result.status, result.reason, result.traceback
        if status == "full":
            raise StoreError(f"no space left for the checkpoints of a run ({reason}); {IF_FULL}")
        meta = {
            "status": status,
            **({"reason": reason} if reason else {}),
            "study_version": study.version,
            "started": result.started,
            "seconds": result.seconds,
            "alone": config.exclusive or self.workers.here,
            **self.origin,
        }
        if status != "failed":
            try:
                self.store.save(
                    study.name, study.version, config.model_dump(mode="json"), result.output, meta
                )
                counts.made += 1
            except (TypeError, ValueError) as error:
                status, reason = "failed", f"its output cannot be stored: {error}"
                trace = reason
        if status == "failed":
            counts.failures[result.hash] = reason
            self.store.save_failure(study.name, result.hash, f"{label}\n\n{trace}")
        self.display.finished(label, status, result.seconds)
