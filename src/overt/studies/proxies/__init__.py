"""Which proxy of rank should one penalize, and which one do networks minimize without being told?"""

from overt.studies.proxies.study import study

__all__ = ["study"]
