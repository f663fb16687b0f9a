"""Where runs are made side by side: worker processes here, a Dask cluster, or any joblib backend."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import BACKENDS

from overt.studies.base import Study, StudyConfig
from overt.studies.errors import StudyError, UsageError
from overt.studies.interrupts import shielded_children
from overt.studies.worker import Result, execute_in_worker

__all__ = ["WorkerDied", "Workers", "check_backend", "check_jobs"]

Task = tuple[str, StudyConfig, Path]
_UNSUITABLE = {"threading", "multiprocessing", "sequential"}


def check_jobs(jobs: int | None) -> int:
    """Return how many runs to make side by side; None stands for one a core.

    Raises
    ------
    UsageError
        If it is not a whole number from 1 to 1024.
    """
    if jobs is None:
        return int(joblib.cpu_count())
    if isinstance(jobs, bool) or not isinstance(jobs, int) or not 1 <= jobs <= 1024:
        raise UsageError(f"jobs must be a whole number from 1 to 1024; got {jobs!r}")
    return jobs


def check_backend(backend: str, address: str | None) -> None:
    """Refuse a backend that is not there.

    Raises
    ------
    UsageError
        If it is unknown or not installed, or ``address`` is given for another one than Dask.
    """
    if backend == "dask":
        try:
            importlib.import_module("distributed")
        except ImportError as error:
            raise UsageError(
                f"backend 'dask' needs Dask ({error}): pip install 'dask[distributed]'"
            ) from error
        return
    if address is not None:
        raise UsageError(f"an address is for backend 'dask'; got backend {backend!r}")
    usable = sorted((set(BACKENDS) - _UNSUITABLE) | {"dask"})
    if backend not in usable:
        raise UsageError(f"unknown backend {backend!r}; there are: {', '.join(usable)}")


class WorkerDied(StudyError):  # noqa: N818
    """A worker process ended by itself."""


@dataclass(frozen=True)
class Workers:
    """What makes runs side by side.

    Attributes
    ----------
    jobs : int
    backend : str
    address : str or None
        Of a Dask scheduler.
    """

    jobs: int
    backend: str = "loky"
    address: str | None = None

    @property
    def here(self) -> bool:
        """Whether one run at a time in this very process does it."""
        return self.backend == "loky" and self.jobs == 1

    def _n_jobs(self, tasks: int) -> int:
        # joblib makes a single job in this very process, where a run that crashes would end the command.
        return max(2, min(self.jobs, tasks)) if self.backend == "loky" else self.jobs

    def make(self, study: Study[Any], tasks: Sequence[Task]) -> Iterator[Result]:
        """Make runs in workers and yield each result when it is there.

        Raises
        ------
        WorkerDied
            If a worker process is killed.
        StudyError
            If workers cannot load the study, or a cluster cannot be reached.
        """
        if self.backend == "dask":
            with _cluster(self.jobs, self.address) as client:
                yield from _make_on_cluster(client, study, tasks)
        else:
            yield from self._make_by_joblib(study, tasks)

    def _make_by_joblib(self, study: Study[Any], tasks: Sequence[Task]) -> Iterator[Result]:
        calls = [
            joblib.delayed(execute_in_worker)(study, config, hash_, directory, os.getpid())
            for hash_, config, directory in tasks
        ]
        with joblib.parallel_config(backend=self.backend):
            parallel = joblib.Parallel(
                n_jobs=self._n_jobs(len(calls)),
                return_as="generator_unordered",
                batch_size=1,  # a batch would be lost whole
            )
            with shielded_children():
                results = parallel(calls)
            try:
                for result in results:  # noqa: UP028  ("yield from" closes them before "finally" is reached)
                    yield result
            except TerminatedWorkerError as error:
                raise WorkerDied(
                    "a worker process died, most often for lack of memory; "
                    "run the same command again with fewer --jobs"
                ) from error
            except BrokenProcessPool as error:
                cause = str(error.__cause__ or error).strip().splitlines()[-1]
                raise StudyError(f"the worker processes cannot load study {study.name!r}: {cause}") from error
            finally:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # joblib's note that it cancels what is left
                    results.close()
                if self.backend == "loky":
                    _end_workers()


@contextlib.contextmanager
def _cluster(jobs: int, address: str | None) -> Iterator[Any]:
    """A client of the Dask scheduler at an address, or of a cluster of processes started here."""
    distributed = importlib.import_module("distributed")  # an optional dependency

    if address is not None:
        try:
            client = distributed.Client(address, timeout="10s")
        except (OSError, ValueError) as error:
            raise StudyError(f"cannot reach the Dask scheduler at {address}: {error}") from error
        with client:
            yield client
        return
    with (
        distributed.LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _make_on_cluster(client: Any, study: Study[Any], tasks: Sequence[Task]) -> Iterator[Result]:
    """Hand the runs to a cluster one by one.

    joblib's backend for Dask reports a run that killed its workers to nobody, so that the command would
    wait for ever (joblib 1.6); hence the cluster is addressed directly. Dask gives the run of a killed
    worker to another worker, and gives up after a few.
    """
    distributed = importlib.import_module("distributed")
    futures = [
        client.submit(
            execute_in_worker, study, config, hash_, directory, os.getpid(),
            key=f"{study.name}-{hash_}", pure=False,
        )
        for hash_, config, directory in tasks
    ]  # fmt: skip
    try:
        for future in distributed.as_completed(futures):
            try:
                yield future.result()
            except distributed.KilledWorker as error:
                raise StudyError(
                    f"run {future.key} killed each worker that made it, most often for lack of memory"
                ) from error
            except (ImportError, AttributeError) as error:
                raise StudyError(f"the workers cannot load study {study.name!r}: {error}") from error
            future.release()
    finally:
        client.cancel(futures)


def _end_workers() -> None:
    """Idle workers would still take a share of the machine from the runs that measure time."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)
