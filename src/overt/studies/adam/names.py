"""What optimizers and interventions are called in reasons and figures."""

from __future__ import annotations

NAMES = {
    "gd": "GD",
    "momentum": "momentum",
    "normalized_gd": "normalized GD",
    "grouprmsprop": "GroupRMSprop",
    "sign": "sign descent",
    "rmsprop": "RMSprop",
    "adam": "Adam",
    "adam_beta1_0": "Adam, β₁ = 0",
    "muon": "Muon",
    "shampoo": "Shampoo",
}
CHANGES = {
    "none": "left alone",
    "keep_vectors": "penalty's step: singular vectors kept",
    "keep_space": "penalty's step: within column and row space",
    "gradient_direction": "penalty's step: gradient's direction, Adam's length",
    "only_leaving": "penalty's step: only what turns the vectors",
    "keep_space_all": "whole step within column and row space",
    "adam_penalty": "penalty's step from Adam",
    "adam_length": "penalty's step of Adam's length",
    "adam_entries": "the same, observed and unobserved apart",
    "adam_data": "data's step from Adam",
    "alternation": "exact fit and shrinking in turn",
}
