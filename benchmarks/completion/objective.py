"""The error of a completed matrix at entries that the solver has not seen."""

import numpy as np
from benchopt import BaseObjective


class Objective(BaseObjective):
    """Root mean square error of predictions at given positions, in the units that the data set gives."""

    name = "Matrix completion"
    min_benchopt_version = "1.7"
    requirements = ["numpy"]
    sampling_strategy = "run_once"
    test_dataset_name = "low_rank"

    def skip(self, rows, **data):
        if rows is None:
            return True, data["reason"]
        return False, None

    def set_data(self, rows, cols, values, shape, test_rows, test_cols, test_values, scale):
        self.rows, self.cols, self.values, self.shape = rows, cols, values, shape
        self.test_rows, self.test_cols, self.test_values = test_rows, test_cols, test_values
        self.scale = scale

    def get_objective(self):
        """What a solver sees: entries as triplets, and the positions that it must predict."""
        return {
            "rows": self.rows,
            "cols": self.cols,
            "values": self.values,
            "shape": self.shape,
            "test_rows": self.test_rows,
            "test_cols": self.test_cols,
        }

    def evaluate_result(self, predicted):
        """Errors of `predicted`, one value for each test position.

        ``value`` is the RMSE over `scale`; ``relative_error`` is ‖error‖ / ‖truth‖; ``over_means`` is the
        RMSE over that of column means.
        """
        error = (predicted - self.test_values) / self.scale
        value = float(np.sqrt(np.mean(error**2)))
        means = (self._column_means() - self.test_values) / self.scale
        truth = np.linalg.norm(self.test_values)
        return {
            "value": value,
            "relative_error": float(np.linalg.norm(predicted - self.test_values) / truth),
            "over_means": value / float(np.sqrt(np.mean(means**2))),
        }

    def get_one_result(self):
        return {"predicted": self._column_means()}

    def _column_means(self):
        n = self.shape[1]
        count = np.bincount(self.cols, minlength=n)
        total = np.bincount(self.cols, self.values, minlength=n)
        mean = np.where(count > 0, total / np.maximum(count, 1), self.values.mean())
        return mean[self.test_cols]
