"""The fit of a completion that a signal may cut short."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from overt._utils.errors import OvertError
from overt._utils.signals import Interrupts
from overt.cli.triplets import Triplets

if TYPE_CHECKING:
    from overt.completion.estimator import MatrixCompletion

__all__ = ["Fit", "fit"]


class _Signals(Interrupts):
    @property
    def signum(self) -> int | None:
        """The signal that came."""
        return self._pending


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted estimator, what it warned of, and the signal that ended the fit early, if one did."""

    model: MatrixCompletion
    warnings: tuple[str, ...]
    signum: int | None


def fit(triplets: Triplets, **parameters: Any) -> Fit:
    """Fit a matrix completion to triplets.

    Parameters
    ----------
    triplets : Triplets
    **parameters
        Of :class:`~overt.completion.estimator.MatrixCompletion`.

    Raises
    ------
    OvertError
        If the estimator refuses, or memory does not suffice.
    KeyboardInterrupt
        If a signal came before there was any model.
    """
    from overt.completion.estimator import MatrixCompletion

    model = MatrixCompletion(**parameters)
    signals = _Signals()
    with signals, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        try:
            model.fit_triplets(triplets.rows, triplets.cols, triplets.values, triplets.shape)
        except KeyboardInterrupt:
            # What is set last says that the model is complete and only the certificate is missing.
            if not hasattr(model, "underdetermined_columns_"):
                raise
        except ValueError as error:
            raise OvertError(f"the fit failed: {error}") from error
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "alloc" not in str(error):
                raise
            raise OvertError(
                f"memory does not suffice for {' × '.join(map(str, triplets.shape))} with this solver; "
                "try --solver bayes"
            ) from error
    return Fit(model, tuple(_lines(model, triplets, caught)), signals.signum)


def _lines(model: MatrixCompletion, triplets: Triplets, caught: list[warnings.WarningMessage]) -> list[str]:
    """Warnings as plain lines that name rows and columns by their ids."""
    lines = [" ".join(str(warning.message).split()) for warning in caught]
    lines = [line for line in lines if not line.startswith("interrupted;")]  # said in the end
    if model.identifiable_ is False:
        lines = [line for line in lines if "observe more in row" not in line]
        where = [
            f"{name} {table.some(codes)}"
            for name, table, codes in (
                ("row(s)", triplets.row_ids, model.underdetermined_rows_),
                ("column(s)", triplets.col_ids, model.underdetermined_columns_),
            )
            if codes
        ]
        remedy = f": observe more in {' and '.join(where)}" if where else ""
        lines.append(f"the observed entries do not determine the completion at rank {model.rank_}{remedy}")
    return list(dict.fromkeys(lines))
