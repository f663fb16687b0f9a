"""Observed entries as a linear map on factors, and the leading triplets of low rank plus sparse."""

from __future__ import annotations

from overt.completion.tangent.entries import Entries, entries_of
from overt.completion.tangent.svd import leading_triplets

__all__ = ["Entries", "entries_of", "leading_triplets"]
