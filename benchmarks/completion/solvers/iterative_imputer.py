"""scikit-learn's IterativeImputer: each column by a regression on all others, in rounds."""

import warnings

from benchmark_utils.dense import dense, too_large
from benchopt import BaseSolver
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer


class Solver(BaseSolver):
    """With its defaults; left out where there are more than 60 columns."""

    name = "IterativeImputer"
    requirements = ["scikit-learn"]

    def skip(self, shape, **_):
        return too_large(shape, columns=60)

    def set_objective(self, rows, cols, values, shape, test_rows, test_cols):
        self.X, self.asked = dense(rows, cols, values, shape), (test_rows, test_cols)

    def run(self, _):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about convergence
            filled = IterativeImputer(random_state=0, keep_empty_features=True).fit_transform(self.X)
        self.predicted = filled[self.asked]

    def get_result(self):
        return {"predicted": self.predicted}
