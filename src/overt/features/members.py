"""The members of a stack, and the table of them that a user reads."""

from __future__ import annotations

from dataclasses import dataclass, replace

from overt.features.kernels import KernelName

__all__ = ["Member", "Path"]


@dataclass(frozen=True)
class Member:
    """One kernel model: which, how it was set, how well it predicts rows it has not seen, and its weight.

    Attributes
    ----------
    kernel : str
        ``"laplace"``, ``"gaussian"`` or ``"linear"``.
    basis : str
        ``"none"`` (round 0: kernel ridge), ``"eigen"`` or ``"identity"`` (M reweighted in this basis), or
        ``"screen"`` (inputs scaled by the coefficients of a ridge regression).
    round : int
        How often M was measured and the inputs were multiplied by a power of it.
    bandwidth : float
        In units of the median distance of the multiplied inputs.
    ridge : float
        Added to the diagonal of the kernel matrix.
    error : float
        Mean squared out-of-fold error over the variance of the target.
    weight : float
        In the stack.
    """

    kernel: KernelName
    basis: str
    round: int
    bandwidth: float
    ridge: float
    error: float
    weight: float = 0.0

    @property
    def chain(self) -> tuple[str, str]:
        """What stays the same from round to round."""
        return self.kernel, self.basis

    def weighted(self, weight: float) -> Member:
        """The member with a weight."""
        return replace(self, weight=weight)


class Path(tuple[Member, ...]):
    """All members that were compared, a tuple that prints as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        head = f"{'kernel':<9} {'basis':<9} round  bandwidth    ridge  out-of-fold error  weight"
        rows = [
            f"{m.kernel:<9} {m.basis:<9} {m.round:>5}  {m.bandwidth:>9.3g}  {m.ridge:>7.1e}"
            f"  {m.error:>17.4g}  {m.weight:>6.3f}"
            for m in self
        ]
        return "\n".join([head, *rows])

    __repr__ = __str__
