"""What a penalty looks at once before it differentiates a model: that inputs have Jacobians of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from overt.networks.guard import other_draws, state_kept, traceless
from overt.networks.jacobian import Rows, leaf
from overt.networks.rows import agree, require_independence, require_repeatable
from overt.networks.second_order import (
    MIXING,
    CheckpointedError,
    check_twice_differentiable,
    deterministic,
    graph_of_its_own,
)


class Found(NamedTuple):
    """What there is to know for the passes that follow, as `deterministic` takes it."""

    recomputed: bool = False
    draws: bool = False


@dataclass(eq=False)
class FirstLook:
    """Checks that are made once for each state of a model: its modules, and the mode of each.

    Attributes
    ----------
    twice
        Whether the gradient of the passes is differentiated once more.
    """

    twice: bool = True
    _found: dict[int, Found] = field(default_factory=dict)

    def __call__(self, rows: Rows, x: Tensor, parts: Sequence[nn.Module]) -> Found:
        """What a pass finds whose outputs are `rows` of x, by all modules that take part.

        Raises
        ------
        ValueError
            The outputs of two passes differ, do not depend on x or an input's depend on other inputs.
        """
        key = _state(parts, len(x) > 1, "pass")
        if key not in self._found:
            with graph_of_its_own():
                self._found[key] = self._look(rows, x, parts)
        return self._found[key]

    def at_outputs(self, x: Tensor, y: Tensor, parts: Sequence[nn.Module]) -> None:
        """ValueError unless outputs that are there can be differentiated twice, each by its own input."""
        key = _state(parts, len(x) > 1, "outputs")
        if key not in self._found:
            check_twice_differentiable(y)
            require_independence(x, y)
            self._found[key] = Found()

    def _look(self, rows: Rows, x: Tensor, parts: Sequence[nn.Module]) -> Found:
        for recomputed in (False, True):
            try:
                with deterministic(parts, x.device, twice=self.twice, recomputed=recomputed):
                    x, before = leaf(x), other_draws()
                    with state_kept(parts):
                        y = rows(x)
                    with state_kept(parts):  # from the same state, with other draws
                        again = rows(x).detach()
                    require_repeatable(y, again)
                    require_independence(x, y)
                    draws = other_draws() != before
                    break
            except CheckpointedError:
                if _mode_matters(rows, x, parts):
                    raise
        return Found(recomputed, draws)


def _mode_matters(rows: Rows, x: Tensor, parts: Sequence[nn.Module]) -> bool:
    """Whether outputs in the modes that the modules are in are others than in evaluation mode."""
    if any(_draws_or_mixes(part) for part in parts):
        return True
    with traceless(parts, x.device), torch.no_grad():
        evaluated = rows(x)
    modes = [part.training for part in parts]
    with traceless(parts, x.device), torch.no_grad():
        for part, training in zip(parts, modes, strict=True):
            part.training = training
        return not agree(evaluated, rows(x))


def _draws_or_mixes(layer: nn.Module) -> bool:
    """Whether a layer of torch is another map as it is than in evaluation mode."""
    drops = isinstance(layer, (nn.modules.dropout._DropoutNd, nn.MultiheadAttention, nn.RNNBase))
    rate = getattr(layer, "dropout", getattr(layer, "p", 0.0)) if drops else 0.0
    return layer.training and (isinstance(layer, MIXING) or rate > 0)


def _state(parts: Sequence[nn.Module], *more: object) -> int:
    return hash((*((id(part), part.training) for part in parts), *more))
