"""Real tables that come with scikit-learn, with cells missing at random."""

import numpy as np
from benchopt import BaseDataset
from sklearn import datasets


class Dataset(BaseDataset):
    """A table in its own units; errors are in standard deviations of the columns."""

    name = "table"
    requirements = ["scikit-learn"]
    parameters = {"table": ["wine", "iris", "breast_cancer", "diabetes"], "missing": [0.2, 0.4]}
    test_parameters = {"table": ["iris"], "missing": [0.2]}

    def get_data(self):
        W = np.array(getattr(datasets, f"load_{self.table}")().data, dtype=float)
        hidden = np.random.default_rng(self.get_seed()).random(W.shape) < self.missing
        hidden[0] = False  # no column is empty
        rows, cols = np.nonzero(~hidden)
        test_rows, test_cols = np.nonzero(hidden)
        return {
            "rows": rows,
            "cols": cols,
            "values": W[rows, cols],
            "shape": W.shape,
            "test_rows": test_rows,
            "test_cols": test_cols,
            "test_values": W[test_rows, test_cols],
            "scale": W.std(0)[test_cols],
        }
