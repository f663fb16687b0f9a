"""A functional of singular values as a penalty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from overt._utils.checks import check_choice, check_integer, check_sizes
from overt.linalg import Factored
from overt.networks.end_to_end import end_to_end, product_of
from overt.networks.selection import Selector, check_layer_weights, check_selectors, selector_name
from overt.penalties.base import Penalty, check_norm_guard
from overt.penalties.checks import check_layers, check_names, check_settings
from overt.penalties.evaluation import Evaluator
from overt.penalties.functionals import SCALE_INVARIANT, resolve
from overt.penalties.kept import split
from overt.penalties.layers import Layer, layers_of, product_layer
from overt.penalties.methods import Method, make_solver
from overt.penalties.reports import Gradients, SpectralReport, spectral_report

__all__ = ["SCALE_INVARIANT", "SpectralPenalty"]

Of = Literal["weights", "product"]
Conv = Literal["kernel", "operator"]
Precision = Literal["bfloat16", "float32", "float64"]
POLAR_STEPS = 6


class SpectralPenalty(Penalty):
    """weight × Σ f(W) over a model's matrices, f a functional of the singular values.

    Parameters
    ----------
    model
        Whose parameters are penalized. It is held but not registered as a submodule.
    functional
        Name of a function of ``overt.functional``, or any callable from a matrix (m, n) to a scalar tensor.
        The default is ‖W‖_*/‖W‖_F (Zhao 2022, "Combining explicit and implicit regularization for efficient
        learning in deep networks").
    of
        ``"weights"``: each matrix that ``overt.measures.weight_spectra`` lists, but for embeddings and heads:
        weights of layers, the groups of a convolution together, the experts of a mixture and the gates of a
        recurrent layer one by one, parametrized weights as their layer uses them, a low-rank adapter (see
        ``adapters_of``) as what it adds. Frozen parameters are left out unless all are frozen. ``"product"``:
        the end-to-end matrix of ``model.product()``, or of an ``nn.Sequential`` of ``nn.Linear``.
    weight
        Finite number ≥ 0. May be changed at any time by ``penalty.weight = …``.
    norm_cap
        Guard for scale-invariant functionals; None for none. Such a functional rewards one huge entry where
        no data contradict it, since all else is negligible beside it. With a cap c, f(W) is multiplied by
        max(1, ‖W‖_F / c): above the cap growth costs again, as in ‖W‖_* / min(‖W‖_F, c).
    norm_floor
        The same guard below: f(W) is multiplied by min(1, ‖W‖_F / c), as in ‖W‖_* / max(‖W‖_F, c). The
        gradient of a scale-invariant functional grows like 1/‖W‖_F. From a start near zero (a tiny
        initialization, the zero factor of an adapter) it is huge at first, and Adam, which divides by its
        running mean square, then stands still for thousands of steps. A tenth of the norm that the solution
        will have is a good floor; at the whole of it the functional is no longer normalized.
    options
        Further arguments of a named functional, such as ``{"p": 0.5}`` for ``"schatten_norm"``.
    layers
        Which parameters: names or patterns of names of parameters or of their modules (``"encoder.*"``),
        types of modules (``nn.Linear``; that of the adapted layer for an adapter), functions (name, module) →
        bool, ``"adapters"``, ``"embeddings"``, ``"heads"``, or a list of these, any of which is enough. A
        tied parameter is found under each of its names. None for all but embeddings (and what is tied to
        one), heads (what a Hugging Face model has outside of its base model, or a timm model calls its
        classifier) and tables (scales, positions, class tokens, depthwise kernels). These are selected by
        their full name, not by a pattern; embeddings by ``nn.Embedding``, too, and both by a function. For
        ``of="weights"`` only, as are `layer_weights` and `conv`.
    layer_weights
        Mapping from such selectors to factors; the first that matches counts, 1 where none does, 0 leaves a
        layer out.
    method
        ``"svd"``; ``"gram"``: eigenvalues of the smaller Gram matrix; ``"polar"``: matrix products alone, for
        functionals of the polar factor U Vᵀ (the nuclear norm, its normalized form, the participation ratio),
        the SVD for others; ``"auto"``: see Notes.
    conv
        ``"kernel"``: what a convolution does to one patch, the kernel (out, in/groups, …) as one matrix
        (out/groups, in/groups·…) a group, side by side. ``"operator"``: the linear map on periodic signals of
        size `grid`, from the Fourier transform of the kernel (Sedghi, Gupta & Long 2019), with stride,
        dilation and groups.
    grid
        Size of the signal in each dimension, made larger where kernel or stride ask for it. A finer grid
        samples the same spectrum more densely.
    every
        Calls of :meth:`penalty` from one decomposition to the next. In between, the directions (polar
        factors) of the last one are kept and everything else follows the matrix, see Notes. They are a part
        of ``state_dict()``. Call :meth:`refresh` for another run, or when weights were loaded.
    precision
        Of the Gram matrix or the polar iteration. By default float64 for the one; for the other bfloat16
        where the device has instructions for it and the parameters are float32, else their dtype.
    polar_steps
        Of the iteration.

    Raises
    ------
    TypeError, ValueError
        An unknown functional or bad options, a callable that gives no 0-d tensor, a model without any matrix
        or with parameters that are not initialized yet, names that no matrix has, selectors that select
        nothing, adapters that add no low-rank matrix, weights without values (on the meta device), no
        end-to-end matrix, a number out of its range, arguments that exclude each other.

    Warns
    -----
    UserWarning
        All that is selected is frozen while the model is trained: the penalty has no gradient.

    Notes
    -----
    **Methods.** ``"auto"`` is the SVD in float64 and for small square matrices; in float32 the Gram matrix
    for elongated ones, as exact there; and for large ones, where bfloat16 is fast, the polar iteration. Six
    steps of it bring singular values above 2e-3 σ₁ within 2e-3 of one in float32, and in bfloat16 within 4e-3
    above 5e-2 σ₁ and 3e-2 down to 2e-3 σ₁. Smaller ones are pulled less, in proportion to their size. The
    value is too low by 3e-3 at most for Gaussian and nearly low-rank matrices and the power law i⁻¹, by 1e-2
    for i⁻² (sizes 64 to 512). Where nothing is below 1e-3 σ₁ the gradient has cosine 0.998 and more to the
    exact one (0.93 with most of them there, in bfloat16); where most are far below, as for i⁻² and for
    exponential decay, 0.2 to 0.5 at size 512.

    **every = k.** k times the weight at each k-th step has the same mean force, but it comes in jolts:
    gradient clipping cuts it, gradient accumulation may miss it, and Adam's second moment sees k times its
    mean square. Directions that are kept give the mean force to the order of the change of W in k steps. In
    both forms a singular value that would rest at zero swings about it by some k steps' worth of the force.
    With Adam on a 12×12 matrix and k = 10, kept directions ended 0.5 % above the objective of k = 1 and jolts
    2.5 % at a learning rate of 1e-3, but 1.5 % and 0.4 % at 3e-3: keep k times the learning rate small. Calls
    under ``no_grad`` are exact and do not count.

    **Parallel training.** Under DDP each process adds the same penalty to its loss, and the mean of the
    gradients is the one of a single process. Parameters of FSDP2 and tensor parallelism (``DTensor``) are
    gathered for a decomposition; in between only sums go over the wire, and directions are sharded alike.

    **Mixed precision.** Autocast does not reach the penalty, and half-precision parameters are computed in
    float32; a ``model.product()`` of its own computes in the dtype that it chooses.

    Examples
    --------
    >>> import torch
    >>> from overt.penalties import SpectralPenalty
    >>> model = torch.nn.Sequential(torch.nn.Linear(20, 20), torch.nn.ReLU(), torch.nn.Linear(20, 1))
    >>> penalty = SpectralPenalty(model, "normalized_nuclear_norm", weight=1e-2, layers="0", every=10)
    >>> x, y = torch.randn(8, 20), torch.randn(8, 1)
    >>> loss = torch.nn.functional.mse_loss(model(x), y) + penalty.penalty()
    >>> loss.backward()
    """

    def __init__(
        self,
        model: nn.Module,
        functional: str | Callable[[Tensor], Tensor] = "normalized_nuclear_norm",
        of: Of = "weights",
        weight: float = 1e-2,
        *,
        norm_cap: float | None = None,
        norm_floor: float | None = None,
        options: Mapping[str, Any] | None = None,
        layers: Selector | Sequence[Selector] | None = None,
        layer_weights: Mapping[Selector, float] | None = None,
        method: Method = "auto",
        conv: Conv = "kernel",
        grid: int | Sequence[int] = 16,
        every: int = 1,
        precision: Precision | None = None,
        polar_steps: int = POLAR_STEPS,
    ) -> None:
        super().__init__(model, weight)
        self.of: Of = check_choice(of, "of", Of)
        self.conv: Conv = check_choice(conv, "conv", Conv)
        self.functional = functional
        self.options = dict(options or {})
        self._function = resolve(functional, self.options)
        self._norm_cap = check_norm_guard(norm_cap, "norm_cap")
        self._norm_floor = check_norm_guard(norm_floor, "norm_floor")
        self.layers = None if layers is None else check_selectors(layers, "layers")
        self.layer_weights = check_layer_weights(layer_weights)
        several = isinstance(grid, (list, tuple))
        self.grid = check_sizes(grid, "grid") if several else check_integer(grid, "grid", least=1)
        self.method: Method = check_choice(method, "method", Method)
        self.precision: Precision | None = precision and check_choice(precision, "precision", Precision)
        self.polar_steps = check_integer(polar_steps, "polar_steps", least=1)
        check_settings(
            self._function,
            of=self.of,
            method=self.method,
            conv=self.conv,
            precision=self.precision,
            norm_guards={"norm_cap": self._norm_cap, "norm_floor": self._norm_floor},
            selectors={"layers": layers is not None, "layer_weights": self.layer_weights},
        )
        dtype = None if precision is None else getattr(torch, precision)
        solver = make_solver(self._function, self.method, self.polar_steps, dtype)
        self._evaluator = Evaluator(solver, check_integer(every, "every", least=1))
        if self.of == "product":
            product_of(model)  # refuses a model without an end-to-end map
        else:
            check_names(model, layers=self.layers, layer_weights=self.layer_weights)
        with torch.no_grad():
            found = self.penalized()
        check_layers(found, model, self._function, self.layers, self.layer_weights)

    @property
    def norm_cap(self) -> float | None:
        """The cap on the Frobenius norm, or None; may be set at any time."""
        return self._norm_cap

    @norm_cap.setter
    def norm_cap(self, value: float | None) -> None:
        self._norm_cap = check_norm_guard(value, "norm_cap")

    @property
    def norm_floor(self) -> float | None:
        """The floor of the Frobenius norm, or None; may be set at any time."""
        return self._norm_floor

    @norm_floor.setter
    def norm_floor(self, value: float | None) -> None:
        self._norm_floor = check_norm_guard(value, "norm_floor")

    @property
    def every(self) -> int:
        """Calls from one decomposition to the next; may be set at any time."""
        return self._evaluator.every

    @every.setter
    def every(self, value: int) -> None:
        self._evaluator.every = check_integer(value, "every", least=1)

    def refresh(self) -> None:
        """Make new decompositions at the next call: for another run, or after weights were loaded."""
        self._evaluator.forget()

    def reset(self) -> None:
        """The same as `refresh`."""
        self.refresh()

    def penalized(self, product: Tensor | None = None) -> list[Layer]:
        """The layers that are penalized, with names, weights and shapes."""
        if self.of == "product":
            return [product_layer(end_to_end(self.model) if product is None else product)]
        return layers_of(
            self.model, self.layers, self.layer_weights, operators=self.conv == "operator", grid=self.grid
        )

    def matrices(self, product: Tensor | None = None) -> list[Tensor | Factored]:
        """The matrices that are penalized, each of shape (m, n), attached to the parameters' graph."""
        return [layer.matrix() for layer in self.penalized(product)]

    def value(self, product: Tensor | None = None) -> Tensor:
        """Σ f(W) without the weight, 0-d, decomposed anew. `product` is for ``of="product"`` only."""
        layers = self.penalized(product)
        return self._sum(layers, self._evaluator.exact(layers))

    def penalty(self, product: Tensor | None = None) -> Tensor:
        """weight × value, a 0-d tensor to be added to the loss, by the directions kept where `every` > 1."""
        if self.weight == 0.0:
            return self._zero()
        if self.every == 1 or not torch.is_grad_enabled():
            return self.weight * self.value(product)
        layers = self.penalized(product)
        return self.weight * self._sum(layers, self._evaluator.amortized(layers))

    def report(self, *, gradients: Gradients = "objective") -> SpectralReport:
        """What the penalty does to each layer: value, norm, effective rank, and its share of the gradient.

        Parameters
        ----------
        gradients
            What the parameters' ``.grad`` hold: the gradient of loss plus penalty, or that of the loss alone.
            Call this between ``backward`` and the optimizer's step. Without gradients the share is None.
        """
        with torch.enable_grad():
            layers = self.penalized()
            terms = self._guarded(layers, self._evaluator.exact(layers))
            return spectral_report(layers, terms, self.weight, gradients)

    def describe(self) -> dict[str, Any]:
        """The settings as plain data; those added later only where they are not the default."""
        further = {
            "norm_floor": self.norm_floor,
            "layers": None if self.layers is None else [selector_name(s) for s in self.layers],
            "layer_weights": {selector_name(s): w for s, w in self.layer_weights.items()} or None,
            "method": None if self.method == "auto" else self.method,
            "conv": None if self.conv == "kernel" else f"operator on {self.grid}",
            "every": None if self.every == 1 else self.every,
            "precision": self.precision,
            "polar_steps": None if self.polar_steps == POLAR_STEPS else self.polar_steps,
        }
        return {
            **super().describe(),
            "functional": self._function.name,
            "of": self.of,
            "norm_cap": self.norm_cap,
            "options": {key: repr(value) for key, value in sorted(self.options.items())},
            **{key: value for key, value in further.items() if value is not None},
        }

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, tensor in self._evaluator.state().items():
            destination[prefix + name] = tensor

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        own, others = split(state_dict, prefix)
        self._evaluator.restore(own, self.penalized())
        super()._load_from_state_dict(others, prefix, *rest)

    def _sum(self, layers: Sequence[Layer], values: list[Tensor]) -> Tensor:
        terms = self._guarded(layers, values)
        if not terms:
            raise ValueError(f"{type(self.model).__name__} has no matrix to penalize any more")
        if len(terms) == 1:
            return terms[0]
        return torch.stack([term.to(terms[0].device, terms[0].dtype) for term in terms]).sum()

    def _guarded(self, layers: Sequence[Layer], values: list[Tensor]) -> list[Tensor]:
        guards = (self._norm_cap, self._norm_floor)
        return [layer.term(value, *guards) for layer, value in zip(layers, values, strict=True)]
