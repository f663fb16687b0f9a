"""Alternating least squares with biases, of the package cmfrec."""

import scipy.sparse as sp
from benchopt import BaseSolver
from cmfrec import CMF


class Solver(BaseSolver):
    """``CMF`` for a rank and a weight; the first of each are its defaults."""

    name = "cmfrec"
    requirements = ["pip::cmfrec"]
    parameters = {"k": [40, 10], "weight": [10.0, 1.0]}

    def set_objective(self, rows, cols, values, shape, test_rows, test_cols):
        self.X, self.asked = sp.coo_array((values, (rows, cols)), shape=shape), (test_rows, test_cols)

    def skip(self, shape, **_):
        if min(shape) < self.k:
            return True, f"a matrix of shape {shape[0]}×{shape[1]} has no {self.k} factors"
        return False, None

    def run(self, _):
        model = CMF(
            k=self.k, lambda_=self.weight, nthreads=1, verbose=False, precompute_for_predictions=False
        )
        model.fit(X=self.X)
        self.predicted = model.predict(user=self.asked[0], item=self.asked[1])

    def get_result(self):
        return {"predicted": self.predicted}
