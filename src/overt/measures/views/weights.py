"""Spectra of a model's weights and of products of them: no data needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from overt._utils.tensors import compute_dtype
from overt.linalg import Factored, singular_values
from overt.measures.spectrum import Spectrum
from overt.measures.views.convolution import Boundary, convolution_spectrum
from overt.networks.guard import untouched
from overt.networks.modules import check_module
from overt.networks.weights import acting, weights_of

_PASSED_OVER = (nn.Identity, nn.Dropout)
_ACTIVATIONS = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.Hardtanh,
    nn.ReLU6,
    nn.Hardswish,
)


def weight_spectra(
    model: nn.Module,
    *,
    input_sizes: Mapping[str, int | tuple[int, ...]] | None = None,
    boundary: Boundary = "circular",
) -> dict[str, Spectrum]:
    """Singular values of each weight of a model, by the name of the parameter.

    These are the matrices that `overt.SpectralPenalty` penalizes. Every parameter of two or more dimensions
    counts: linear layers, embeddings, projections of attention, bare parameters. A tied weight appears once,
    under its first name. A weight that is computed (weight or spectral normalization, pruning; as a
    parametrization or by the older hooks of ``torch.nn.utils``) appears under its own name and is taken as it
    acts in evaluation. The factors of a low-rank adapter (LoRA) appear as their product, under the adapter's
    name. A parameter of three dimensions that is no kernel is a batch of matrices, such as the experts of a
    mixture: each appears on its own, as ``"experts.weight[0]"``.

    A convolution's kernel (out, in/groups, kh, kw) is taken as the matrix (out/groups, in/groups·kh·kw) of
    each group. **That is not the spectrum of the convolution as an operator**: it is the spectrum of what one
    output position does to its patch. The two are related by σ₁(operator) ≤ √(kh·kw) σ₁(matrix) at stride 1,
    because a pixel is in kh·kw patches. For the operator itself give the sizes of the inputs of the layers
    that matter.

    Parameters
    ----------
    model
        Wrappers of ``torch.compile`` and data parallelism are looked through.
    input_sizes
        Name of a convolution (with or without ``.weight``) to the spatial size of its input, such as
        ``{"conv1": (32, 32)}``; the result is then `convolution_spectrum` of it.
    boundary
        For these, see `convolution_spectrum`.

    Returns
    -------
    dict of Spectrum
        Descending, min(m, n) values for an (m, n) matrix, in the dtype of the weight (float32 at least).

    Raises
    ------
    TypeError, ValueError
        `model` is no module, a parameter is not initialized or not finite, or `input_sizes` names what is not
        there.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import weight_spectra
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> {name: len(spectrum.values) for name, spectrum in weight_spectra(model).items()}
    {'0.weight': 3, '2.weight': 2}
    """
    model = check_module(model)
    sizes = {name.removesuffix(".weight"): size for name, size in (input_sizes or {}).items()}
    spectra: dict[str, Spectrum] = {}
    for weight in weights_of(model):
        W = weight.tensor()
        if isinstance(W, Factored):
            spectra[weight.name] = Spectrum(singular_values(W))
            continue
        for name, part in weight.parts(W):
            layer = name.removesuffix(".weight")
            if weight.convolution is not None and layer in sizes:
                spectra[name] = convolution_spectrum(weight.convolution, sizes.pop(layer), boundary=boundary)
            else:
                spectra[name] = _of(weight.blocks(part))
    if sizes:
        raise ValueError(
            f"input_sizes names {', '.join(sorted(sizes))}, which is no convolution here; the weights are "
            f"{', '.join(spectra) or 'none'}"
        )
    return spectra


def product_spectra(model: nn.Module, *, through_activations: bool = False) -> dict[str, Spectrum]:
    """Singular values of the products of consecutive linear layers.

    Layers are consecutive where the order is certain: in an ``nn.Sequential``, with nothing between them but
    identities and dropout (which is none in evaluation). Each maximal run of two or more is multiplied; a
    layer that is there twice is multiplied twice. A module with a method ``product()`` that gives a matrix,
    such as `overt.DeepLinear`, is a run of its own. Biases shift the output and are no part of the product.

    Parameters
    ----------
    model
        Searched for such runs at any depth.
    through_activations
        Also multiply across element-wise activations. The product is then not what the model computes, but
        what its weights would compute without the activations.

    Returns
    -------
    dict of Spectrum
        All min(m, n) values, those beyond the narrowest width exactly 0. Under the names of the first and
        last layer, ``"0 … 2"``, or of the module with the product (``""`` if it is the model itself). Empty
        if there is no run.

    Raises
    ------
    TypeError
        `model` is no module.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import product_spectra
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 5), torch.nn.ReLU())
    >>> {name: len(spectrum.values) for name, spectrum in product_spectra(model).items()}
    {'0 … 1': 4}
    """
    model = check_module(model)
    spectra: dict[str, Spectrum] = {}
    for prefix, module in model.named_modules():
        if isinstance(module, nn.Sequential):
            for run in _runs(module, through_activations):
                names = [f"{prefix}.{name}" if prefix else name for name, _ in run]
                weights = [acting(layer, "weight") for _, layer in run]
                spectra[f"{names[0]} … {names[-1]}"] = _of_product(weights)
        elif callable(getattr(module, "product", None)):
            with untouched(module), torch.no_grad():
                product: Any = cast(Any, module).product()
            if isinstance(product, Tensor) and product.ndim == 2:
                # A product alone does not say how many values its inner widths leave.
                spectra[prefix] = _of(product.unsqueeze(0))
    return spectra


def _runs(sequence: nn.Sequential, through_activations: bool) -> Iterator[list[tuple[str, nn.Linear]]]:
    run: list[tuple[str, nn.Linear]] = []
    passed = (*_PASSED_OVER, *(_ACTIVATIONS if through_activations else ()))
    # Not named_children(), which leaves out the second place of a module that is there twice.
    for name, layer in sequence._modules.items():
        if isinstance(layer, nn.Linear):
            run.append((name, layer))
        elif not isinstance(layer, passed):
            if len(run) > 1:
                yield run
            run = []
    if len(run) > 1:
        yield run


def _of_product(weights: list[Tensor]) -> Spectrum:
    """σ of W_N … W_1, multiplied in double precision; only min of all widths values can differ from 0."""
    dtype = compute_dtype(weights[0].dtype)
    product = torch.linalg.multi_dot([w.double() for w in reversed(weights)])
    rank = min(min(w.shape) for w in weights)
    values = singular_values(product).to(dtype)
    values[rank:] = 0.0
    return Spectrum(values)


def _of(matrices: Tensor) -> Spectrum:
    """All singular values of matrices side by side, descending."""
    values = singular_values(matrices.to(compute_dtype(matrices.dtype)))
    return Spectrum(values.flatten().sort(descending=True).values)
