"""Any learner: how it is fitted again, and how its models are read, torch's and those that only predict."""

from __future__ import annotations

import inspect
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from overt._utils.checks import message
from overt.features.differences import difference_rows
from overt.features.examples import Examples
from overt.features.losses import Loss, label_losses, losses_of
from overt.features.shared import shared_moment
from overt.features.weighting import Weighting, moment
from overt.measures import measure
from overt.networks.guard import evaluated
from overt.networks.modules import device_of

Outputs = Literal["logits", "probabilities"]
_CHUNK = 1024
_SEVERAL = "fit: a classifier of several targets at once is not supported; fit one for each"


@dataclass(frozen=True)
class Measuring:
    """How M is measured; see :func:`overt.measure`."""

    outputs: Outputs = "logits"
    method: Literal["exact", "sketch"] = "exact"
    probes: int = 16
    max_samples: int | None = None
    seed: int = 0


class Fitted(ABC):
    """A fitted model behind a weighting of its inputs.

    Parameters
    ----------
    model
        What the learner returned.
    weighting
        None: inputs as they are.
    """

    def __init__(self, model: Any, weighting: Weighting | None) -> None:
        self.model = model
        self.weighting = weighting

    def transform(self, X: Tensor) -> Tensor:
        """What the model is fed with; a tensor of its own, since models may overwrite it."""
        return X.clone() if self.weighting is None else self.weighting(X)

    @abstractmethod
    def predict(self, X: Tensor) -> Any:
        """The model's predictions for inputs (n, …), in its own kind."""

    @abstractmethod
    def losses(self, data: Examples, loss: Loss) -> Tensor:
        """One number for each example, float64, on the CPU."""

    @abstractmethod
    def moment(self, X: Tensor, basis: str, shape: tuple[int, ...], how: Measuring) -> Tensor:
        """M = E[JᵀJ] by the inputs before the weighting, over inputs (n, …); see `weighting.moment`."""


class TorchFitted(Fitted):
    """A module or a differentiable function."""

    def module(self, like: Tensor) -> nn.Module:
        """The model with its weighting in front, for inputs like these."""
        if not isinstance(self.model, nn.Module):
            raise AttributeError(
                "module: the learner returned a function; call predict, or model(transform(X))"
            )
        if self.weighting is None:
            return self.model
        device = device_of(self.model)
        return nn.Sequential(
            self.weighting.module(like.dtype, like.device if device is None else device), self.model
        )

    def predict(self, X: Tensor) -> Tensor:
        """Outputs, in evaluation mode."""
        X = self._native(X)
        modules = [self.model] if isinstance(self.model, nn.Module) else []
        with evaluated(*modules), torch.no_grad():
            found = [_tensor(self.model(part), len(part)) for part in torch.split(self.transform(X), _CHUNK)]
        return torch.cat(found)

    def losses(self, data: Examples, loss: Loss) -> Tensor:
        """By the outputs."""
        y = data.copied()
        if not isinstance(y, Tensor) and y.dtype.kind not in "fiub":
            raise TypeError("y must be numbers for a torch model, got words; number the classes from 0")
        return losses_of(self.predict(data.X).cpu(), torch.as_tensor(y).cpu(), loss)

    def moment(self, X: Tensor, basis: str, shape: tuple[int, ...], how: Measuring) -> Tensor:
        """By :func:`overt.measure`; what the dimensions of an input share, by the same passes."""
        X = self._native(X)
        model: Any = lambda x: self.model(self.transform(x))  # noqa: E731
        if isinstance(self.model, nn.Module):
            model = self.module(X)
        if shape != tuple(X.shape[1:]):
            return shared_moment(
                model,
                X,
                basis,
                shape,
                outputs=how.outputs,
                probes=how.probes if how.method == "sketch" else None,
                max_samples=how.max_samples,
                seed=how.seed,
            )
        found = measure(
            model,
            X,
            basis,
            how.method,
            outputs=how.outputs,
            probes=how.probes,
            max_samples=how.max_samples,
            seed=how.seed,
        )
        if basis == "identity":
            return moment(found.values.reshape(1, *X.shape[1:]), basis, shape).cpu()
        assert found.factor is not None
        return moment(found.factor.reshape(-1, *X.shape[1:]), basis, shape).cpu()

    def _native(self, X: Tensor) -> Tensor:
        """Inputs on the model's device; arrays come in the precision of its parameters, too."""
        if not isinstance(self.model, nn.Module):
            return X
        dtypes = [p.dtype for p in self.model.parameters() if p.is_floating_point()]
        return X.to(device=device_of(self.model), dtype=dtypes[0] if dtypes else None)


class ArrayFitted(Fitted):
    """A model with ``predict``, as scikit-learn's: known by its values alone."""

    def predict(self, X: Tensor) -> NDArray[Any]:
        """What its ``predict`` says: values, or labels."""
        return np.asarray(self.model.predict(self._array(X)))

    def losses(self, data: Examples, loss: Loss) -> Tensor:
        """Squared errors; for classifiers by their probabilities, or, without these, wrong labels."""
        y = data.targets()
        if not self._classifies():
            found = self.predict(data.X)
            if found.dtype.kind not in "fiub" or y.dtype.kind not in "fiub":
                raise TypeError(f"fit: predictions of {found.dtype} and targets of {y.dtype} are no numbers")
            return losses_of(torch.as_tensor(found), torch.from_numpy(y), loss)
        if y.size != len(y):
            raise ValueError(_SEVERAL)
        y = y.reshape(-1)
        scores = self._scores(data.X, "probabilities")
        if loss == "error" or (loss == "auto" and scores is None):
            return torch.as_tensor(self.predict(data.X).reshape(-1) != y).double()
        if scores is None and callable(loss):
            scores = self._scores(data.X, "logits")
        return label_losses(scores, np.asarray(self.model.classes_), y, loss)

    def moment(self, X: Tensor, basis: str, shape: tuple[int, ...], how: Measuring) -> Tensor:
        """By finite differences."""
        X = X[: how.max_samples].double()
        flat = X.flatten(1).cpu().numpy()

        def outputs(x: NDArray[Any]) -> NDArray[Any]:
            inputs = torch.from_numpy(x).reshape(-1, *X.shape[1:])
            return self._rows(inputs, how.outputs).reshape(len(x), -1)

        J = difference_rows(outputs, flat, np.random.default_rng(how.seed))
        return moment(torch.from_numpy(J).reshape(-1, *X.shape[1:]), basis, shape) / len(X)

    def _rows(self, X: Tensor, outputs: Outputs) -> NDArray[Any]:
        """What is differentiated: values, decision values, or the logarithms of probabilities, or these."""
        if not self._classifies():
            found = self.predict(X)
            if found.dtype.kind != "f":
                raise ValueError(
                    f"fit: predictions must be real numbers, got {found.dtype}; labels have no derivative"
                )
            return found
        scores = self._scores(X, outputs)
        if scores is None:
            raise ValueError(
                f"outputs={outputs!r}: the classifier has neither decision_function nor predict_proba; "
                "labels have no derivative"
            )
        return scores

    def _scores(self, X: Tensor, outputs: Outputs) -> NDArray[Any] | None:
        x = self._array(X)
        if outputs == "logits" and hasattr(self.model, "decision_function"):
            return np.asarray(self.model.decision_function(x))
        if not hasattr(self.model, "predict_proba"):
            return None
        shares = np.asarray(self.model.predict_proba(x))
        return shares if outputs == "probabilities" else np.log(shares.clip(np.finfo(shares.dtype).tiny))

    def _classifies(self) -> bool:
        if isinstance(getattr(self.model, "classes_", None), list):
            raise ValueError(_SEVERAL)
        return hasattr(self.model, "classes_")

    def _array(self, X: Tensor) -> NDArray[Any]:
        found: NDArray[Any] = self.transform(X.double()).cpu().numpy()
        return found


def learner(fit: Any, seed: int) -> Callable[[Examples, Examples, Weighting | None], Fitted]:
    """How a learner is fitted: ``(data, held out, weighting)`` gives its model behind the weighting.

    Parameters
    ----------
    fit
        A function ``fit(X, y)`` that returns a model, or an estimator, of which clones are fitted. Where the
        function's signature names them, it gets ``seed``, ``generator`` (a new one from the seed, each time)
        and ``validation`` (the held-out pair, to stop early by). An estimator's ``random_state`` that is None
        becomes the seed.

    Raises
    ------
    TypeError
        `fit` is neither, or does not return a model.
    """
    if isinstance(fit, type):
        raise TypeError(
            f"fit must be a function or an estimator, got the class {fit.__name__}; make one of it"
        )
    if hasattr(fit, "fit") and not isinstance(fit, nn.Module):
        return partial(_fit_clone, fit, seed)
    if isinstance(fit, nn.Module) or not callable(fit):
        remedy = "give a function that trains a model and returns it, fit(X, y) -> model"
        raise TypeError(message("fit", "a function fit(X, y) or a scikit-learn estimator", fit, remedy))
    return partial(_call, fit, _named(fit), seed, [])


def stops_early(fit: Any) -> bool:
    """Whether a training function asks for the held-out examples."""
    return not hasattr(fit, "fit") and "validation" in _named(fit)


def _named(fit: Any) -> set[str]:
    try:
        return set(inspect.signature(fit).parameters)
    except (TypeError, ValueError):  # some builtins have no signature
        return set()


def _fit_clone(
    estimator: Any,
    seed: int,
    data: Examples,
    held: Examples,  # noqa: ARG001
    weighting: Weighting | None,
) -> Fitted:
    from sklearn.base import clone

    model = clone(estimator)
    if hasattr(model, "get_params"):
        open_seeds = {
            k for k, v in model.get_params().items() if k.split("__")[-1] == "random_state" and v is None
        }
        model.set_params(**dict.fromkeys(open_seeds, seed % 2**32))
    fitted = ArrayFitted(model, weighting)
    model.fit(fitted._array(data.X), data.targets())
    if not hasattr(model, "predict"):
        raise TypeError(message("fit", "an estimator that predicts", model, "give a regressor or classifier"))
    return fitted


def _call(
    fit: Callable[..., Any],
    named: set[str],
    seed: int,
    seen: list[Callable[[], Any]],
    data: Examples,
    held: Examples,
    weighting: Weighting | None,
) -> Fitted:
    def given(part: Examples) -> tuple[Any, Any]:
        X = part.X.clone() if weighting is None else weighting(part.X)
        return (X.numpy() if part.arrays else X), part.copied()

    more: dict[str, Any] = {}
    if "seed" in named:
        more["seed"] = seed
    if "generator" in named:
        more["generator"] = torch.Generator().manual_seed(seed)
    if "validation" in named:
        more["validation"] = given(held)
    model = fit(*given(data), **more)
    if any(model is other() for other in seen):
        raise ValueError("fit: it returned the same object twice; make a new model in each call")
    if isinstance(model, nn.Module) or (callable(model) and not hasattr(model, "predict")):
        fitted: Fitted = TorchFitted(model, weighting)
    elif hasattr(model, "predict"):
        fitted = ArrayFitted(model, weighting)
    else:
        remedy = "return the model at the end of the training function"
        raise TypeError(message("fit: what it returns", "the fitted model", model, remedy))
    seen.append(_reference(model))
    return fitted


def _reference(model: Any) -> Callable[[], Any]:
    """The model for as long as it lives elsewhere: a path makes many, and few are kept."""
    try:
        return weakref.ref(model)
    except TypeError:  # few objects of compiled classes cannot tell when they are gone
        return lambda: model


def _tensor(output: Any, count: int) -> Tensor:
    """The outputs for `count` inputs: a tensor, or what is called logits."""
    found = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", output)
    if not isinstance(found, Tensor) or found.ndim == 0 or len(found) != count:
        raise TypeError(message("fit: outputs of the model", f"a tensor ({count}, …)", output))
    return found
