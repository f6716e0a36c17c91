"""Ridge regression from sums, in float64: the projector of a tower in closed form.

Minimises  sum_i w_i |W x_i + b - y_i|^2 / sum_i w_i  +  ridge * v * |W|^2,  v being the mean variance of a dimension
of x, so that `ridge` has no unit (Hoerl and Kennard 1970). All that is needed of the rows are sums of products, which
can be added up over batches and processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RidgeSums:
    """Weighted sums over rows, the constant 1 being the last dimension of x.

    Attributes:
      xx: [d + 1, d + 1] float64. xy: [d + 1, D] float64. yy: float64, the sum of |y|^2.
    """

    xx: np.ndarray
    xy: np.ndarray
    yy: float

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> RidgeSums:
        """The sums of some rows: x [n, d], y [n, D], weight [n]."""
        x = np.concatenate([x, np.ones((len(x), 1))], axis=1, dtype=np.float64)
        y, weighted = np.asarray(y, np.float64), x * np.asarray(weight, np.float64)[:, None]
        return cls(weighted.T @ x, weighted.T @ y, float(np.dot(weight, (y * y).sum(1))))

    def __add__(self, other: RidgeSums) -> RidgeSums:
        return RidgeSums(self.xx + other.xx, self.xy + other.xy, self.yy + other.yy)

    def solve(self, ridge: float) -> tuple[np.ndarray, np.ndarray]:
        """(W [D, d], b [D]), float64. Raises numpy.linalg.LinAlgError if ridge is 0 and x does not span its space."""
        weight, mean_x, mean_y = self.xx[-1, -1], self.xx[-1, :-1] / self.xx[-1, -1], self.xy[-1] / self.xx[-1, -1]
        covariance = self.xx[:-1, :-1] / weight - np.outer(mean_x, mean_x)
        shared = self.xy[:-1] / weight - np.outer(mean_x, mean_y)
        d = len(mean_x)
        w = np.linalg.solve(covariance + ridge * np.trace(covariance) / d * np.eye(d), shared).T
        return w, mean_y - w @ mean_x

    @property
    def spread(self) -> float:
        """The variance of x as a share of its mean square, from 0 (all rows are the same) to 1."""
        moments, means = np.diag(self.xx)[:-1] / self.xx[-1, -1], self.xx[-1, :-1] / self.xx[-1, -1]
        return float(1 - (means**2).sum() / moments.sum()) if moments.sum() else 0.0

    def output_norm(self, w: np.ndarray, b: np.ndarray) -> float:
        """The root of the mean of |W x + b|^2."""
        whole = np.concatenate([w, b[:, None]], axis=1, dtype=np.float64)
        return float(np.sqrt(np.einsum("od,de,oe->", whole, self.xx, whole, optimize=True) / self.xx[-1, -1]))

    def explained(self, w: np.ndarray, b: np.ndarray) -> float:
        """The share of the variance of y that W x + b explains (R^2)."""
        whole, mean_y = np.concatenate([w, b[:, None]], axis=1), self.xy[-1] / self.xx[-1, -1]
        error = self.yy - 2 * np.sum(whole.T * self.xy) + np.einsum("od,de,oe->", whole, self.xx, whole, optimize=True)
        total = self.yy - self.xx[-1, -1] * float(mean_y @ mean_y)
        return float(1 - error / total) if total > 0 else 0.0
