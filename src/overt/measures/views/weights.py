"""Spectra of a model's weights and of products of them: no data needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from overt._utils.checks import check_choice, check_flag, message
from overt._utils.tensors import compute_dtype
from overt.linalg import Factored, singular_values
from overt.measures.spectrum import Spectrum
from overt.measures.views.convolution import Boundary, convolution_spectrum
from overt.networks.guard import untouched
from overt.networks.modules import check_module
from overt.networks.weights import acting, weights_of

_PASSED_OVER = (nn.Identity, nn.Dropout)
_PIECEWISE = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Hardtanh, nn.Hardswish)  # a ReLU6 is a Hardtanh
_SMOOTH = (nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.Softplus)


def weight_spectra(
    model: nn.Module,
    *,
    input_sizes: Mapping[str, int | tuple[int, ...]] | None = None,
    boundary: Boundary = "circular",
) -> dict[str, Spectrum]:
    """Singular values of each weight of a model, by the name of the parameter.

    These are the matrices that `overt.SpectralPenalty` penalizes, and embeddings and heads. What counts is
    what a module does with a parameter: linear layers, embeddings, projections of attention and bare
    parameters are matrices. Class tokens, positions that are added, scales, depthwise kernels and the
    ``A_log`` of a state space are vectors or tables, and do not appear. A tied weight appears once, under its
    first name. A quantized one appears as the numbers that it stands for. A computed weight (weight or
    spectral normalization, pruning; as a parametrization or by the older hooks of ``torch.nn.utils``) appears
    under its own name, as it acts in evaluation. A low-rank adapter appears as what it adds, such as the
    product of LoRA's factors, under the adapter's name.

    A parameter that holds several matrices appears as each of them: ``"experts.down_proj[0]"`` for a batch
    (E, m, n), such as the experts of a mixture; ``"experts.gate_up_proj[0,1]"`` where Hugging Face's experts
    hold two each; ``"lstm.weight_ih_l0[3]"`` for the gates of a recurrent layer; and ``in_proj_weight[0]`` to
    ``[2]`` for the queries, keys and values of ``nn.MultiheadAttention``. A linear layer whose outputs
    another module cuts into parts (GPT-2's ``c_attn``) is one matrix.

    A convolution's kernel (out, in/groups, kh, kw) is taken as the matrix (out/groups, in/groups·kh·kw) of
    each group. **That is not the spectrum of the convolution as an operator**, but of the map from a patch to
    one output position. At stride 1, σ₁(operator) ≤ √(kh·kw) σ₁(matrix), because a pixel is in kh·kw patches.
    For the operator, give ``input_sizes``.

    Parameters
    ----------
    model
        Wrappers of ``torch.compile`` and data parallelism are looked through.
    input_sizes
        From the name of a convolution (with or without ``.weight``) to the spatial size of its input, such as
        ``{"conv1": (32, 32)}``, for the `convolution_spectrum` of that layer.
    boundary
        As for `convolution_spectrum`.

    Returns
    -------
    dict of Spectrum
        Descending, min(m, n) values for an (m, n) matrix, in the dtype of the weight (float32 at least).

    Raises
    ------
    TypeError, ValueError
        `model` is no module, a parameter is not initialized, without values (on the meta device) or not
        finite, `input_sizes` names no convolution
        of the model, or `boundary` is unknown.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import weight_spectra
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> {name: len(spectrum.values) for name, spectrum in weight_spectra(model).items()}
    {'0.weight': 3, '2.weight': 2}
    """
    model = check_module(model)
    check_choice(boundary, "boundary", Boundary)
    if not isinstance(input_sizes, Mapping | None):
        raise TypeError(message("input_sizes", "a mapping from names of convolutions to sizes", input_sizes))
    sizes = {str(name).removesuffix(".weight"): size for name, size in (input_sizes or {}).items()}
    spectra: dict[str, Spectrum] = {}
    for weight in weights_of(model):
        layers = [owner.removesuffix(".weight") for owner, _ in weight.owners]
        layer = next((layer for layer in layers if layer in sizes), None)
        if weight.role == "table" and layer is None:
            continue
        W = weight.tensor()
        if isinstance(W, Factored):
            spectra[weight.name] = Spectrum(singular_values(W))
            continue
        for name, _, part in weight.parts(W):
            if weight.convolution is not None and layer is not None:
                spectra[name] = convolution_spectrum(weight.convolution, sizes.pop(layer), boundary=boundary)
            else:
                spectra[name] = _of(weight.blocks(part))
    if sizes:
        raise ValueError(
            f"input_sizes: {', '.join(sorted(sizes))} is no convolution of the model; its weights are "
            f"{', '.join(spectra) or 'none'}"
        )
    return spectra


def product_spectra(model: nn.Module, *, through_activations: bool = False) -> dict[str, Spectrum]:
    """Singular values of the products of consecutive linear layers.

    Layers are consecutive where the order is certain: in an ``nn.Sequential``, with nothing between them but
    identities and dropout (which is none in evaluation). Each maximal run of two or more is multiplied; a
    layer that occurs twice is multiplied twice. A module with a method ``product()`` that returns a matrix,
    such as `overt.DeepLinear`, is a run of its own. Biases shift the output and are no part of the product.

    Parameters
    ----------
    model
        Searched for such runs at any depth.
    through_activations
        Also multiply across element-wise activations: the product is the map of the weights without them.

    Returns
    -------
    dict of Spectrum
        All min(m, n) values, those beyond the narrowest width exactly 0, under the names of the first and
        last layer, ``"0 … 2"``, or of the module with the product (``""`` for the model itself). Empty if
        there is no run.

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
    check_flag(through_activations, "through_activations")
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
                # The product alone does not tell the inner widths.
                spectra[prefix] = _of(product.unsqueeze(0))
    return spectra


def _runs(sequence: nn.Sequential, through_activations: bool) -> Iterator[list[tuple[str, nn.Linear]]]:
    run: list[tuple[str, nn.Linear]] = []
    passed = (*_PASSED_OVER, *((*_PIECEWISE, *_SMOOTH) if through_activations else ()))
    # Not named_children(), which lists a module that occurs twice only once.
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
