"""The scale of each entry of an input: a penalty on Jacobians that does not depend on units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from overt._utils.checks import message
from overt._utils.tensors import check_float_tensor, is_finite, require_finite
from overt.networks.distributed import own_rows
from overt.networks.passes import wide_dtype

Scales = Literal["std"]


class Scaling(nn.Module):
    """Scales s of the entries of an input: g ∘ s is the gradient by inputs in units of s.

    Parameters
    ----------
    given
        A tensor that broadcasts to the shape of an input; or ``"std"``: standard deviations over all inputs
        that were taken in. An entry that has not varied gets the size of its value, or 1 if that is 0: its
        deviation, 0, would make sensitivity to it free.

    Raises
    ------
    TypeError, ValueError
        Neither; or entries that are not finite and above 0.
    """

    seen: Tensor

    def __init__(self, given: Tensor | Scales) -> None:
        super().__init__()
        if isinstance(given, str) and given != "std":
            raise ValueError(message("scaling", "'std', a tensor of scales or None", given))
        if not isinstance(given, (str, Tensor)):
            raise TypeError(message("scaling", "'std', a torch.Tensor of scales or None", given))
        if isinstance(given, Tensor):
            low, high = check_float_tensor(given, "scaling").detach().aminmax()
            if not (low > 0 and high < torch.inf):
                remedy = "give an entry that never varies the scale 1"
                raise ValueError(
                    f"scaling must hold finite numbers above 0, got {low:.3g} … {high:.3g}; {remedy}"
                )
        self.given = given.detach().clone() if isinstance(given, Tensor) else None
        # The number of inputs, their means and the sums of their squared deviations.
        self.register_buffer("seen", torch.zeros(0))

    def after(self, x: Tensor, rows_of: Callable[[Tensor], Tensor]) -> Tensor:
        """What `seen` is to be once a batch of inputs counts; `rows_of` gathers what several processes have.

        Raises
        ------
        ValueError
            The inputs, or their squares, are not finite.
        """
        if self.given is not None:
            return self.seen
        require_finite(x, "x", remedy="remove them: they spoil the deviations of all inputs")
        rows = x.detach().flatten(1).to(wide_dtype(x.device))
        mean = rows.mean(0)
        batch = torch.cat([rows.new_tensor([len(rows)]), mean, (rows - mean).square().sum(0)])
        parts = rows_of(batch[None])
        if len(self.seen):
            parts = torch.cat([self.seen.to(parts)[None], parts])
        count, means, squares = _parts(parts)
        total = (count / count.sum()).mT @ means
        found = torch.cat([count.sum(0), total[0], (squares + count * (means - total).square()).sum(0)])
        if not is_finite(found):
            raise ValueError(f"x: squares of the inputs are beyond {found.dtype}; give them in other units")
        return found

    def scales(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """s in a row, shape (D,), after what was seen; before the first batch, as if `x` had been."""
        if self.given is not None:
            return self._given_for(x)
        seen = self.seen if seen is None else seen
        seen = seen if len(seen) else self.after(x, own_rows)
        count, mean, squares = _parts(seen.to(x.device))
        deviations, size = (squares / count).sqrt(), mean.abs()
        varies = deviations > 16 * torch.finfo(seen.dtype).eps * size
        return torch.where(varies, deviations, torch.where(size > 0, size, 1.0)).to(x.dtype)

    def _given_for(self, x: Tensor) -> Tensor:
        assert self.given is not None
        try:
            whole = self.given.to(x).broadcast_to(x.shape[1:])
        except RuntimeError:
            raise ValueError(
                f"scaling: its shape {tuple(self.given.shape)} does not fit inputs of shape "
                f"{tuple(x.shape[1:])}; give one number for each entry, or a shape that broadcasts to it"
            ) from None
        return whole.reshape(-1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if (stored := state_dict.get(f"{prefix}seen")) is not None:
            self.seen = torch.zeros_like(stored)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _parts(seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, means and squared deviations in rows (…, 1 + 2D)."""
    size = seen.shape[-1] // 2
    return seen[..., :1], seen[..., 1 : size + 1], seen[..., size + 1 :]
