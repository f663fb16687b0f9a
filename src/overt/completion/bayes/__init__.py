"""Bayesian low rank with its own noise: one model for ratings, tables and sensors."""

from __future__ import annotations

from overt.completion.bayes.link import who_rated_what
from overt.completion.bayes.posterior import Draw, Posterior, Predictive
from overt.completion.bayes.sampler import Family
from overt.completion.bayes.solver import Sampler, Schedule
from overt.completion.bayes.standard import Data, Standard, alike
from overt.completion.bayes.variational import Variational

__all__ = [
    "Data",
    "Draw",
    "Family",
    "Posterior",
    "Predictive",
    "Sampler",
    "Schedule",
    "Standard",
    "Variational",
    "alike",
    "who_rated_what",
]
