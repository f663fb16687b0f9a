"""Initial weights from a generator of their own."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import nn

from overt._utils.seeds import seeded

__all__ = ["redrawn"]

Model = TypeVar("Model", bound=nn.Module)


def redrawn(model: Model, seed: int) -> Model:
    """The model, its linear layers drawn anew: uniform on ±1/√fan_in, torch's default.

    Parameters that belong to no linear layer become normal with variance 1/(last dimension).

    Examples
    --------
    >>> first, second = (redrawn(nn.Linear(3, 2), 0).weight for _ in range(2))
    >>> torch.equal(first, second)
    True
    """
    generator = seeded(seed)
    with torch.no_grad():
        for module in model.modules():
            for values in module.parameters(recurse=False):
                if isinstance(module, nn.Linear):
                    bound = module.in_features**-0.5
                    values.uniform_(-bound, bound, generator=generator)
                else:
                    values.normal_(0, 1 / math.sqrt(values.shape[-1]), generator=generator)
    return model
