"""What a module does with a parameter: multiplies by it, by several matrices in it, or uses it otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

Role = Literal["matrix", "adapter", "embedding", "head", "table"]
"""Of a weight in its model; a table is used entry by entry, or is a set of vectors."""

Layout = Callable[[Tensor], Tensor]
"""From a parameter to a view (…, m, n) of it: the matrices that it holds."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)

_GATES = {"LSTM": 4, "GRU": 3, "LSTMCell": 4, "GRUCell": 3}
# What PyTorch's own layers hold is known. Of a parameter of any other module its name tells most.
_KNOWN = (*CONVOLUTIONS, *TRANSPOSED, *EMBEDDINGS, nn.Linear, nn.Bilinear, nn.RNNBase, nn.RNNCellBase)
_TABLE = re.compile(r"embed|position|token|_table$|(^|_)log(_|$)")


def layout_of(module: nn.Module, name: str, ndim: int) -> Layout | None:
    """Where a module holds several matrices in one parameter, how they lie in it; None for one matrix alone.

    - Gates of a recurrent layer, and queries, keys and values of ``nn.MultiheadAttention``, lie one below the
      other.
    - A parameter (E, m, n) is a batch, such as the experts of a mixture. The ``gate_up_proj`` of Hugging
      Face's experts holds two for each: what passes an activation, and what this multiplies.

    A layer whose *outputs* another module cuts into parts, such as GPT-2's ``c_attn``, is one matrix.
    """
    stacked = _stacked(module, name)
    if ndim == 2 and stacked > 1:
        return partial(_rows, count=stacked)
    if ndim != 3 or isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        return None
    if name == "gate_up_proj" and getattr(module, "has_gate", False):
        transposed = bool(getattr(module, "is_transposed", False))
        return partial(_gated, dim=2 if transposed else 1, apart=getattr(module, "is_concatenated", True))
    return _batch


def is_table(module: nn.Module, name: str, shape: torch.Size | None) -> bool:
    """Whether a module uses a parameter of two or more dimensions entry by entry, or as vectors.

    The scales of a normalization; a depthwise kernel, one filter for each channel; what is broadcast over
    examples, (1, …); and, where the module is none of PyTorch's, what is called an embedding, a position, a
    token, a table or a logarithm.
    """
    if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)) and name == "weight":
        channels = module.in_channels if isinstance(module, TRANSPOSED) else module.out_channels
        return module.groups == channels > 1
    if isinstance(module, _KNOWN):
        return False
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return True
    if shape is not None and len(shape) > 2 and shape[0] == 1:
        return not hasattr(module, "num_experts")
    return _TABLE.search(name) is not None


def heads_of(model: nn.Module) -> set[int]:
    """The identities of the modules that make outputs of what a network has computed.

    What a model of Hugging Face has outside of its base model, and its output embeddings; the classifier of
    a model of timm. Of other models nothing tells which layer that would be.
    """
    found: set[int] = set()
    for module in model.modules():
        kind = type(module)
        prefix = getattr(kind, "base_model_prefix", None)
        if isinstance(prefix, str):
            base = module._modules.get(prefix)
            if base is not None:
                found |= _identities(module) - _identities(base)
            if hasattr(kind, "get_output_embeddings"):
                found |= _identities(cast(Any, module).get_output_embeddings())
        elif hasattr(kind, "get_classifier"):
            found |= _identities(cast(Any, module).get_classifier())
    return found


def _identities(module: Any) -> set[int]:
    return {id(part) for part in module.modules()} if isinstance(module, nn.Module) else set()


def _stacked(module: nn.Module, name: str) -> int:
    if isinstance(module, nn.MultiheadAttention):
        return 3 if name == "in_proj_weight" else 1
    recurrent = name.startswith(("weight_ih", "weight_hh"))
    if recurrent and isinstance(module, nn.RNNBase):
        return _GATES.get(module.mode, 1)
    if recurrent and isinstance(module, nn.RNNCellBase):
        return next((n for kind, n in _GATES.items() if isinstance(module, getattr(nn, kind))), 1)
    return 1


def _rows(W: Tensor, count: int) -> Tensor:
    return W.view(count, -1, W.shape[1])


def _batch(W: Tensor) -> Tensor:
    return W


def _gated(W: Tensor, dim: int, apart: bool) -> Tensor:
    """(E, 2, m, n): the halves of a dimension, or every second entry of it."""
    halves = (2, W.shape[dim] // 2) if apart else (W.shape[dim] // 2, 2)
    split = W.view(*W.shape[:dim], *halves, *W.shape[dim + 1 :])
    return split.movedim(dim if apart else dim + 1, 1)
