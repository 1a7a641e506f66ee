"""The effect of noise in the rows of a least-squares problem on some of its parameters.

The problem is to minimise ``1/2 ||W^(1/2) (r + J d)||^2``, linear in ``d = (d_net, d_k)``. With
``X = W^(1/2) J`` and P the projector off the range of ``X_net``, damped a little, the network's
parameters are profiled out:

    d_k = -A r,  A = (X_k^T P X_k)^-1 X_k^T P W^(1/2),   what is left of r is B r.

Noise of covariance S in r gives ``d_k`` the covariance ``A S A^T``, and the rest of r ``B S B^T``.
The weights W are those of the loss, whatever the noise is: no row is noisy because its weight is
small.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

__all__ = ["Profile", "Rows", "noise_variances", "profile_out"]

# Singular values of X_net at which the network counts as half as free, as a part of its norm.
_DAMPING = 1e-6
# The part of a coefficient's column that must be left where it is to be told from the network.
_LEAST_LEFT = 1e-10
_ROUNDS = 5  # that variances and their weights take


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of J and r of one term, or fewer rows that represent them.

    Attributes:
        jacobian: rows of J, ``[m, p]``.
        residual: entries of r, ``[m]``.
        weight: weights of the loss, ``[m]``.
        num_left_out: number of further rows, on which neither J nor r depends.
    """

    jacobian: np.ndarray
    residual: np.ndarray
    weight: np.ndarray
    num_left_out: int = 0

    def reduced(self) -> "Rows":
        """Returns at most ``p + 1`` rows of equal J^T J, J^T r and r^T r, if weights are equal."""
        count, size = self.jacobian.shape
        if count <= size + 1 or np.ptp(self.weight) > 0:
            return self
        rows = np.column_stack([self.jacobian, self.residual])
        triangle = np.asarray(np.linalg.qr(rows, mode="r"))
        left_out = self.num_left_out + count - len(triangle)
        return Rows(triangle[:, :-1], triangle[:, -1], self.weight[: len(triangle)], left_out)

    def followed_by(self, others: "Rows") -> "Rows":
        """Returns these rows and others of the same term."""
        return Rows(
            np.concatenate([self.jacobian, others.jacobian]),
            np.concatenate([self.residual, others.residual]),
            np.concatenate([self.weight, others.weight]),
            self.num_left_out + others.num_left_out,
        )


@dataclasses.dataclass(frozen=True)
class Profile:
    """The response of coefficients and residuals to a change of the rows.

    Attributes:
        influence: matrix A, ``[k, m]``, zero for a coefficient that the rows do not determine.
        explained: matrix E with ``B = W^(-1/2) (I - E E^T) W^(1/2)``, ``[m, p]``.
        root: vector ``W^(1/2)``, ``[m]``.
        determined: whether the rows determine a coefficient, ``[k]``.
    """

    influence: np.ndarray
    explained: np.ndarray
    root: np.ndarray
    determined: np.ndarray

    def left(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns a part of B, all of which may be large."""
        part = -self.explained[rows] @ self.explained[columns].T
        if rows == columns:
            part += np.eye(len(part))
        return part * self.root[columns] / self.root[rows, np.newaxis]

    def left_of(self, residual: np.ndarray) -> np.ndarray:
        """Returns ``B r``, ``[m]``."""
        weighted = self.root * residual
        return (weighted - self.explained @ (self.explained.T @ weighted)) / self.root


def profile_out(jacobian: np.ndarray, weight: np.ndarray, is_coefficient: np.ndarray) -> Profile:
    """Profiles out all parameters except the coefficients.

    Args:
        jacobian: matrix J of all terms, ``[m, p]``.
        weight: positive weights of the rows, ``[m]``.
        is_coefficient: mask of the columns that are coefficients, ``[p]``.
    """
    root = np.sqrt(weight)
    weighted = root[:, np.newaxis] * jacobian
    columns = weighted[:, is_coefficient]
    lengths = np.linalg.norm(columns, axis=0)
    lengths = np.where(lengths > 0, lengths, 1.0)
    of_network = _basis(weighted[:, ~is_coefficient])
    left = columns / lengths - of_network @ (of_network.T @ (columns / lengths))
    eigenvalues, vectors = np.linalg.eigh((columns / lengths).T @ left)
    known = eigenvalues > _LEAST_LEFT
    determined = np.all(np.abs(vectors[:, ~known]) < 1e-3, axis=1)
    of_coefficients = left @ vectors[:, known] / np.sqrt(eigenvalues[known])
    answer = (vectors[:, known] / np.sqrt(eigenvalues[known])) @ of_coefficients.T
    influence = answer * root * (determined / lengths)[:, np.newaxis]
    explained = np.concatenate([of_network, of_coefficients], axis=1)
    return Profile(influence, explained, root, determined)


def _basis(matrix: np.ndarray) -> np.ndarray:
    """Returns Q with ``Q Q^T = X (X^T X + mu I)^-1 X^T``, ``[m, p]``: rows of an orthogonal basis.

    It comes from ``Q R = [X; sqrt(mu) I]``, which does not square the condition number.
    """
    count, size = matrix.shape
    if size > count:
        matrix = np.asarray(np.linalg.qr(matrix.T, mode="r")).T
    damping = _DAMPING * np.linalg.norm(matrix) + np.finfo(float).tiny
    tall = np.concatenate([matrix, damping * np.eye(matrix.shape[1])])
    return np.asarray(np.linalg.qr(tall)[0][:count])


def noise_variances(
    profile: Profile, residual: np.ndarray, terms: Sequence[Rows], chosen: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates the noise of terms from what their rows and the network's freedom leave of it.

    For noise of variance ``s_c`` in the terms c, ``E ||(B r)_b||^2 = sum_c s_c ||B_bc||^2``. This
    is solved for ``s >= 0`` by least squares, each equation weighted by the variance of its left
    side for normal noise.

    Args:
        profile: profile of all terms' rows.
        residual: residual r of all terms, ``[m]``.
        terms: all terms, in the order of these rows.
        chosen: indices of the noisy terms.

    Returns:
        Variances of the chosen terms, and their degrees of freedom ``||B_bb||^2``.
    """
    ends = np.cumsum([len(rows.residual) for rows in terms])
    places = [slice(end - len(rows.residual), end) for end, rows in zip(ends, terms, strict=True)]
    blocks = [[profile.left(places[b], places[c]) for c in chosen] for b in chosen]
    left_out = np.array([terms[b].num_left_out for b in chosen], float)
    squares = np.array([[np.sum(block**2) for block in row] for row in blocks])
    squares += np.diag(left_out)
    remainder = profile.left_of(residual)
    sums = np.array([np.sum(remainder[places[b]] ** 2) for b in chosen])
    freedom = np.diag(squares)
    if len(chosen) == 1:
        return sums / np.maximum(freedom, np.finfo(float).tiny), freedom

    from scipy.optimize import nnls  # slow to import

    # Variances of the sums: 2 ||sum_c s_c B_bc B_bc^T||^2, and what the rows left out add.
    products = np.array([_inner_products([block @ block.T for block in row]) for row in blocks])
    scatter = sums
    for _ in range(_ROUNDS):
        scale = 1 / np.maximum(scatter, 1e-6 * sums + np.finfo(float).tiny)
        variances, _ = nnls(squares * scale[:, np.newaxis], sums * scale)
        of_rows = np.einsum("bcd,c,d->b", products, variances, variances)
        scatter = np.sqrt(2 * (of_rows + left_out * variances**2))
    return variances, freedom


def _inner_products(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Returns ``<A_c, A_d>`` of all pairs."""
    flat = np.stack([np.ravel(matrix) for matrix in matrices])
    return flat @ flat.T
