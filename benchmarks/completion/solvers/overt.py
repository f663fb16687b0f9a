"""Overt's estimator."""

import warnings

from benchopt import BaseSolver

from overt import MatrixCompletion


class Solver(BaseSolver):
    """``MatrixCompletion`` without settings, or with its best quality."""

    name = "overt"
    requirements = ["pip::overt"]
    parameters = {"best": [False, True]}

    def set_objective(self, rows, cols, values, shape, test_rows, test_cols):
        self.entries, self.asked = (rows, cols, values, shape), (test_rows, test_cols)

    def run(self, _):
        options = {"quality": "best"} if self.best else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about columns without an entry
            estimator = MatrixCompletion(**options).fit_triplets(*self.entries)
        self.predicted = estimator.predict(*self.asked)

    def get_result(self):
        return {"predicted": self.predicted}
