"""A change put into a process that has imported everything: functions get the code that it makes."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType


def replaced(file: str, before: str, after: str) -> bool:
    """Give the functions of a file their changed code; whether all that differs was found and could be."""
    old, new = (
        compile(before, file, "exec", dont_inherit=True),
        compile(after, file, "exec", dont_inherit=True),
    )
    wanted: dict[CodeType, CodeType] = {}
    for was, now in _functions(old, new):
        if _bare(was) != _bare(now):
            wanted[_bare(was)] = now
    done: set[CodeType] = set()
    gc.unfreeze()  # what pytest's collection has put aside
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename.endswith(file):
            code = _bare(thing.__code__)
            if code in wanted:
                if len(thing.__code__.co_freevars) != len(wanted[code].co_freevars):
                    return False
                thing.__code__ = wanted[code].replace(co_filename=thing.__code__.co_filename)
                done.add(code)
    _forget()
    return bool(done)


def _functions(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The code of each function in both, the outer ones too; nothing where they do not match."""
    was = [code for code in old.co_consts if isinstance(code, CodeType)]
    now = [code for code in new.co_consts if isinstance(code, CodeType)]
    if [code.co_name for code in was] != [code.co_name for code in now]:
        return
    for one, other in zip(was, now, strict=True):
        yield one, other
        yield from _functions(one, other)


def _bare(code: CodeType) -> CodeType:
    """The code without its file's name, which depends on how it was compiled."""
    nested = (_bare(const) if isinstance(const, CodeType) else const for const in code.co_consts)
    return code.replace(co_filename="", co_consts=tuple(nested))


def _forget() -> None:
    """Empty the caches of functions: what they hold was computed before."""
    for thing in gc.get_objects():
        if type(thing) is functools._lru_cache_wrapper:
            module = sys.modules.get(thing.__module__)
            if "site-packages" not in str(getattr(module, "__file__", "site-packages")):
                thing.cache_clear()
