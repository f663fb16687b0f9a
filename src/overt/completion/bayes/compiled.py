"""Half a sweep compiled by numba: one small Gaussian a line, from a stream of its entries."""

from __future__ import annotations

import math

import numba
import numpy as np

_BLOCK = 128  # entries gathered at a time, one row for each coordinate: products are summed along entries
_LANES = 16  # entries in a vector instruction, or a few


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def draw_lines(  # type: ignore[no-untyped-def]
    first,
    last,
    start,
    other,
    y,
    design,
    shift,
    root,
    precision,
    own,
    prior,
    centres,
    normals,
    sample,
    mean,
    misfit,
):
    """Draw coordinates of the lines ``first … last−1``; see :mod:`.half_sweep`."""
    d = design.shape[1]
    kind = design.dtype
    block = np.zeros((d + 1, _BLOCK), kind)
    gram = np.empty((d + 1, d + 1), kind)
    L = np.empty((d, d), kind)
    x = np.empty(d, kind)
    zero = block[0, 0]
    tiny = zero + 1e-12
    for i in range(first, last):
        gram[:] = 0
        t = start[i]
        while t < start[i + 1]:
            size = min(_BLOCK, start[i + 1] - t)
            padded = (size + _LANES - 1) // _LANES * _LANES
            for q in range(size):
                j = other[t + q]
                for c in range(d):
                    block[c, q] = design[j, c]
                block[d, q] = root[j] * (y[t + q] - shift[j])
            for q in range(size, padded):
                for c in range(d + 1):
                    block[c, q] = 0
            for a in range(d + 1):
                for c in range(a + 1):
                    total = zero
                    for q in range(padded):
                        total += block[a, q] * block[c, q]
                    gram[a, c] += total
            t += size
        for a in range(d + 1):
            for c in range(a):
                gram[c, a] = gram[a, c]
        weight = precision * own[i]
        centre = centres[i] if centres.shape[0] > 1 else centres[0]
        for a in range(d):
            total = weight * gram[a, d]
            for c in range(d):
                total += prior[a, c] * centre[c]
            for c in range(a + 1):
                L[a, c] = weight * gram[a, c] + prior[a, c]
            for c in range(a):
                rest = L[a, c]
                for q in range(c):
                    rest -= L[a, q] * L[c, q]
                L[a, c] = rest / L[c, c]
            rest = L[a, a]
            for q in range(a):
                rest -= L[a, q] * L[a, q]
                total -= L[a, q] * x[q]
            L[a, a] = math.sqrt(max(rest, tiny))
            x[a] = total / L[a, a]
        for a in range(d - 1, -1, -1):
            expected, drawn = x[a], x[a] + normals[i, a]
            for c in range(a + 1, d):
                expected -= L[c, a] * mean[i, c]
                drawn -= L[c, a] * sample[i, c]
            mean[i, a] = expected / L[a, a]
            sample[i, a] = drawn / L[a, a]
        square = gram[d, d]
        for a in range(d):
            line = -2 * gram[a, d]
            for c in range(d):
                line += gram[a, c] * sample[i, c]
            square += sample[i, a] * line
        misfit[i] = max(square, zero)
