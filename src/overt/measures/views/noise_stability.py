"""How much a network damps noise that enters between its layers (Arora, Ge, Neyshabur & Zhang 2018)."""

from __future__ import annotations

import math

import torch
from torch import nn

from overt.measures.views._chain import chain_of
from overt.measures.views._noise_probe import NoiseProbe
from overt.measures.views.stability import LayerStability, NoiseStability
from overt.networks.batches import Inputs, batches
from overt.networks.guard import check_module, untouched
from overt.networks.streams import home_of

__all__ = ["LayerStability", "NoiseStability", "noise_stability"]


def noise_stability(
    model: nn.Module, inputs: Inputs, *, noise: float = 0.1, draws: int = 4, seed: int = 0
) -> NoiseStability:
    """Layer cushion, interlayer cushion, activation contraction and interlayer smoothness of a network.

    For a chain x^i = A^i φ(x^{i−1}), with M^{i,j} the map from the output of layer i to that of layer j,
    J^{i,j} its Jacobian at x^i and S the data (Arora et al. 2018):

    - layer cushion μ_i: the largest number with μ_i ‖A^i‖_F ‖φ(x^{i−1})‖ ≤ ‖A^i φ(x^{i−1})‖ on S;
    - interlayer cushion μ_{i,j}: the largest with μ_{i,j} ‖J^{i,j}‖_F ‖x^i‖ ≤ ‖J^{i,j} x^i‖;
    - activation contraction c: the smallest with ‖x^i‖ ≤ c ‖φ(x^i)‖;
    - interlayer smoothness ρ: the largest with ‖M^{i,j}(x^i + η) − M^{i,j}(x^i) − J^{i,j} η‖ ≤ ‖η‖ ‖x^j‖/(ρ
      ‖x^i‖).

    **What they bound.** The main theorem there: for a fully connected ReLU network without biases of depth d
    whose ρ is at least 3d, a randomly compressed network, not this one, has with high probability over m
    training examples S and the compression an expected error of at most the share of S with margin below γ
    plus Õ(√(N/m)), N being `NoiseStability.complexity`. So N is an effective number of parameters in the
    sense of the number of examples that guarantee generalization, up to constants and logarithmic factors. It
    is commonly larger than the number of parameters, in which case the bound says nothing. It is *not* the
    number at which this model could be stored with the same accuracy (that is `effective_parameters`, which
    bounds nothing on other data), and neither bounds the other. A minimum over data can only fall with more
    data, so on a part of S all this is optimistic.

    **Where this computation departs.** With biases, x^i contains them and the theorem does not apply; a
    convolution is taken as the matrix that it is, whose bound is far looser than the paper's for
    convolutions; φ is everything between two layers, pooling too; η is Gaussian of norm `noise`·‖x^i‖, where
    the theorem has the error of its own random compression, and its ρ holds for all but a share δ of draws,
    not for `draws` of them. For ReLU without biases M(x) = J x, and ρ is as in the paper. What does not hold
    is listed in ``unmet``.

    Parameters
    ----------
    model
        An ``nn.Sequential`` of linear layers or convolutions with activations between; run in evaluation
        mode.
    inputs
        A tensor (N, …), or a DataLoader: the training data, for the theorem. The Jacobians take one backward
        pass for each number in each layer's output. Batches are cut in parts that fit 256 MB.
    noise
        Norm of η relative to ‖x^i‖.
    draws
        Number of η for each input and layer.
    seed
        Of the draws, which also depend on the batches.

    Raises
    ------
    TypeError, ValueError
        The model is no chain, has normalization layers, or gives a layer's output that is 0 or not finite.

    References
    ----------
    Arora, S., Ge, R., Neyshabur, B., Zhang, Y. (2018). Stronger generalization bounds for deep nets via a
    compression approach. ICML.

    Examples
    --------
    For a linear map the interlayer map is linear, and the cushion is ‖Wx‖/(‖W‖_F ‖x‖).

    >>> import torch
    >>> from overt.measures.views import noise_stability
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False))
    >>> model[0].weight.data = torch.eye(4)
    >>> round(noise_stability(model, torch.randn(5, 4)).layers["0"].cushion, 6)
    0.5
    """
    model = check_module(model)
    if not (math.isfinite(noise) and noise > 0):
        raise ValueError(f"noise must be a finite number above 0, got {noise!r}")
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise ValueError(f"draws must be an int ≥ 1, got {draws!r}")
    links = chain_of(model)
    probe = NoiseProbe(links, noise, draws, torch.Generator().manual_seed(seed))
    with untouched(model):
        for x in batches(inputs, device=home_of(model)):
            probe.add(x)
    if probe.count == 0:
        raise ValueError("inputs hold no example; give at least one")
    return probe.result()
