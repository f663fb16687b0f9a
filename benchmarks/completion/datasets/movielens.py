"""MovieLens ratings (Harper & Konstan 2015), from the archives in the folder named by OVERT_DATA."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
from benchopt import BaseDataset


class Dataset(BaseDataset):
    """``u1``: the published split of 100K. ``100k``, ``1m``: a tenth held out by seed 0."""

    name = "movielens"
    requirements = ["numpy"]
    parameters = {"split": ["u1", "100k", "1m"]}
    test_parameters = {"split": ["u1"]}

    def get_data(self):
        folder = os.environ.get("OVERT_DATA")
        archive = "ml-1m.zip" if self.split == "1m" else "ml-100k.zip"
        if not folder or not (Path(folder) / archive).is_file():
            return {"rows": None, "reason": f"{archive} is not in the folder named by OVERT_DATA"}
        with zipfile.ZipFile(Path(folder) / archive) as opened:
            if self.split == "u1":
                train, test = (_ratings(opened, f"ml-100k/u1.{part}") for part in ("base", "test"))
            else:
                member = "ml-1m/ratings.dat" if self.split == "1m" else "ml-100k/u.data"
                every = _ratings(opened, member)
                order = np.random.default_rng(0).permutation(len(every))
                tenth = len(every) // 10
                train, test = every[order[tenth:]], every[order[:tenth]]
        both = np.concatenate([train, test])
        for side in (0, 1):
            both[:, side] = np.unique(both[:, side], return_inverse=True)[1]
        train, test = both[: len(train)], both[len(train) :]
        return {
            "rows": train[:, 0],
            "cols": train[:, 1],
            "values": train[:, 2].astype(float),
            "shape": (int(both[:, 0].max()) + 1, int(both[:, 1].max()) + 1),
            "test_rows": test[:, 0],
            "test_cols": test[:, 1],
            "test_values": test[:, 2].astype(float),
            "scale": 1.0,
        }


def _ratings(opened, member):
    text = opened.read(member).decode("latin-1").replace("::", "\t")
    return np.loadtxt(io.StringIO(text), dtype=np.int64, usecols=(0, 1, 2))
