"""Products of Gaussian factors, exact or with noise, observed at uniform positions."""

import numpy as np
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """An n×n matrix, scaled to entries of variance 1; `rho` entries are observed per degree of freedom."""

    name = "low_rank"
    requirements = ["numpy"]
    parameters = {
        "n, rank": [(100, 5), (300, 10)],
        "rho": [1.5, 4.0],
        "noise": [0.0, 0.1],
    }
    test_parameters = {"n, rank": [(40, 2)], "rho": [3.0], "noise": [0.0]}

    def get_data(self):
        n, rank = self.n, self.rank
        rng = np.random.default_rng(self.get_seed())
        W = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))
        W /= np.sqrt(np.mean(W**2))
        count = round(self.rho * rank * (2 * n - rank))
        order = rng.permutation(n * n)
        rows, cols = np.divmod(order[:count], n)
        test_rows, test_cols = np.divmod(order[count:], n)
        return {
            "rows": rows,
            "cols": cols,
            "values": W[rows, cols] + self.noise * rng.standard_normal(count),
            "shape": (n, n),
            "test_rows": test_rows,
            "test_cols": test_cols,
            "test_values": W[test_rows, test_cols],
            "scale": 1.0,
        }
