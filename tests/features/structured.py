"""Targets that depend on few directions of the input, and one that depends on all."""

from __future__ import annotations

import numpy as np


def structured(name, n, seed, n_test=2000, noise=0.1):
    """X, y, new X and its targets without noise, both in units of the target's spread."""
    g = np.random.default_rng(seed)
    if name == "staircase":  # 3 of 50 inputs
        draw, f = cube(g, 50), lambda X: X[:, 0] + X[:, 0] * X[:, 1] + X[:, :3].prod(1)
    elif name == "parity":  # 3 of 20
        draw, f = cube(g, 20), lambda X: X[:, :3].prod(1)
    elif name == "rotated":  # a subspace of dimension 3 of 60
        U = np.linalg.qr(g.standard_normal((60, 3)))[0]
        draw, f = gauss(g, 60), lambda X: (X @ U)[:, 0] * (X @ U)[:, 1] + np.sin(2 * (X @ U)[:, 2])
    else:  # all 50 inputs matter alike
        draw, f = gauss(g, 50), lambda X: np.sin(2 * X).sum(1)
    X, new = draw(n), draw(n_test)
    spread = f(new).std()
    return X, f(X) / spread + noise * g.standard_normal(n), new, f(new) / spread


def cube(g, d):
    return lambda n: g.choice([-1.0, 1.0], (n, d))


def gauss(g, d):
    return lambda n: g.standard_normal((n, d))
