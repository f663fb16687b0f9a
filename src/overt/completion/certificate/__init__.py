"""Whether the observed positions determine a completion among its neighbours."""

from __future__ import annotations

from overt.completion.certificate.local import Certificate, certificate, identifiable_rank

__all__ = ["Certificate", "certificate", "identifiable_rank"]
