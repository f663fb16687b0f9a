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

from overt._utils.checks import check_integer, optional
from overt._utils.errors import OvertError, UsageError
from overt._utils.signals import shielded_children
from overt.studies.base import Study, StudyConfig
from overt.studies.runs.worker import Result, execute_in_worker, failed

__all__ = ["MOST_JOBS", "WorkerDied", "Workers", "check_backend", "check_jobs"]

MOST_JOBS = 1024
Task = tuple[str, StudyConfig, Path]
_UNSUITABLE = {"threading", "multiprocessing", "sequential"}


def check_jobs(jobs: int | None) -> int:
    """Return how many runs to make side by side, 1 to `MOST_JOBS`; None stands for one per core.

    Raises
    ------
    TypeError
        If it is no whole number.
    ValueError
        If it is out of range.
    """
    return optional(check_integer, jobs, "jobs", least=1, most=MOST_JOBS) or int(joblib.cpu_count())


def check_backend(backend: str, address: str | None) -> None:
    """Refuse a backend that is not there; Ray's is registered with joblib where Ray is installed.

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
        raise UsageError(f"address is only for backend 'dask', got backend {backend!r}")
    if backend == "ray" and backend not in BACKENDS:
        try:
            importlib.import_module("ray.util.joblib").register_ray()
        except ImportError as error:
            raise UsageError(f"backend 'ray' needs Ray ({error}): pip install ray") from error
        return
    usable = sorted((set(BACKENDS) - _UNSUITABLE) | {"dask", "ray"})
    if backend not in usable:
        raise UsageError(f"unknown backend {backend!r}; there are: {', '.join(usable)}")


class WorkerDied(OvertError):  # noqa: N818
    """A worker process died."""


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
        OvertError
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
        with joblib.parallel_config(backend=self.backend) as chosen:
            if not chosen["backend"].supports_return_generator:
                yield from _make_in_chunks(calls, self._n_jobs(len(calls)))
                return
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
                raise OvertError(f"the worker processes cannot load study {study.name!r}: {cause}") from error
            finally:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # joblib's note that it cancels what is left
                    results.close()
                if self.backend == "loky":
                    _end_workers()


def _make_in_chunks(calls: Sequence[Any], n_jobs: int) -> Iterator[Result]:
    """Make as many runs at a time as there are jobs.

    Joblib's backend for multiprocessing, and Ray's, which is built on it, return no result before all runs
    that they were given are made. In chunks, the earlier runs are stored meanwhile.
    """
    with contextlib.ExitStack() as pool:
        with shielded_children():
            parallel = pool.enter_context(joblib.Parallel(n_jobs=n_jobs, batch_size=1))
        for start in range(0, len(calls), n_jobs):
            yield from parallel(calls[start : start + n_jobs])


@contextlib.contextmanager
def _cluster(jobs: int, address: str | None) -> Iterator[Any]:
    """A client of the Dask scheduler at an address, or of a cluster of processes started here."""
    distributed = importlib.import_module("distributed")  # an optional dependency

    if address is not None:
        try:
            client = distributed.Client(address, timeout="10s")
        except (OSError, ValueError) as error:
            raise OvertError(f"cannot reach the Dask scheduler at {address}: {error}") from error
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

    The cluster is used directly, not through joblib's backend for Dask: where a run kills its workers, that
    backend raises no error and the command waits for ever (joblib 1.6). Dask itself gives the runs of a dead
    worker to another worker, and gives up on them after a few deaths. Some of them may only have waited
    beside the run that is at fault, so each is then made alone: one that kills its workers again has failed.
    """
    suspects = []
    for task, result in _submit(client, study, tasks):
        if result is None:
            suspects.append(task)
        else:
            yield result
    for suspect in suspects:
        for task, result in _submit(client, study, [suspect]):
            yield result or failed(task[0], "each worker that made it died, most often for lack of memory")


def _submit(client: Any, study: Study[Any], tasks: Sequence[Task]) -> Iterator[tuple[Task, Result | None]]:
    """Yield each run with its result when it is there, or with None where Dask gave up on it."""
    distributed = importlib.import_module("distributed")
    futures = {
        client.submit(execute_in_worker, study, task[1], task[0], task[2], os.getpid(), pure=False): task
        for task in tasks
    }
    try:
        for future in distributed.as_completed(list(futures)):
            try:
                yield futures[future], future.result()
            except distributed.KilledWorker:
                yield futures[future], None
            except (ImportError, AttributeError) as error:
                raise OvertError(f"the workers cannot load study {study.name!r}: {error}") from error
            future.release()
    finally:
        client.cancel(list(futures))


def _end_workers() -> None:
    """End idle workers: they would take a share of the machine from the runs that measure time."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)
