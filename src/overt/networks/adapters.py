"""Low-rank adapters (LoRA) found in a model by what they look like, so that no library is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from overt._utils.checks import check_number
from overt.linalg import Factored, svd
from overt.networks.modules import named_modules

_FACTORS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")


@dataclass(frozen=True, eq=False)
class Adapter:
    """One pair of factors: the layer adds scaling · B A to its matrix (Hu et al. 2021, equation 3).

    Attributes
    ----------
    name : str
        Of the layer and, after a dot, of the adapter: ``"encoder.0.default"``.
    module : torch.nn.Module
        The layer that holds it.
    parameters : tuple of Tensor
        A, shape (r, n), and B, shape (m, r).
    scaling : float
    """

    name: str
    module: nn.Module
    parameters: tuple[Tensor, Tensor]
    scaling: float

    def matrix(self) -> Factored:
        """scaling · B A, not formed."""
        A, B = self.parameters
        return Factored(B * self.scaling, A.mT)


def adapters_of(model: nn.Module) -> list[Adapter]:
    """The adapters of a model that is adapted by PEFT, or whose layers look like that.

    A layer counts if it has ``lora_A`` and ``lora_B``, each a mapping from names to linear layers, or each a
    linear layer or a parameter; ``scaling`` is a mapping, a number or 1. Adapters that PEFT has switched off
    (``active_adapters``) and those of convolutions and embeddings are left out: a penalty on the model takes
    the factors of the latter each on its own.

    Examples
    --------
    >>> import torch
    >>> from overt.penalties import adapters_of
    >>> class Adapted(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.lora_A = torch.nn.Linear(8, 2, bias=False)
    ...         self.lora_B = torch.nn.Linear(2, 6, bias=False)
    ...         self.scaling = 0.5
    >>> [(a.matrix().shape, a.scaling) for a in adapters_of(Adapted())]
    [(torch.Size([6, 8]), 0.5)]
    """
    return list(_adapters(model))


def truncate_adapters(model: nn.Module, tolerance: float = 1e-2) -> dict[str, int]:
    """Set to zero what a penalty has made superfluous: singular values of B A at most tolerance · σ₁.

    The factors keep their shapes. They are balanced on the way: of a kept singular value, √σ goes to A and
    √σ to B; those past it are zero, so that the first columns of B and rows of A are all that is used.

    Parameters
    ----------
    model
        Changed in place.
    tolerance
        In [0, 1).

    Returns
    -------
    dict
        The rank of each adapter.

    Raises
    ------
    TypeError, ValueError
        A tolerance out of its range; an adapter that is merged into its layer, which would keep what is cut.
    """
    tolerance = check_number(tolerance, "tolerance", least=0, below=1)
    adapters = adapters_of(model)
    for adapter in adapters:
        _check_apart(adapter)
    ranks = {}
    with torch.no_grad():
        for adapter in adapters:
            A, B = adapter.parameters
            U, S, Vh = svd(Factored(B, A.mT))
            keep = (tolerance * S[:1] < S).to(S.dtype)
            root = (S * keep).sqrt()
            A.zero_()[: root.shape[0]] = root.unsqueeze(-1) * Vh
            B.zero_()[:, : root.shape[0]] = U * root
            ranks[adapter.name] = int(keep.sum())
    return ranks


def _check_apart(adapter: Adapter) -> None:
    """Refuse an adapter whose product has been added to the matrix of its layer."""
    merged = getattr(adapter.module, "merged_adapters", None) or getattr(adapter.module, "merged", False)
    if merged is True or (isinstance(merged, (list, tuple)) and adapter.name.rpartition(".")[2] in merged):
        raise ValueError(
            f"the adapter {adapter.name!r} is merged into its layer, which would keep what is cut; unmerge "
            "it first (in PEFT: model.unmerge_adapter())"
        )


def idle_factors(model: nn.Module) -> set[int]:
    """The identities of the factors of adapters that are switched off, and so do not act.

    Those of convolutions and embeddings are among them.
    """
    idle: set[int] = set()
    at_work: set[int] = set()
    for _, module in named_modules(model):
        # Not by getattr, which is slow where a module has no such name: this runs at each step.
        for held in map(module._modules.get, _FACTORS if module._modules else ()):
            if not isinstance(held, (nn.ModuleDict, nn.ParameterDict)):
                continue
            switched_on = getattr(module, "active_adapters", list(held))
            for key, part in held.items():
                factors = part.parameters() if isinstance(part, nn.Module) else (part,)
                (at_work if key in switched_on else idle).update(map(id, factors))
    return idle - at_work


def _adapters(model: nn.Module) -> Iterator[Adapter]:
    """The adapters that act; each layer once, under its first name."""
    seen: set[int] = set()
    for path, module in named_modules(model):
        left, right = _held(module, "lora_A"), _held(module, "lora_B")
        if left is None or right is None or id(module) in seen:
            continue
        seen.add(id(module))
        if not isinstance(left, nn.ModuleDict):
            yield from _adapter(path, module, left, right, getattr(module, "scaling", 1.0))
            continue
        switched_on = getattr(module, "active_adapters", list(left))
        scalings = getattr(module, "scaling", {})
        for key in left:
            if key in switched_on and key in right:
                name = f"{path}.{key}" if path else key
                yield from _adapter(name, module, left[key], right[key], scalings.get(key, 1.0))


def _held(module: nn.Module, name: str) -> Any:
    """A submodule, a parameter or another attribute of a module; None if it has none of that name."""
    held = any(name in names for names in (module._modules, module._parameters, module.__dict__))
    return getattr(module, name) if held or hasattr(type(module), name) else None


def _adapter(name: str, module: nn.Module, left: object, right: object, scaling: object) -> Iterator[Adapter]:
    A, B = getattr(left, "weight", left), getattr(right, "weight", right)
    if not (isinstance(A, Tensor) and isinstance(B, Tensor) and isinstance(scaling, (int, float))):
        return
    if A.ndim == B.ndim == 2 and A.shape[0] == B.shape[1]:
        yield Adapter(name, module, (A, B), float(scaling))
