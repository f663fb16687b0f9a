"""The parts that the study is made of, in the order of its claims and figures."""

from __future__ import annotations

from typing import Any

from overt.studies.proxies.inverse import part as inverse
from overt.studies.proxies.part import Part
from overt.studies.proxies.penalties import part as penalties

__all__ = ["PARTS"]

PARTS: tuple[Part[Any], ...] = (penalties, inverse)
