"""The state that a model is measured in: deterministic, one input at a time, and left as it was found."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from overt.networks.guard import buffers_kept

__all__ = ["measuring", "unwrapped"]

_BATCH_STATISTICS = (nn.modules.batchnorm._BatchNorm,)
_INSTANCE_STATISTICS = (nn.modules.instancenorm._InstanceNorm,)
_DROPOUT = (nn.modules.dropout._DropoutNd,)


def unwrapped(model: Any) -> Any:
    """The model that ``torch.compile`` was given: compiled backward passes free what a second one needs."""
    original = getattr(model, "_orig_mod", None)
    if original is None and not isinstance(model, nn.Module):
        original = getattr(model, "_torchdynamo_orig_callable", None)
    return model if original is None else original


@contextmanager
def measuring(model: Any, *, train: bool = False) -> Iterator[None]:
    """Gradients on, automatic mixed precision off, compilation off, the model in evaluation mode.

    Every submodule's mode, and every buffer, is as before afterwards, in evaluation mode too: a layer may
    count its passes. Parameters are not touched.

    Raises
    ------
    ValueError
        With ``train``, if a layer in training mode mixes the inputs of a batch or draws random numbers.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        accelerator = torch.accelerator.current_accelerator()
        for kind in {"cpu", "cpu" if accelerator is None else accelerator.type}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if isinstance(model, nn.Module):
            stack.enter_context(buffers_kept(model))
            if train:
                _refuse_training_mode(model)
            else:
                stack.enter_context(_evaluated(model))
        yield


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _refuse_training_mode(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if not module.training:
            continue
        where = f"model: {name or 'the model'} ({type(module).__name__})"
        if isinstance(module, _BATCH_STATISTICS):
            raise ValueError(
                f"{where} is in training mode, where an output depends on all inputs of the batch, so that "
                "there is no Jacobian of one input; measure with train=False, or put this layer alone into "
                "evaluation mode"
            )
        if isinstance(module, _INSTANCE_STATISTICS) and module.track_running_stats:
            raise ValueError(f"{where} updates its statistics in training mode; measure with train=False")
        rate = module.p if isinstance(module, _DROPOUT) else getattr(module, "dropout", 0.0)
        if isinstance(rate, float) and rate > 0:
            raise ValueError(
                f"{where} drops entries at random (p={rate:g}) in training mode; measure with train=False, "
                "or set its rate to 0"
            )
