"""Spectra of the activations of each layer, from their second moments, streamed over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from overt._utils.tensors import compute_dtype
from overt.linalg import eigh
from overt.measures.spectrum import Spectrum
from overt.networks.guard import check_module, untouched
from overt.networks.streams import batches_of, home_of

__all__ = ["Features", "activation_spectra"]

Features = Literal["all", "channels", "last"]
_LARGEST = 10_000


def activation_spectra(
    model: nn.Module,
    inputs: Any,
    *,
    layers: Iterable[str] | None = None,
    features: Features = "all",
    center: bool = False,
    forward: Callable[[Any, Tensor], Any] | None = None,
) -> dict[str, Spectrum]:
    """Spectrum of the activations of each layer: the singular values of H/√n, H with one activation a row.

    σ_i² are the eigenvalues of the second moment C = HᵀH/n, and of the Gram matrix HHᵀ/n of the examples,
    which are the same where not 0. C is summed up batch by batch in double precision, so the data may be of
    any size; memory is D² for D features. The squares cost half of the digits: values below 1e-8 of the
    largest are rounding error and are set to 0.

    The model is run in evaluation mode without gradients and left as it was.

    Parameters
    ----------
    model
        Run on each batch.
    inputs
        A tensor (N, …), or a DataLoader of tensors or of tuples that begin with one; token ids will do.
    layers
        Names of submodules, as in ``model.named_modules()``; by default all that hold no others, such as
        ``nn.Linear`` and ``nn.ReLU``, and run.
    features
        What one activation is: ``"all"`` numbers of an example; ``"channels"``, dimension 1, with each
        position an example of its own (convolutions); ``"last"``, the last dimension (tokens of a
        transformer).
    center
        Subtract the mean first: C is then the covariance.
    forward
        How the model is called, ``forward(model, x)``; by default ``model(x)``.

    Returns
    -------
    dict of Spectrum
        By layer. One that runs several times in a pass, such as an ``nn.ReLU`` that is used in several
        places, has a spectrum for each run: ``"relu"``, ``"relu#2"``, ``"relu#3"``. ``n_samples`` is the
        number of rows n.

    Raises
    ------
    TypeError, ValueError
        Unknown layers or features, a named layer that does not run, an activation that is no tensor or not
        finite, more than 10 000 features (name the layers, or choose other features), no data.

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
    if features not in get_args(Features):
        raise ValueError(f"features must be one of {', '.join(get_args(Features))}, got {features!r}")
    watched = [_Layer(name, features) for name in _chosen(model, layers)]
    modules = dict(model.named_modules())
    with untouched(model), torch.no_grad(), ExitStack() as hooks:
        for layer in watched:
            hooks.callback(modules[layer.name].register_forward_hook(layer.see).remove)
        for x in batches_of(inputs, home_of(model)):
            for layer in watched:
                layer.begin()
            if forward is None:
                model(x)
            else:
                forward(model, x)
    idle = [layer.name for layer in watched if not layer.runs]
    if layers is not None and idle:
        raise ValueError(f"layers: {', '.join(map(repr, idle))} did not run in the forward pass; omit it")
    return {run.name: run.spectrum(center) for layer in watched for run in layer.runs}


def _chosen(model: nn.Module, layers: Iterable[str] | None) -> list[str]:
    known = dict(model.named_modules())
    if layers is None:
        return [name for name, module in known.items() if not any(True for _ in module.children())]
    aliases = dict(model.named_modules(remove_duplicate=False))
    names = [layers] if isinstance(layers, str) else list(layers)
    for name in names:
        if name in aliases and name not in known:
            first = next(key for key, module in known.items() if module is aliases[name])
            raise ValueError(
                f"layers: {name!r} is the same module as {first!r}; name that one, which has a spectrum for "
                "each of its runs"
            )
        if name not in known:
            raise ValueError(f"layers: no submodule {name!r}; there are {', '.join(list(known)[1:20])}")
    return list(dict.fromkeys(names))


class _Layer:
    """A layer, with the moments of each of its runs in a pass."""

    def __init__(self, name: str, features: Features) -> None:
        self.name, self._features = name, features
        self.runs: list[_Moments] = []
        self._run = 0

    def begin(self) -> None:
        """The next run is the first of a pass."""
        self._run = 0

    def see(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        """A forward hook."""
        self._run += 1
        if self._run > len(self.runs):
            name = self.name if self._run == 1 else f"{self.name}#{self._run}"
            self.runs.append(_Moments(name, self._features))
        self.runs[self._run - 1].add(output)


class _Moments:
    """Σ h hᵀ and Σ h of one run of a layer."""

    def __init__(self, name: str, features: Features) -> None:
        self.name, self._features = name, features
        self._second: Tensor | None = None
        self._first: Tensor | None = None
        self._dtype = torch.float32
        self.count = 0

    def add(self, output: Any) -> None:
        """Take what the layer gave for a batch into account."""
        first = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(first, Tensor) or not first.is_floating_point() or first.ndim < 1:
            raise TypeError(
                f"layers: {self.name!r} gives {type(output).__name__}, no floating-point tensor; omit it"
            )
        rows = self._rows(first.detach())
        if rows.shape[1] > _LARGEST:
            raise ValueError(
                f"layers: {self.name!r} has {rows.shape[1]} features, whose second moment would take "
                f"{rows.shape[1] ** 2 * 8 / 1e9:.1f} GB; name smaller layers, or use features='channels' or "
                "'last'"
            )
        self._dtype = compute_dtype(rows.dtype)
        rows = rows.double()
        if self._second is None or self._first is None:
            self._second = rows.new_zeros(rows.shape[1], rows.shape[1])
            self._first = rows.new_zeros(rows.shape[1])
        elif rows.shape[1] != len(self._first):
            raise ValueError(
                f"layers: {self.name!r} gave {len(self._first)} features and then {rows.shape[1]}; choose "
                "other features, or inputs of one size"
            )
        self._second.addmm_(rows.mT, rows)
        self._first += rows.sum(0)
        self.count += len(rows)

    def _rows(self, h: Tensor) -> Tensor:
        if h.ndim <= 2 or self._features == "all":
            return h.reshape(len(h), -1)
        if self._features == "channels":
            return h.movedim(1, -1).reshape(-1, h.shape[1])
        return h.reshape(-1, h.shape[-1])

    def spectrum(self, center: bool) -> Spectrum:
        assert self._second is not None
        assert self._first is not None
        C = self._second / self.count
        if not bool(torch.isfinite(C).all()):
            raise ValueError(
                f"layers: activations of {self.name!r} are NaN or infinite; has the run diverged?"
            )
        if center:
            mean = self._first / self.count
            C = C - torch.outer(mean, mean)
        powers = eigh(C)[0].clamp_min(0)
        # With a mean that is subtracted, rounding is relative to what was there before.
        top = self._second.diagonal().amax() / self.count
        powers[powers <= top * torch.finfo(powers.dtype).eps * len(powers)] = 0.0
        return Spectrum(powers.sqrt().to(self._dtype), n_samples=self.count, method="exact")
