"""Where studies are found: by name, imported only when asked for."""

from __future__ import annotations

import difflib
import importlib
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from overt._utils.errors import UsageError
from overt.studies.base import Study
from overt.studies.runs.identity import run_name

__all__ = ["get", "names", "register"]

_NAMES = (
    "story",
    "arora2019",
    "razin2020",
    "zhao2022",
    "li2021",
    "woodworth2020",
    "gunasekar2018",
    "proxies",
    "adam",
    "measure",
    "generalization",
    "predict",
    "structure",
    "one_algorithm",
    "denoising",
    "grokking",
)
_BUILT_IN = {name: f"overt.studies.{name}:study" for name in _NAMES}
_GROUP = "overt.studies"
_registered: dict[str, Study[Any]] = {}


def register(study: Study[Any]) -> None:
    """Make a study known by its name, as the built-in ones are, for as long as the process lives.

    An installed package does the same for good with an entry point in the group ``overt.studies``, and
    the command line takes ``module:attribute`` in place of a name. Both import a module, which runs its code:
    install and name only what you trust.

    Raises
    ------
    ValueError
        If another study has the name, or the name is malformed.
    TypeError
        If it is not a `Study`.
    """
    if not isinstance(study, Study):
        raise TypeError(f"study must be an instance of Study, got {study!r}")
    run_name(study.name, "0" * 12)
    if study.name == "all":
        raise UsageError("a study cannot be named 'all', which stands for every study")
    if study.name in _places() or _registered.get(study.name, study) is not study:
        raise UsageError(f"there already is a study named {study.name!r}; give this one another name")
    _registered[study.name] = study


def names() -> list[str]:
    """Return the names of all studies that can be found."""
    return [*_places(), *(name for name in _registered if name not in _places())]


def get(name: str) -> Study[Any]:
    """Return a study by its name, or by ``module:attribute``; its module is imported, which runs its code.

    The module is looked for where Python looks, then in the current folder. That stays so while the process
    lives, for the study may import more from there, and worker processes look where this one does. It comes
    last, so that no file in it takes the place of an installed module.

    Raises
    ------
    UsageError
        If there is none; the message suggests the closest name.
    """
    if name in _registered:
        return _registered[name]
    if ":" in name:
        here = str(Path.cwd())
        if not {"", here} & set(sys.path):
            sys.path.append(here)
        return _load(name)
    place = _places().get(name)
    if place is None:
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names())}"
        raise UsageError(f"unknown study {name!r}; {hint}")
    return _load(place)


def _places() -> dict[str, str]:
    found = {point.name: point.value for point in entry_points(group=_GROUP)}
    return {**_BUILT_IN, **{name: value for name, value in found.items() if name not in _BUILT_IN}}


def _load(place: str) -> Study[Any]:
    module_name, _, attribute = place.partition(":")
    importlib.invalidate_caches()  # a file that was just written is found, too
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the code of another package raises
        raise UsageError(f"cannot import the study {place!r}: {type(error).__name__}: {error}") from error
    study = getattr(module, attribute, None)
    if not isinstance(study, Study):
        own = Path(f"{module_name}.py")
        hidden = f"; {own} here is hidden by the module {module.__file__}: give it another name"
        elsewhere = own.is_file() and Path(module.__file__ or "").resolve() != own.resolve()
        said = f"{place!r} is not a study; name an instance of overt.studies.Study"
        raise UsageError(f"{said}{hidden if elsewhere else ''}")
    return study
