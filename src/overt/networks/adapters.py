"""Low-rank adapters found in a model by what they look like, so that no library is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from overt.linalg import Factored
from overt.networks.distributed import computed
from overt.networks.guard import evaluated
from overt.networks.kinds import CONVOLUTIONS
from overt.networks.modules import named_modules

_PAIRS = (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B"))
_FACTORS = (*_PAIRS[0], *_PAIRS[1])
# LoHa and LoKr, whose layers can say what they add.
_DENSE = ("hada_w1_a", "lokr_w1", "lokr_w1_a")
# Rows of an embedding and scales of a normalization, which are often trained beside other adapters.
_BESIDE = {"token_adapter", "trainable_tokens_delta", "ln_tuning_layers"}


@dataclass(frozen=True, eq=False)
class Adapter:
    """What one adapter adds to one matrix of its layer.

    Attributes
    ----------
    name : str
        Of the layer and, after a dot, of the adapter: ``"encoder.0.default"``; of experts with the number of
        the expert, ``"experts.default[2]"``.
    module : torch.nn.Module
        The layer that holds it.
    parameters : tuple of Tensor
        What it is made of. Of LoRA A, shape (r, n), and B, shape (m, r), in that order.
    scaling : float
        LoRA adds scaling · B A (Hu et al. 2021, equation 3).
    product : callable
        From parameters in this order to the matrix, see `matrix`.
    key : str or None
        Its name in its layer.
    common : str
        The name without the number of an expert.
    turned : bool
        Of an embedding, whose matrix (words, m) lies the other way round.
    """

    name: str
    module: nn.Module
    parameters: tuple[Tensor, ...]
    scaling: float
    product: Callable[..., Tensor | Factored]
    key: str | None = None
    common: str = ""
    turned: bool = False

    @property
    def held_as(self) -> tuple[str, str]:
        """What its layer calls the two factors of LoRA."""
        return _PAIRS[self.turned]

    def matrix(self, prepare: Callable[[Tensor], Tensor] | None = None) -> Tensor | Factored:
        """What is added, with its graph: as factors that are not multiplied where it is a product of two.

        `prepare` is applied to the parameters first, such as to compute in a wider dtype.
        """
        return self.product(*(self.parameters if prepare is None else map(prepare, self.parameters)))


def adapters_of(model: nn.Module) -> list[Adapter]:
    """The adapters that act in a model that is adapted by PEFT, or whose layers look like that.

    Each is one matrix, what it adds to the matrix of its layer. Of LoRA this is scaling · B A, for linear
    layers, embeddings, convolutions without groups, and for each expert of a mixture
    (``target_parameters``); of AdaLoRA scaling · P Λ Q; LoHa and LoKr compute it, see their layers'
    ``get_delta_weight``. Adapters of other kinds add no matrix of their own, or are scales and rotations.
    Their parameters are no matrices of the model.

    A layer of no library counts if it has ``lora_A`` and ``lora_B``, each a mapping from names to linear
    layers, or each a linear layer or a parameter; ``scaling`` is a mapping, a number or 1. Adapters that PEFT
    has switched off (``active_adapters``, ``disable_adapters``) are left out.

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


def unread_adapters(model: nn.Module) -> list[str]:
    """The kinds of PEFT's layers with adapters that are trained but are none of `adapters_of`."""
    kinds: dict[str, None] = {}
    for path, module in named_modules(model):
        names = _holders(module) if hasattr(type(module), "adapter_layer_names") else ()
        held = [module._modules[name] for name in set(names) - _BESIDE if name in module._modules]
        trained = any(p.requires_grad for part in held if part is not None for p in part.parameters())
        if trained and not any(True for _ in _of_layer(path, module)):
            kinds[f"{type(module).__module__}.{type(module).__name__}"] = None
    return list(kinds)


def check_read(model: nn.Module, remedy: str) -> None:
    """ValueError for adapters that are trained and that nothing here can look at."""
    kinds = unread_adapters(model)
    if kinds:
        raise ValueError(
            f"model: adapters of {', '.join(kinds)} add no low-rank matrix of their own (only LoRA, AdaLoRA, "
            f"LoHa and LoKr do, without groups); {remedy}"
        )


def factors_of(model: nn.Module) -> set[int]:
    """The identities of all that adapters are made of, and that acts through them alone or not at all.

    Factors that are switched off are among them, and parameters of adapters of any kind that PEFT has.
    """
    found: set[int] = set()
    elsewhere: set[int] = set()
    for _, module in named_modules(model):
        # Not by getattr, which is slow where a module has no such name: this runs at each step.
        names = _holders(module) if module._modules else ()
        for held in map(module._modules.get, names):
            if not isinstance(held, (nn.ModuleDict, nn.ParameterDict)):
                continue
            switched_on = _switched_on(module, list(held))
            library = hasattr(module, "adapter_layer_names")
            for key, part in held.items():
                factors = part.parameters() if isinstance(part, nn.Module) else (part,)
                (elsewhere if key in switched_on and not library else found).update(map(id, factors))
    return found - elsewhere


def _holders(module: nn.Module) -> tuple[str, ...]:
    """The names of what holds the factors of a layer."""
    names = getattr(type(module), "adapter_layer_names", _FACTORS)
    # A whole module that is trained and saved is none that is adapted; see `named_modules`.
    return () if "modules_to_save" in names else (*names, *_FACTORS)


def _switched_on(module: nn.Module, keys: list[str]) -> list[str]:
    if getattr(module, "disable_adapters", False) is True:
        return []
    return list(getattr(module, "active_adapters", keys))


def _adapters(model: nn.Module) -> Iterator[Adapter]:
    """The adapters that act; each layer once, under its first name."""
    seen: set[int] = set()
    for path, module in named_modules(model):
        if id(module) in seen:
            continue
        found = list(_of_layer(path, module))
        if found:
            seen.add(id(module))
            yield from found


def _of_layer(path: str, module: nn.Module) -> Iterator[Adapter]:
    for dense in _DENSE if module._modules else ():
        held = module._modules.get(dense)
        if isinstance(held, nn.ParameterDict):
            for key in held:
                if key in _switched_on(module, list(held)):
                    yield from _computed(path, module, key)
    for left, right in _PAIRS:
        A = _held(module, left)
        B = None if A is None else _held(module, right)
        if B is None:
            continue
        scaling = getattr(module, "scaling", 1.0)
        if not isinstance(A, (nn.ModuleDict, nn.ParameterDict)):
            yield from _pair(path, module, None, A, B, scaling)
            continue
        for key in A:
            if key in _switched_on(module, list(A)) and key in B:
                scale = scaling.get(key, 1.0) if isinstance(scaling, dict) else scaling
                yield from _pair(path, module, key, A[key], B[key], scale, of_embedding=left == _PAIRS[1][0])


def _held(module: nn.Module, name: str) -> Any:
    """A submodule, a parameter or another attribute of a module; None if it has none of that name."""
    for held in (module._modules, module._parameters, module.__dict__):
        if name in held:
            return held[name]
    return getattr(module, name) if hasattr(type(module), name) else None


def _computed(path: str, module: nn.Module, key: str) -> Iterator[Adapter]:
    """LoHa and LoKr: the sum of products that their layer forms."""
    names = cast("tuple[str, ...]", module.adapter_layer_names)
    held = (module._modules[name] for name in names)
    parts = tuple(cast(Any, group)[key] for group in held if key in cast(Any, group))
    name, scaling = _joined(path, key), float(cast(Any, module).scaling[key])
    if not _grouped(module):
        yield Adapter(name, module, parts, scaling, partial(_added, module, key), key, name)


def _added(module: nn.Module, key: str, *_: Tensor) -> Tensor:
    with evaluated(module):
        return computed(module, partial(cast(Any, module).get_delta_weight, key)).flatten(1)


def _pair(
    path: str,
    module: nn.Module,
    key: str | None,
    left: object,
    right: object,
    scaling: object,
    *,
    of_embedding: bool = False,
) -> Iterator[Adapter]:
    """The adapters in two factors: one, one for each expert, or none where they do not fit."""
    A, B = getattr(left, "weight", left), getattr(right, "weight", right)
    if not (isinstance(A, Tensor) and isinstance(B, Tensor) and isinstance(scaling, (int, float))):
        return
    if A.ndim < 2 or B.ndim < 2 or A.shape[0] != B.shape[1]:
        return
    name, scale = _joined(path, key), float(scaling)
    experts = getattr(module, "num_experts", 1) if hasattr(module, "parameter_name") else 1
    middle = _middle(module, key)
    convolution = isinstance(left, CONVOLUTIONS) and B.shape[2:].numel() == 1 and not _grouped(module)
    if middle is not None:
        E, count = middle
        yield Adapter(name, module, (A, E, B), scale, partial(_three, scale, count), key, name)
    elif experts > 1:
        for e in range(experts):
            product = partial(_expert, scale, experts, e)
            yield Adapter(f"{name}[{e}]", module, (A, B), scale, product, key, name)
    elif A.ndim == B.ndim == 2 or convolution:
        product = partial(_turned if of_embedding else _two, scale)
        yield Adapter(name, module, (A, B), scale, product, key, name, of_embedding)


def _two(scaling: float, A: Tensor, B: Tensor) -> Factored:
    return Factored(B.flatten(1) * scaling, A.flatten(1).mT)


def _turned(scaling: float, A: Tensor, B: Tensor) -> Factored:
    return Factored(A.mT * scaling, B)


def _three(scaling: float, count: Tensor, A: Tensor, E: Tensor, B: Tensor) -> Factored:
    return Factored(B * (scaling / (float(count) + 1e-5)), (A * E).mT)


def _expert(scaling: float, experts: int, e: int, A: Tensor, B: Tensor) -> Factored:
    """PEFT's order: A holds the experts one after the other, B the experts of each rank together."""
    left, right = B.reshape(len(B), -1, experts), A.reshape(experts, -1, A.shape[1])
    return Factored(left[:, :, e] * scaling, right[e].mT)


def _middle(module: nn.Module, key: str | None) -> tuple[Tensor, Tensor] | None:
    """Λ of AdaLoRA, and the rank by which it divides."""
    E, count = module._modules.get("lora_E"), module._modules.get("ranknum")
    if not (isinstance(E, nn.ParameterDict) and isinstance(count, nn.ParameterDict)):
        return None
    return (E[key], count[key]) if key is not None and key in E else None


def _joined(path: str, key: str | None) -> str:
    return ".".join(part for part in (path, key) if part)


def _grouped(module: nn.Module) -> bool:
    return getattr(getattr(module, "base_layer", None), "groups", 1) != 1
