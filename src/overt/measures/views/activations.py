"""Spectra of the activations of each layer, from their second moments, streamed over the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from overt._utils.checks import check_callable, check_choice, check_flag, message, optional
from overt._utils.tensors import compute_dtype, is_finite
from overt.linalg import eigh
from overt.measures.spectrum import Spectrum
from overt.networks.batches import batches_of
from overt.networks.guard import untouched
from overt.networks.modules import Forward, check_module, device_of

Features = Literal["all", "channels", "last"]
_LARGEST = 10_000


def activation_spectra(
    model: nn.Module,
    inputs: Any,
    *,
    layers: Iterable[str] | None = None,
    features: Features = "all",
    center: bool = False,
    forward: Forward | None = None,
) -> dict[str, Spectrum]:
    """Spectrum of the activations of each layer: the singular values of H/√n, one activation a row of H.

    σ_i² are the eigenvalues of the second moment C = HᵀH/n, and also the non-zero ones of the Gram matrix
    HHᵀ/n of the examples. C is summed batch by batch in double precision, so the data may be of any size;
    memory is D² for D features. The squares cost half of the digits: values below 1e-8 of the largest are
    rounding error and are set to 0.

    The model is run in evaluation mode without gradients and left as it was.

    Parameters
    ----------
    model
        Run on each batch.
    inputs
        A tensor (N, …), or a DataLoader of tensors or of tuples that begin with one, of any dtype.
    layers
        Names of submodules, as in ``model.named_modules()``; by default all that run and have no submodules,
        such as ``nn.Linear`` and ``nn.ReLU``.
    features
        One activation is ``"all"`` numbers of an example; the ``"channels"``, dimension 1, of one position
        (convolutions); or the ``"last"`` dimension (tokens of a transformer).
    center
        Subtract the mean first: C is then the covariance.
    forward
        How the model is called, ``forward(model, x)``; by default ``model(x)``.

    Returns
    -------
    dict of Spectrum
        By layer. A layer that runs several times in a pass, such as a shared ``nn.ReLU``, has a spectrum for
        each run: ``"relu"``, ``"relu#2"``, ``"relu#3"``. ``n_samples`` is the number of rows n.

    Raises
    ------
    TypeError, ValueError
        Unknown layers or features, a named layer that does not run, an activation that is no tensor or not
        finite, more than 10 000 features, no data.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import activation_spectra
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False), torch.nn.ReLU())
    >>> spectra = activation_spectra(model, torch.randn(50, 3))
    >>> {name: len(s.values) for name, s in spectra.items()}, spectra["1"].n_samples
    ({'0': 2, '1': 2}, 50)
    """
    model = check_module(model)
    check_choice(features, "features", Features)
    check_flag(center, "center")
    forward = optional(check_callable, forward, "forward")
    modules = dict(model.named_modules())
    runs: dict[str, list[_Moments]] = {name: [] for name in _chosen(model, layers)}
    turn: Counter[str] = Counter()  # runs of each layer in this pass

    def see(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        turn[name] += 1
        if turn[name] > len(runs[name]):
            label = name if turn[name] == 1 else f"{name}#{turn[name]}"
            runs[name].append(_Moments(label, features))
        runs[name][turn[name] - 1].add(output)

    with untouched(model), torch.no_grad(), ExitStack() as hooks:
        for name in runs:
            hooks.callback(modules[name].register_forward_hook(partial(see, name)).remove)
        for batch in batches_of(inputs, device_of(model)):
            turn.clear()
            _ = batch.given_to(model) if forward is None else batch.given_with(forward, model)
    idle = [name for name, found in runs.items() if not found]
    if layers is not None and idle:
        raise ValueError(f"layers: {', '.join(map(repr, idle))} did not run in the forward pass; omit it")
    return {run.name: run.spectrum(center) for found in runs.values() for run in found}


def _chosen(model: nn.Module, layers: Iterable[str] | None) -> list[str]:
    known = dict(model.named_modules())
    if layers is None:
        return [name for name, module in known.items() if not any(True for _ in module.children())]
    aliases = dict(model.named_modules(remove_duplicate=False))
    if not isinstance(layers, Iterable):
        raise TypeError(message("layers", "names of submodules", layers))
    names = [layers] if isinstance(layers, str) else list(layers)
    for name in names:
        if name in aliases and name not in known:
            first = next(key for key, module in known.items() if module is aliases[name])
            raise ValueError(
                f"layers: {name!r} is the same module as {first!r}; name {first!r}, which has a spectrum for "
                "each run"
            )
        if name not in known:
            raise ValueError(f"layers: no submodule {name!r}; there are {', '.join(list(known)[1:20])}")
    return list(dict.fromkeys(names))


class _Moments:
    """Σ h hᵀ and Σ h of one run of a layer."""

    second: Tensor
    first: Tensor

    def __init__(self, name: str, features: Features) -> None:
        self.name, self._features = name, features
        self._dtype = torch.float32
        self.count = 0

    def add(self, output: Any) -> None:
        """Add the layer's output for a batch."""
        first = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(first, Tensor) or not first.is_floating_point() or first.ndim < 1:
            raise TypeError(
                f"layers: {self.name!r} gives {type(output).__name__}, no floating-point tensor; omit it"
            )
        rows = self._rows(first.detach())
        size = rows.shape[1]
        if size > _LARGEST:
            raise ValueError(
                f"layers: {self.name!r} has {size} features, whose second moment would take "
                f"{size**2 * 8 / 1e9:.1f} GB; name smaller layers, or use features='channels' or 'last'"
            )
        self._dtype = compute_dtype(rows.dtype)
        rows = rows.double()
        if self.count == 0:
            self.second, self.first = rows.new_zeros(size, size), rows.new_zeros(size)
        elif size != len(self.first):
            raise ValueError(
                f"layers: {self.name!r} gave {len(self.first)} features and then {size}; choose other "
                "features, or inputs of one size"
            )
        self.second.addmm_(rows.mT, rows)
        self.first += rows.sum(0)
        self.count += len(rows)

    def _rows(self, h: Tensor) -> Tensor:
        if h.ndim <= 2 or self._features == "all":
            return h.reshape(len(h), -1)
        if self._features == "channels":
            return h.movedim(1, -1).reshape(-1, h.shape[1])
        return h.reshape(-1, h.shape[-1])

    def spectrum(self, center: bool) -> Spectrum:
        C = self.second / self.count
        if not is_finite(C):
            raise ValueError(
                f"layers: activations of {self.name!r} are NaN or infinite; look for a step that diverged"
            )
        if center:
            mean = self.first / self.count
            C = C - torch.outer(mean, mean)
        powers = eigh(C)[0].clamp_min(0)
        # After the mean is subtracted, rounding is still relative to the values before.
        top = self.second.diagonal().amax() / self.count
        powers[powers <= top * torch.finfo(powers.dtype).eps * len(powers)] = 0.0
        return Spectrum(powers.sqrt().to(self._dtype), n_samples=self.count, method="exact")
