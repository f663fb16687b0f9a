"""The measure: M = E[JᵀJ] of any differentiable model, in a basis."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal, overload

import torch
from torch import Tensor, nn

from overt._utils.checks import check_choice, check_flag, check_integer, check_number, check_seed, optional
from overt._utils.tensors import compute_dtype
from overt.linalg import make_basis
from overt.linalg.bases import is_eigen
from overt.measures.methods.exact import exact_diagonal, exact_eigen
from overt.measures.methods.lanczos import lanczos_eigen, twice_differentiable
from overt.measures.methods.pointwise import pointwise_values
from overt.measures.methods.sketch import ErrorsOver, sketch_diagonal, sketch_eigen
from overt.measures.pointwise import PointwiseSpectrum
from overt.measures.spectrum import Spectrum
from overt.networks.batches import Inputs, SideInputs
from overt.networks.guard import measuring
from overt.networks.modules import Forward, Model
from overt.networks.passes import Passes
from overt.networks.probes import Probing
from overt.networks.target import OutputMap, Target
from overt.networks.weights import weights_of

Method = Literal["exact", "sketch", "lanczos"]


@overload
def measure(
    model: Model,
    inputs: Inputs,
    basis: str | Tensor = ...,
    method: Method = ...,
    *,
    side_inputs: SideInputs = ...,
    outputs: OutputMap = ...,
    layer: str | None = ...,
    forward: Forward | None = ...,
    dims: Sequence[int] | None = ...,
    probes: int = ...,
    errors_over: ErrorsOver = ...,
    k: int = ...,
    tolerance: float = ...,
    max_samples: int | None = ...,
    memory_budget: int = ...,
    seed: int = ...,
    train: bool = ...,
    pointwise: Literal[False] = ...,
) -> Spectrum: ...


@overload
def measure(
    model: Model,
    inputs: Inputs,
    basis: str | Tensor = ...,
    method: Method = ...,
    *,
    side_inputs: SideInputs = ...,
    outputs: OutputMap = ...,
    layer: str | None = ...,
    forward: Forward | None = ...,
    dims: Sequence[int] | None = ...,
    probes: int = ...,
    errors_over: ErrorsOver = ...,
    k: int = ...,
    tolerance: float = ...,
    max_samples: int | None = ...,
    memory_budget: int = ...,
    seed: int = ...,
    train: bool = ...,
    pointwise: Literal[True],
) -> PointwiseSpectrum: ...


def measure(
    model: Model,
    inputs: Inputs,
    basis: str | Tensor = "eigen",
    method: Method = "exact",
    *,
    side_inputs: SideInputs = None,
    outputs: OutputMap = "logits",
    layer: str | None = None,
    forward: Forward | None = None,
    dims: Sequence[int] | None = None,
    probes: int = 16,
    errors_over: ErrorsOver = "data",
    k: int = 32,
    tolerance: float = 1e-4,
    max_samples: int | None = None,
    memory_budget: int = 2**30,
    seed: int = 0,
    train: bool = False,
    pointwise: bool = False,
) -> Spectrum | PointwiseSpectrum:
    """Spectrum √diag(U M U*) of M = E_x[J(x)ᵀJ(x)], J the Jacobian of a model's outputs by its inputs.

    For a deep linear network M = WᵀW with W the product of its layers: in the eigenbasis the values are the
    singular values of W. For a deep circular convolution with end-to-end filter h they are |ĥ| in the
    Fourier basis, for a diagonal network its coordinates in the identity basis. M is also known as the
    expected gradient outer product.

    The model is measured in evaluation mode, without ``torch.autocast`` and ``torch.compile``, so in the
    precision of its parameters, and is left as it was found, gradients included.

    Parameters
    ----------
    model : torch.nn.Module or callable
        Takes a batch (n, *shape). Each output must depend on its own input alone, which is checked.
    inputs : Tensor, dict of Tensors or iterable
        A batch (n, *shape), or a DataLoader or other iterable of batches or (inputs, targets) pairs. Of a
        dict the first entry are the inputs, and the others go beside them, all by name. They are moved to the
        model's device. Token ids have no derivative: see ``forward``.
    basis : str or Tensor
        ``"eigen"``, ``"identity"``, ``"fourier"``, ``"dct"``, ``"haar"`` or a matrix with orthonormal rows;
        see :func:`overt.linalg.make_basis` for channels and ``dims``.
    method : str
        - ``"exact"``: all outputs of all inputs, by one backward pass for each output (or one forward-mode
          pass for each entry of an input, if these are fewer). Eigenvalues come from the stacked Jacobians,
          not from M, whose eigenvalues have half of the digits.
        - ``"sketch"``: ``probes`` random vector–Jacobian products for each input (all outputs, if there are
          no more). In a fixed basis the squared values have no bias. In the eigenbasis their bias is
          corrected to second order, and bounded by ``upper`` and ``lower``: for each k, the sum of the k
          largest eigenvalues of M is at most the expected sum of the first k ``upper²``, and at least that
          of the first k ``lower²``. ``tail`` is the sum of the values that were not found.
        - ``"lanczos"``: the ``k`` leading values for the given inputs by block Lanczos iteration, without
          sketching error. It needs many passes over the inputs, and forward-mode or second derivatives.
    side_inputs : Tensor, tuple or dict of Tensors, optional
        What the model takes beside inputs that are a tensor, such as a mask or a time: tensors (n, …), cut
        with the inputs. They follow the inputs, or are given by name: ``model(x, mask)``, ``model(x, t=t)``.
        No derivative is taken by them.
    outputs : str or callable
        ``"logits"`` (the output as it is), ``"probabilities"`` (softmax over the last dimension),
        ``"margin"`` (largest minus second largest entry), or a function of the output, such as
        ``lambda y: y[0]`` for a tuple.
    layer : str, optional
        Name of a submodule whose output is used instead of the model's.
    forward : callable, optional
        How the model is called, ``forward(model, x)``, side inputs after x or by name. A language model is
        measured from its embeddings, with ``forward=lambda model, e: model(inputs_embeds=e)``.
    dims : sequence of int, optional
        Dimensions of an input that a named basis transforms, by default the last two, or the only one. Not
        for the eigenbasis.
    probes : int
        Random products for each input of a sketch.
    errors_over : str
        ``"data"``: the inputs are an independent sample, and ``stderr`` covers sampling of data and probes.
        ``"probes"``: the inputs are the whole population, as is a single input. See ``Spectrum.covers``.
    k, tolerance : int, float
        For Lanczos: how many values, and the accepted residual of an eigenvalue relative to the largest
        one, in [0, 1). The error of an isolated eigenvalue is of the order of the residual squared.
    max_samples : int, optional
        Use only the first so many inputs.
    memory_budget : int
        Bytes for one pass and, in the eigenbasis, for the rows that are kept. The graph of one input sets the
        size of a chunk; parameters are not counted.
    seed : int
        Of the probes. Draws also depend on the batches and the memory budget.
    train : bool
        Measure in the model's present mode. Refused if batch statistics or dropout are active.
    pointwise : bool
        The singular values of J(x) at each input instead, whose functionals are averaged afterwards:
        E Σσ_i(J(x))^p, ranks, log pseudo-determinants. Exact, in the eigenbasis: K backward or D forward-mode
        passes over K outputs or D entries of an input, then one decomposition for each input. What takes more
        than the memory budget for one input, or more than 1e14 multiplications for all of them, is refused
        before it starts. All inputs are held.

    Returns
    -------
    Spectrum or PointwiseSpectrum
        In the eigenbasis at most min(D, outputs × inputs) values, all others are zero; in a fixed basis all.
        With `pointwise` min(D, outputs) values for each input.

    Raises
    ------
    TypeError, ValueError
        Wrong arguments; integer inputs; a forward pass that fails; outputs that do not depend on the inputs
        differentiably, differ between passes, or depend on other inputs of the batch or on the place in it,
        as with a mask that `forward` closes over; NaN or infinite Jacobians; exact eigenvalues beyond the
        memory budget, before the first pass if the first batch tells.

    References
    ----------
    Feng, R., Zheng, K., Huang, Y., Zhao, D., Jordan, M., Zha, Z.-J. (2022). Rank diminishing in deep neural
    networks. NeurIPS.

    Hutchinson, M. F. (1990). A stochastic estimator of the trace of the influence matrix. Communications in
    Statistics 19(2).

    Trivedi, S., Wang, J., Kpotufe, S., Shakhnarovich, G. (2014). A consistent estimator of the expected
    gradient outerproduct. UAI.

    Examples
    --------
    >>> import torch
    >>> from overt.measures import measure
    >>> model = torch.nn.Linear(2, 2, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    >>> measure(model, torch.zeros(5, 2)).values.round(decimals=4)
    tensor([4., 3.])
    """
    eigen = is_eigen(basis, dims)
    check_choice(method, "method", Method)
    check_choice(errors_over, "errors_over", ErrorsOver)
    lanczos = method == "lanczos"
    if lanczos and not eigen:
        raise ValueError("method: 'lanczos' finds eigenvalues; in another basis use 'exact' or 'sketch'")
    probes = check_integer(probes, "probes", least=1)
    k = check_integer(k, "k", least=1)
    memory_budget = check_integer(memory_budget, "memory_budget", least=1)
    max_samples = optional(check_integer, max_samples, "max_samples", least=1)
    tolerance = check_number(tolerance, "tolerance", least=0, below=1)
    seed = check_seed(seed)
    target = Target(model, outputs, layer, forward)
    check_flag(train, "train")
    if check_flag(pointwise, "pointwise"):
        if not eigen or method != "exact":
            name, value = ("method", method) if eigen else ("basis", basis)
            raise ValueError(
                f"{name}: pointwise=True is exact and in the eigenbasis, got {value!r}; leave it out"
            )
        return _point_by_point(target, inputs, side_inputs, max_samples, memory_budget, train)
    with measuring(target.model, train=train), twice_differentiable() if lanczos else nullcontext():
        passes = Passes(
            target,
            inputs,
            side_inputs=side_inputs,
            memory_budget=memory_budget,
            vectors=probes if method == "sketch" else 0,
            max_samples=max_samples,
            keep=lanczos,
        )
        probing = None if method == "exact" else Probing(passes.outputs, probes, seed)
        if lanczos:
            found = lanczos_eigen(passes, k, tolerance, seed)
        elif not eigen:
            chosen = make_basis(basis, passes.shape, dims=dims)
            if probing is None:
                found = exact_diagonal(passes, chosen, errors_over)
            else:
                found = sketch_diagonal(passes, chosen, probing, errors_over)
            found["dims"] = chosen.dims
        elif probing is None or (probing.all_outputs and errors_over == "probes"):
            found = exact_eigen(passes, memory_budget)
        else:
            found = sketch_eigen(passes, probing, errors_over, memory_budget)
    # Sums were kept in double precision; what is returned has the precision of the inputs.
    dtype = compute_dtype(passes.dtype)
    found = {name: part.to(dtype) if isinstance(part, Tensor) else part for name, part in found.items()}
    return Spectrum(basis=basis, method=method, input_shape=passes.shape, **found)


def _point_by_point(
    target: Target,
    inputs: Inputs,
    side_inputs: SideInputs,
    max_samples: int | None,
    memory_budget: int,
    train: bool,
) -> PointwiseSpectrum:
    with measuring(target.model, train=train):
        passes = Passes(
            target,
            inputs,
            side_inputs=side_inputs,
            memory_budget=memory_budget,
            whole=True,
            max_samples=max_samples,
            keep=True,
        )
        values = pointwise_values(passes, memory_budget)
    depth = len(weights_of(target.model)) if isinstance(target.model, nn.Module) else 1
    rounding = max(1, depth) * max(passes.outputs, passes.input_size) * torch.finfo(passes.dtype).eps
    return PointwiseSpectrum(values, rtol=min(rounding, 0.5))
