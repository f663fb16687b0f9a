"""The parts of the campaign: each undertakes something against a command and looks at what is left."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from commands import (
    SLOWEST,
    Child,
    CompleteWork,
    LossError,
    ReportWork,
    StudyWork,
    Tally,
    Work,
    demand,
    finish,
    finish_with,
    forked,
    fresh,
    new_folder,
    started,
)
from disks import disk
from faults import JumpingClock

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
IMPORT = 2.5  # seconds before a process of its own begins to work


def works(root: Path) -> list[Work]:
    """All studies and ``overt complete``, each run once undisturbed."""
    from short_studies import NAMES

    made: list[Work] = []
    for name in NAMES:
        made.append(StudyWork(name, new_folder(root, f"reference-{name}")))
        print(f"  {made[-1].name}: {made[-1].seconds:.1f} s undisturbed", flush=True)
    for suffix in (".csv", ".parquet"):
        made.append(CompleteWork(suffix, new_folder(root, f"reference{suffix}")))
        print(f"  {made[-1].name}: {made[-1].seconds:.1f} s undisturbed", flush=True)
    return made


def _rounds(made: list[Work], count: int, random_: random.Random) -> Iterator[tuple[Work, int]]:
    """Works in turn, ``overt complete`` every other time, and how many attempts each gets, `count` in all."""
    studies = [work for work in made if isinstance(work, StudyWork)]
    others = [work for work in made if isinstance(work, CompleteWork)]
    random_.shuffle(studies)
    number = 0
    while count > 0:
        pool = others if number % 3 == 2 else studies
        several = min(4, count)
        yield pool[number // 3 % len(pool) if pool is others else (number - number // 3) % len(pool)], several
        count -= several
        number += 1


def _launch(work: Work, folder: Path, tally: Tally, real: bool) -> tuple[Child, float]:
    """A command, and the seconds within which it is to be disturbed."""
    tally.count("own processes" if real else "forked")
    if real:
        return started(work.arguments, folder), work.seconds + IMPORT
    return forked(work.arguments, folder), work.seconds


def _sooner(work: Work, hit: bool) -> None:
    """Disturb a command sooner the next time if it had ended: the machine has less else to do by now."""
    if not hit:
        work.seconds *= 0.8


def kills(made: list[Work], root: Path, count: int, seed: int) -> Tally:
    """Kill -9 at random moments, several times in a row in one folder, and let it finish then."""
    tally, random_ = Tally(), random.Random(seed)
    for number, (work, several) in enumerate(_rounds(made, 4 * count, random_)):
        if tally.counts.get("killed", 0) >= count:
            break
        folder = fresh(work, root, "kills")
        for k in range(several):

            def attempt(work: Work = work, folder: Path = folder, last: bool = k == several - 1) -> None:
                child, within = _launch(work, folder, tally, real=random_.random() < 0.1)
                time.sleep(random_.uniform(0, 0.9 * within))
                child.kill()
                hit = child.wait() == -signal.SIGKILL
                tally.count("killed" if hit else "ended before")
                _sooner(work, hit)
                work.check(folder)
                if last:
                    finish(work.arguments, folder, (0, 1) if isinstance(work, StudyWork) else (0,))
                    work.check(folder, ended=True)
                    tally.count("finished afterwards")

            tally.attempt(f"kill {number}.{k} of {work.name}", attempt)
    return tally


def signals(made: list[Work], root: Path, count: int, seed: int) -> Tally:
    """SIGINT, SIGTERM and SIGHUP at random moments: the exit status, one line, nothing half."""
    tally, random_ = Tally(), random.Random(seed)
    for number, (work, several) in enumerate(_rounds(made, 4 * count, random_)):
        if tally.tried - tally.counts.get("ended before", 0) >= count:
            break
        for k in range(several):
            if k == 0 or isinstance(work, CompleteWork):
                folder = fresh(work, root, "signals")
            signum = SIGNALS[(4 * number + k) % 3]

            def attempt(work: Work = work, folder: Path = folder, signum: int = signum) -> None:
                child, within = _launch(work, folder, tally, real := random_.random() < 0.1)
                # Python's own start is not ours: it may end in Python's words.
                time.sleep(random_.uniform(IMPORT if real else 0.02, 0.9 * within))
                child.kill(signum)
                code, said = child.wait(), child.words()
                demand("Traceback" not in said, said)
                if code == 128 + signum:
                    told = [
                        line for line in said.splitlines() if "stopped by" in line or "interrupted" in line
                    ]
                    demand(
                        len(told) == 1 or (signum == signal.SIGINT and not told), f"{len(told)} lines: {said}"
                    )
                    tally.count("stopped with a line" if told else "stopped before it began")
                elif code == -signum:  # before it catches signals, or after its work
                    tally.count("ended by the system")
                else:
                    demand(code in (0, 1), f"exit status {code} after {signal.Signals(signum).name}: {said}")
                    tally.count("ended before")
                    _sooner(work, False)
                tally.count(signal.Signals(signum).name)
                work.check(folder, interrupted=code == 128 + signum)

            tally.attempt(f"signal {number}.{k} to {work.name}", attempt)
    return tally


# ---- two at once, clocks and workers ---------------------------------------------------------------------


def writers(made: list[Work], root: Path, count: int, seed: int) -> Tally:
    """Two commands at once on one folder or one output."""
    tally, random_ = Tally(), random.Random(seed)
    study = next(work for work in made if work.name == "run arora2019")
    report = ReportWork("arora2019", new_folder(root, "reference-two"))
    completes = [work for work in made if isinstance(work, CompleteWork)]
    pairs: list[tuple[Work, Work]] = [(study, study), (study, report), (report, report), (completes[0],) * 2]
    pairs.append((completes[1], completes[1]))
    for number in range(count):
        one, other = pairs[number % len(pairs)]

        def attempt(one: Work = one, other: Work = other) -> None:
            folder = fresh(other if isinstance(other, ReportWork) else one, root, "two")
            first = forked(one.arguments, folder, said="said-1")
            time.sleep(random_.uniform(0, 0.7 * one.seconds) if random_.random() < 0.7 else 0)
            second = forked(other.arguments, folder, said="said-2")
            codes = first.wait(), second.wait()
            for child, code in zip((first, second), codes, strict=True):
                said = child.words()
                demand("Traceback" not in said, said)
                demand(code in (0, 1, 2), f"exit status {code}: {said}")
                tally.count(f"exit status {code}")
            demand(min(codes) < 2, "neither ran")
            one.check(folder, ended=True)
            other.check(folder, ended=True)

        tally.attempt(f"{one.name} beside {other.name}, {number}", attempt)
    return tally


def clocks(made: list[Work], root: Path, count: int, seed: int) -> Tally:
    """The clock of the day jumps while a command runs."""
    tally = Tally()
    for number in range(count):
        work = made[number % len(made)]

        def attempt(work: Work = work, number: int = number) -> None:
            folder = fresh(work, root, "clocks")
            code = finish_with(work, folder, JumpingClock(seed + number))
            demand(code in (0, 1), f"exit status {code}: {(folder / 'said').read_text()}")
            work.check(folder, ended=True)
            finish(work.arguments, folder, (0, 1))  # with the right time again
            work.check(folder, ended=True)

        tally.attempt(f"clock {number} of {work.name}", attempt)
    return tally


def workers(made: list[Work], root: Path, count: int, seed: int) -> Tally:
    """Worker processes are killed at random while a command runs two side by side."""
    tally, random_ = Tally(), random.Random(seed)
    studies = [work for work in made if isinstance(work, StudyWork)]
    # Workers load all modules themselves: how long that takes here says what is a hang.
    began = time.monotonic()
    started([*studies[0].arguments[:-1], "2"], fresh(studies[0], root, "workers")).wait(10 * SLOWEST)
    undisturbed = time.monotonic() - began
    tally.count("seconds undisturbed", round(undisturbed))
    for number in range(count):
        work = studies[number % len(studies)]

        def attempt(work: Work = work) -> None:
            folder = fresh(work, root, "workers")
            arguments = [*work.arguments[:-1], "2"]
            child = started(arguments, folder)
            time.sleep(IMPORT + random_.uniform(0, 0.7 * undisturbed))
            victims = _children(child.pid)
            if victims:
                victim = random_.choice(victims)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    tally.count("workers killed")
            code, said = child.wait(SLOWEST + 6 * undisturbed), child.words()
            demand("Traceback" not in said, said)
            demand(code in (0, 1), f"exit status {code}: {said}")
            work.check(folder)
            finish(work.arguments, folder, (0, 1))
            work.check(folder, ended=True)

        tally.attempt(f"worker {number} of {work.name}", attempt)
    return tally


def _children(parent: int) -> list[int]:
    """Workers below a process, not those that look after them."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            names[int(path.name)] = (path / "cmdline").read_text()
            parents[int(path.name)] = int(fields[1])
        except (OSError, IndexError):  # it has just ended
            continue
    below = {pid for pid, above in parents.items() if above == parent}
    below |= {pid for pid, above in parents.items() if above in below}
    return sorted(pid for pid in below if "popen_loky" in names[pid])


PARTS = {
    "kills": kills,
    "signals": signals,
    "disk": disk,
    "writers": writers,
    "clocks": clocks,
    "workers": workers,
}
__all__ = ["PARTS", "LossError", "works"]
