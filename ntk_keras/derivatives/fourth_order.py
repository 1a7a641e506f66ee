"""The biharmonic operator and the slopes of the Laplacian: what s(z) and f g make of them.

With F the first derivatives, H the Hessian, T the slopes of the Laplacian and B the biharmonic
operator of one jet, all over the same axes. Whatever is known to be zero is None.
"""

import dataclasses
import functools

import tensorflow as tf

from ntk_keras.backend.graphs import add_present
from ntk_keras.derivatives.channels import VALUE, Biharmonic, LaplacianSlope
from ntk_keras.derivatives.jets import Jet, product

__all__ = ["composed", "multiplied"]


def composed(channel: LaplacianSlope | Biharmonic, z: Jet) -> dict[int, tf.Tensor | None]:
    """What s'(z), s''(z), ... are multiplied by in the slopes, or the biharmonic, of s(z).

    Args:
        channel: a slope, which stands for all of them, or the biharmonic operator.
        z: ``[k, n, width]`` each stack.

    Returns:
        By the order of the derivative of s, ``[d, n, width]`` for slopes, else ``[1, n, width]``.
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
    """The slopes, or the biharmonic, of f g.

    Args:
        channel: a slope, which stands for all of them, or the biharmonic operator.
        f: ``[k, n, width]`` each stack.
        g: likewise.

    Returns:
        ``[d, n, width]`` for slopes, else ``[1, n, width]``.
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
    """The channels of a jet that the rules are made of, each None if it is zero."""

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
    """The sum of products of all components, ``[1, n, width]``."""
    both = product([a, b])
    if both is None:
        return None
    return tf.reduce_sum(both, axis=range(len(both.shape) - 2))[tf.newaxis]


def _apply(hessian: tf.Tensor | None, vector: tf.Tensor | None) -> tf.Tensor | None:
    """Matrix times vector, ``[d, n, width]``."""
    both = product([hessian, vector])
    return None if both is None else tf.reduce_sum(both, axis=1)
