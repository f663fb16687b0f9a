"""Feature machines on a CUDA device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from overt import RFMClassifier, RFMRegressor


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_changes_nothing_but_rounding():
    g = np.random.default_rng(0)
    X = g.normal(size=(120, 5))
    y = X[:, 0] * X[:, 1] + 0.05 * g.normal(size=120)
    here, there = RFMRegressor().fit(X, y), RFMRegressor(device="cuda").fit(X, y)
    for a, b in zip(here.predict(X, return_std=True), there.predict(X, return_std=True), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(here.M_, there.M_, atol=1e-4 * np.abs(here.M_).max())
    assert RFMClassifier(device="cuda").fit(X, y > 0).score(X, y > 0) > 0.9
