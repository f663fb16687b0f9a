"""SoftImpute (Mazumder, Hastie & Tibshirani 2010), as Overt implements it."""

import warnings

from benchmark_utils.dense import too_large
from benchopt import BaseSolver

from overt import MatrixCompletion


class Solver(BaseSolver):
    """Singular values shrunk by a weight that is chosen on held-out entries."""

    name = "soft_impute"
    requirements = ["pip::overt"]

    def skip(self, shape, **_):
        return too_large(shape)

    def set_objective(self, rows, cols, values, shape, test_rows, test_cols):
        self.entries, self.asked = (rows, cols, values, shape), (test_rows, test_cols)

    def run(self, _):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator = MatrixCompletion("soft_impute").fit_triplets(*self.entries)
        self.predicted = estimator.predict(*self.asked)

    def get_result(self):
        return {"predicted": self.predicted}
