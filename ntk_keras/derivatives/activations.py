"""Derivatives of activations, to any order.

An activation is given by a function of the pre-activation ``z`` that yields ``s(z)``, ``s'(z)``,
``s''(z)`` and so on, each ``[n, width]``, for as many orders as are needed.
"""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.polynomial import Polynomial

from ntk_keras.derivatives.channels import partitions

__all__ = ["Derivatives", "Tower", "derivatives_of", "is_identity", "register_activation"]

# TensorFlow's gelu rounds these to single precision, even if it computes in double.
_ROOT_OF_HALF = float(np.float32(math.sqrt(0.5)))
_CUBIC = float(np.float32(0.044715))

Derivatives = Callable[[tf.Tensor], Iterable[tf.Tensor]]


def tanh(z: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields tanh and its derivatives: ``s' = 1 - s^2``, and so polynomials in s."""
    s = tf.tanh(z)
    return _polynomial_in(s, 1 - s * s, Polynomial([1, 0, -1]))


def sigmoid(z: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields the sigmoid and its derivatives: ``s' = s (1 - s)``, and so polynomials in s."""
    s = tf.sigmoid(z)
    return _polynomial_in(s, s * (1 - s), Polynomial([0, 1, -1]))


def softplus(z: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields ``log(1 + e^z)``, whose derivative is the sigmoid, and its derivatives."""
    yield tf.nn.softplus(z)
    yield from sigmoid(z)


def swish(z: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields ``z`` times its sigmoid, and its derivatives."""
    return _times_identity(z, sigmoid)


def gelu(z: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields ``z Phi(z)``, with Phi the normal distribution function, and its derivatives."""
    return _times_identity(z, _normal_distribution)


def gelu_approximate(z: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields ``z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2`` and its derivatives."""
    return _times_identity(z, _tanh_of_cubic)


def sin(z: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields sin, cos, -sin, -cos, and repeats."""
    s, c = tf.sin(z), tf.cos(z)
    return itertools.cycle([s, c, -s, -c])


def cos(z: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields cos, -sin, -cos, sin, and repeats."""
    s, c = tf.sin(z), tf.cos(z)
    return itertools.cycle([c, -s, -c, s])


def exp(z: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields ``e^z`` without end."""
    return itertools.repeat(tf.exp(z))


def sqrt(z: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields the square root, for distances; its derivatives are infinite at zero."""
    power = tf.sqrt(z)
    for order in itertools.count():
        yield power
        power = power * (0.5 - order) / z


def _polynomial_in(s: tf.Tensor, slope: tf.Tensor, rule: Polynomial) -> Iterator[tf.Tensor]:
    """Yields s and its derivatives, if ``s'`` is ``slope`` and equals ``rule(s)``.

    With ``s^(m) = rule(s) q(s)``, the next is ``s' (rule q)'(s)``, so that its factor is
    ``(rule q)'``.
    """
    yield s
    factor = Polynomial([1])
    while True:
        yield slope if factor.degree() == 0 and factor.coef[0] == 1 else slope * _horner(factor, s)
        factor = (rule * factor).deriv()


def _horner(polynomial: Polynomial, x: tf.Tensor) -> tf.Tensor:
    """Returns the polynomial at x, without additions of zeros or products with one."""
    *lower, leading = polynomial.coef.tolist()
    value = leading
    for coefficient in reversed(lower):
        value = value * x
        value = value + coefficient if coefficient else value
    return value


def _times_identity(z: tf.Tensor, factor: Derivatives) -> Iterator[tf.Tensor]:
    """Yields ``(z f)^(m) = z f^(m) + m f^(m-1)``."""
    lower = None
    for order, f in enumerate(factor(z)):
        yield z * f if lower is None else z * f + order * lower
        lower = f


def _normal_distribution(z: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields ``erfc(-c z) / 2`` with ``c = 1 / sqrt(2)``, and its derivatives.

    These are ``c / sqrt(pi) e^(-c^2 z^2)`` times polynomials.

    Each follows from ``(q e^(-c^2 z^2))' = (q' - 2 c^2 z q) e^(-c^2 z^2)``.
    """
    yield tf.math.erfc(-_ROOT_OF_HALF * z) / 2
    density = _ROOT_OF_HALF / math.sqrt(math.pi) * tf.exp(-(_ROOT_OF_HALF**2) * z * z)
    factor, rate = Polynomial([1]), Polynomial([0, -2 * _ROOT_OF_HALF**2])
    yield density
    while True:
        factor = factor.deriv() + rate * factor
        yield density * _horner(factor, z)


def _tanh_of_cubic(z: tf.Tensor) -> Iterator[tf.Tensor]:
    """Yields ``(1 + tanh(g(z))) / 2`` with g a cubic, by Faa di Bruno's formula in one variable."""
    cubic = math.sqrt(2 / math.pi) * Polynomial([0, 1, 0, _CUBIC])
    inner = [_horner(cubic.deriv(m), z) if m else _horner(cubic, z) for m in range(4)]
    outer = Tower(tanh, inner[0])
    yield (1 + outer[0]) / 2
    for order in itertools.count(1):
        terms = [
            multiplicity * outer[count] * _product(inner[len(block)] for block in blocks)
            for count, ways in partitions((0,) * order).items()
            for blocks, multiplicity in ways.items()
            if max(map(len, blocks)) <= cubic.degree()
        ]
        yield tf.add_n(terms) / 2


def _product(factors: Iterable[Any]) -> Any:
    return functools.reduce(operator.mul, factors)


class Tower:
    """The derivatives of an activation at z, each computed when first requested.

    Args:
        derivatives: function that yields ``s(z)``, ``s'(z)`` and so on.
        z: pre-activation ``[n, width]``.
    """

    def __init__(self, derivatives: Derivatives, z: tf.Tensor):
        self._remaining = iter(derivatives(z))
        self._known: list[tf.Tensor] = []

    def __getitem__(self, order: int) -> tf.Tensor:
        while len(self._known) <= order:
            try:
                self._known.append(next(self._remaining))
            except StopIteration:
                raise ValueError(
                    f"The derivative of order {order} of an activation is asked for, but "
                    f"{len(self._known) - 1} are registered. Register more with "
                    '`register_activation`, or use derivatives="tapes".'
                ) from None
        return self._known[order]


_REGISTRY: dict[Callable, Derivatives] = {}
_GELU = (keras.activations.gelu, keras.ops.gelu, tf.nn.gelu)


def register_activation(function: Callable, derivatives: Derivatives) -> None:
    """Registers an activation, so that networks with it are differentiated forward.

    Args:
        function: activation as passed to layers; the function object itself is looked up.
        derivatives: function from the pre-activation ``z`` to ``s(z)``, ``s'(z)``, ``s''(z)`` and
            so on: a sequence as long as the highest order needed, or a generator without end. Each
            has the shape of ``z`` and is itself differentiable by TensorFlow.
    """
    _REGISTRY[function] = derivatives


def derivatives_of(function: Any) -> Derivatives | None:
    """Returns the registered derivatives of an activation, None if there are none.

    Args:
        function: activation of a layer.
    """
    if isinstance(function, functools.partial) and not function.args:
        if function.func in _GELU and set(function.keywords) == {"approximate"}:
            return gelu_approximate if function.keywords["approximate"] else gelu
        return None
    try:
        return _REGISTRY.get(function)
    except TypeError:  # not hashable
        return None


def is_identity(function: Any) -> bool:
    """Whether an activation does nothing.

    Args:
        function: activation of a layer, or None.
    """
    return function is None or function in (keras.activations.linear, tf.identity)


for _derivatives, _functions in {
    tanh: (keras.activations.tanh, keras.ops.tanh, tf.tanh, tf.nn.tanh),
    sigmoid: (keras.activations.sigmoid, keras.ops.sigmoid, tf.sigmoid, tf.nn.sigmoid),
    softplus: (keras.activations.softplus, keras.ops.softplus, tf.nn.softplus),
    swish: (
        keras.activations.silu,
        keras.activations.swish,
        keras.ops.silu,
        keras.ops.swish,
        tf.nn.silu,
        tf.nn.swish,
    ),
    gelu: (keras.activations.gelu, tf.nn.gelu),
    gelu_approximate: (keras.ops.gelu,),
    sin: (keras.ops.sin, tf.sin),
    cos: (keras.ops.cos, tf.cos),
    exp: (keras.activations.exponential, keras.ops.exp, tf.exp),
    sqrt: (keras.ops.sqrt, tf.sqrt),
}.items():
    for _function in _functions:
        register_activation(_function, _derivatives)

# Keras reads these from a file only if they are registered.
for _package, _functions in {
    "keras.ops": (keras.ops.sin, keras.ops.cos, keras.ops.exp),
    "tf": (tf.sin, tf.cos, tf.exp),
}.items():
    for _function in _functions:
        keras.saving.register_keras_serializable("ntk_keras", f"{_package}.{_function.__name__}")(
            _function
        )
