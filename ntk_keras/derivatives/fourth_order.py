"""Chain and product rule for the biharmonic operator and the gradient of the Laplacian.

The rules combine first derivatives, Hessian, Laplacian, its gradient (the slopes) and the
biharmonic operator of a jet, all over the same axes. What is known to be zero is None.
"""

import dataclasses
import functools

import tensorflow as tf

from ntk_keras.backend.graphs import add_present
from ntk_keras.derivatives.channels import VALUE, Biharmonic, LaplacianSlope
from ntk_keras.derivatives.jets import Jet, product

__all__ = ["composed", "multiplied"]


def composed(channel: LaplacianSlope | Biharmonic, z: Jet) -> dict[int, tf.Tensor | None]:
    """Returns the factors of ``s'(z)``, ``s''(z)`` and so on in an operator applied to ``s(z)``.

    Args:
        channel: any slope of the Laplacian, which stands for all, or the biharmonic operator.
        z: jet with stacks ``[k, n, width]``.

    Returns:
        Factors by the order of the derivative of s: ``[d, n, width]`` for slopes, otherwise
        ``[1, n, width]``; None for zero.
    """
    own = _Parts(z, channel.axes)
    steepness = _contract(own.first, own.first)
    bend = _apply(own.hessian, own.first)
    if isinstance(channel, LaplacianSlope):
        return {
            1: own.slopes,
            2: add_present([product([2, bend]), product([own.first, own.laplacian])]),
            3: product([own.first, steepness]),
        }
    return {
        1: own.biharmonic,
        2: add_present(
            [
                product([own.laplacian, own.laplacian]),
                product([2, _contract(own.hessian, own.hessian)]),
                product([4, _contract(own.first, own.slopes)]),
            ]
        ),
        3: add_present(
            [
                product([2, steepness, own.laplacian]),
                product([4, _contract(own.first, bend)]),
            ]
        ),
        4: product([steepness, steepness]),
    }


def multiplied(channel: LaplacianSlope | Biharmonic, f: Jet, g: Jet) -> tf.Tensor | None:
    """Returns the slopes of the Laplacian, or the biharmonic operator, of ``f g``.

    Args:
        channel: any slope of the Laplacian, which stands for all, or the biharmonic operator.
        f: jet with stacks ``[k, n, width]``.
        g: jet with stacks ``[k, n, width]``.

    Returns:
        ``[d, n, width]`` for slopes, otherwise ``[1, n, width]``; None if zero.
    """
    left, right = _Parts(f, channel.axes), _Parts(g, channel.axes)
    pairs = ((left, right), (right, left))
    if isinstance(channel, LaplacianSlope):
        return add_present(
            part
            for a, b in pairs
            for part in (
                product([a.slopes, b.value]),
                product([a.laplacian, b.first]),
                product([2, _apply(a.hessian, b.first)]),
            )
        )
    mixed = [
        product([2, left.laplacian, right.laplacian]),
        product([4, _contract(left.hessian, right.hessian)]),
    ]
    return add_present(
        mixed
        + [product([a.biharmonic, b.value]) for a, b in pairs]
        + [product([4, _contract(a.slopes, b.first)]) for a, b in pairs]
    )


@dataclasses.dataclass(frozen=True)
class _Parts:
    """The channels of a jet that the rules combine, each None if it is zero."""

    jet: Jet
    axes: tuple[int, ...]

    @property
    def value(self) -> tf.Tensor | None:
        """``[1, n, width]``."""
        return self.jet.rows([VALUE])

    @functools.cached_property
    def first(self) -> tf.Tensor | None:
        """``[d, n, width]``."""
        return self.jet.rows(Biharmonic(self.axes).first)

    @functools.cached_property
    def hessian(self) -> tf.Tensor | None:
        """``[d, d, n, width]``."""
        rows, d = self.jet.rows(Biharmonic(self.axes).second), len(self.axes)
        return None if rows is None else tf.reshape(rows, [d, d, *tf.unstack(tf.shape(rows)[1:])])

    @functools.cached_property
    def laplacian(self) -> tf.Tensor | None:
        """``[1, n, width]``."""
        unmixed = self.jet.rows([(k, k) for k in self.axes])
        return None if unmixed is None else tf.reduce_sum(unmixed, axis=0, keepdims=True)

    @property
    def slopes(self) -> tf.Tensor | None:
        """``[d, n, width]``."""
        return self.jet.rows(Biharmonic(self.axes).slopes)

    @property
    def biharmonic(self) -> tf.Tensor | None:
        """``[1, n, width]``."""
        return self.jet.rows([Biharmonic(self.axes)])


def _contract(a: tf.Tensor | None, b: tf.Tensor | None) -> tf.Tensor | None:
    """Returns the sum of products of all components, ``[1, n, width]``."""
    both = product([a, b])
    if both is None:
        return None
    return tf.reduce_sum(both, axis=range(len(both.shape) - 2))[tf.newaxis]


def _apply(hessian: tf.Tensor | None, vector: tf.Tensor | None) -> tf.Tensor | None:
    """Returns the matrix times the vector, ``[d, n, width]``."""
    both = product([hessian, vector])
    return None if both is None else tf.reduce_sum(both, axis=1)
