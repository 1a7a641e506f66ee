"""Rows of the Jacobian in factored form, from one reverse pass for all points at once.

A residual whose row i depends on point i alone reaches the kernel W of a Dense layer through
products ``z_s = a_s W``, one for each channel s (the value, its derivatives) that is carried
through the network. With the cotangents ``d_s = dr_i / dz_s``, the gradient of ``r_i`` is the sum
of outer products ``sum_s a_s (x) d_s``, and for the bias the cotangent of the value. Since points
are not coupled, one reverse pass from the sum of all residuals gives the cotangents of all points,
and no gradient of a kernel is formed in it. Everything else follows, layer by layer:

- the kernel's diagonal, ``K_ii = sum_{s,s'} (a_s . a_s') (d_s . d_s') + ||d_value||^2``;
- ``J^T v = a^T diag(v) d``, one product: each point's cotangent only scales;
- ``J w = sum_s (a_s W') . d_s``, with ``W'`` the layer's part of w.
"""

import copy
import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from ntk_keras.backend.graphs import add_present
from ntk_keras.backend.variables import Variables, watchable
from ntk_keras.kernel.block import Block

__all__ = [
    "MAX_ENTRIES",
    "FactoredJacobian",
    "LayerFactors",
    "LayerProduct",
    "at_points",
    "parameters_of",
    "products_of",
]

# Entries of a variable that is no layer's, each of which takes a reverse pass of its own.
MAX_ENTRIES = 16
# Above this number of channels of a layer, products of matrices take the place of each pair's own:
# XLA compiles 14 channels in 0.4 s a layer in place of 7 s, and computes as fast.
_FEW_CHANNELS = 9
_BLOCK = 32


class LayerProduct(NamedTuple):
    """One product of a layer, for a stack of channels, before its cotangents are known."""

    layer: Any
    stack: tuple
    inputs: tf.Tensor  # [channels, n, in]
    outputs: tf.Tensor  # [channels, n, units]


class _Factor(NamedTuple):
    """The contribution ``sum_s a_s (x) d_s`` of one product to the rows of J."""

    inputs: tf.Tensor  # a: [channels, n, in]
    cotangents: tf.Tensor  # d: [k, channels, n, units], or [channels, n, units] summed over k
    is_value: bool  # whether the bias enters


class LayerFactors(NamedTuple):
    """The contributions of one layer: all products of its kernel."""

    kernel: int | None  # which variable, None for one that is not trained
    bias: int | None
    factors: list[_Factor]


class FactoredJacobian:
    """The Jacobian ``J_b = dR_b/dtheta`` of one block, its rows sums of outer products.

    Attributes:
        residual: residual ``R_b``, ``[n * k]``, point by point.
        num_components: number of components k.
        is_whole: whether rows have no own point.
        sizes: numbers of entries of the variables.
        layers: contributions of the layers.
        entries: derivatives ``[k, n, entries]`` by variable, for variables that belong to no layer.

    Args:
        block: block that takes a layer hook, and whose points are coupled by values at most,
            through which no gradient passes.
        variables: parameters theta, from the block's ``hooked_variables``: kernels and biases of
            the layers, and a few other numbers (coefficients of the equation).
    """

    def __init__(self, block: Block, variables: Variables):
        theta = watchable(variables)
        few = [v for v in theta if v.shape.num_elements() <= MAX_ENTRIES]
        found: list[LayerProduct] = []
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(few)

            def hook(layer: Any, inputs: Any, products: Any, bias: Any) -> None:
                tape.watch(list(products.values()))
                found.extend(products_of(layer, inputs, products))

            rows = block.evaluate_with(hook)  # [n, k]
            components = tf.unstack(rows, axis=1)
        self.residual = tf.reshape(rows, [-1])
        self.num_components = len(components)
        self._rows_shape = tf.shape(rows)
        self.is_whole = block.is_whole
        self.sizes = [v.shape.num_elements() for v in theta]
        places = {id(v): index for index, v in enumerate(theta)}
        self.layers = _layers(found, _cotangents(tape, components, found), places)
        layered = {index for layer in self.layers for index in (layer.kernel, layer.bias)}
        self.entries = {
            places[id(v)]: tf.stack([_by_point(tape, r, v) for r in components])  # [k, n, entries]
            for v in few
            if places[id(v)] not in layered
        }

    def in_double(self) -> "FactoredJacobian":
        """Returns the same in double precision."""
        if self.residual.dtype == tf.float64:
            return self

        def double(x: tf.Tensor) -> tf.Tensor:
            return tf.cast(x, tf.float64)

        copied = copy.copy(self)
        copied.residual = double(self.residual)
        copied.entries = {index: double(entries) for index, entries in self.entries.items()}
        copied.layers = [
            layer._replace(
                factors=[
                    f._replace(inputs=double(f.inputs), cotangents=double(f.cotangents))
                    for f in layer.factors
                ]
            )
            for layer in self.layers
        ]
        return copied

    def diagonal(self, which: Iterable[int], subset: tf.Tensor | None = None) -> tf.Tensor:
        """Returns squared norms ``||J_i||^2`` of the rows, one for each entry of the residual.

        Args:
            which: indices of the variables that count.
            subset: indices of the points that count, or of the entries of a block whose points are
                coupled; all by default.

        Returns:
            ``[n * k]``, point by point; fewer with a subset.
        """
        if self.is_whole and subset is not None:
            return tf.gather(self.diagonal(which), subset)
        which = set(which)
        squares = [
            _squares(at_points(layer, subset), layer.kernel in which, layer.bias in which)
            for layer in self.layers
        ]
        for entries in (self.entries[index] for index in self.entries if index in which):
            chosen = entries if subset is None else tf.gather(entries, subset, axis=1)
            squares.append(tf.reduce_sum(chosen**2, axis=2))
        return _point_by_point(add_present(squares))

    def jvp(self, direction: Mapping[int, tf.Tensor]) -> tf.Tensor:
        """Returns ``J_b w``.

        Args:
            direction: direction w, by variable; one left out counts as zero.

        Returns:
            ``[n * k]``, point by point.
        """
        pushed = [_pushed(layer, direction) for layer in self.layers]
        for index, entries in self.entries.items():
            if index in direction:
                pushed.append(tf.linalg.matvec(entries, tf.reshape(direction[index], [-1])))
        return _point_by_point(add_present(pushed))

    def vjp(self, cotangent: tf.Tensor) -> dict[int, tf.Tensor]:
        """Returns ``J_b^T v`` from a product for each layer and stack of channels.

        Args:
            cotangent: vector v, ``[n * k]``.

        Returns:
            Tensors by variable, flat for those of no layer; variables left out are zero.
        """
        v = tf.transpose(tf.reshape(cotangent, self._rows_shape))  # [k, n]
        pulled = {i: tf.einsum("kne,kn->e", d, v) for i, d in self.entries.items()}
        scale = v[:, tf.newaxis, :, tf.newaxis]
        for layer in self.layers:
            scaled = [(f, tf.reduce_sum(f.cotangents * scale, axis=0)) for f in layer.factors]
            if layer.kernel is not None:
                pulled[layer.kernel] = tf.add_n([_outer(f.inputs, d) for f, d in scaled])
            values = [tf.reduce_sum(d, axis=[0, 1]) for f, d in scaled if f.is_value]
            if layer.bias is not None and values:
                pulled[layer.bias] = tf.add_n(values)
        return pulled


def products_of(layer: Any, inputs: Mapping, products: Mapping) -> list[LayerProduct]:
    """Returns the products that a hook receives, one by one.

    Args:
        layer: layer with the products.
        inputs: inputs by stack of channels.
        products: products by stack of channels.
    """
    return [LayerProduct(layer, stack, inputs[stack], z) for stack, z in products.items()]


def parameters_of(layer: Any) -> list[Any]:
    """Returns the kernel of a layer, and its bias if it has one.

    Args:
        layer: layer that a hook is called with.
    """
    return watchable([v for v in (layer.kernel, layer.bias) if v is not None])


def _cotangents(
    tape: tf.GradientTape, components: list[tf.Tensor], found: list[LayerProduct]
) -> list:
    """Returns the derivative of all components by all products, ``[k, channels, n, units]``."""
    outputs = [product.outputs for product in found]
    by_component = [tape.gradient(r, outputs, unconnected_gradients="zero") for r in components]
    return [tf.stack(cotangents) for cotangents in zip(*by_component, strict=True)]


def _layers(
    found: list[LayerProduct], cotangents: list, places: Mapping[int, int]
) -> list[LayerFactors]:
    """Groups the products by layer: their channels count as channels of one."""
    by_layer: dict[Any, LayerFactors] = {}
    for product, d in zip(found, cotangents, strict=True):
        kernel, bias = (
            None if v is None else places.get(id(watchable([v])[0]))
            for v in (product.layer.kernel, product.layer.bias)
        )
        layer = by_layer.setdefault(product.layer, LayerFactors(kernel, bias, []))
        layer.factors.append(_Factor(product.inputs, d, product.stack == ((),)))
    return list(by_layer.values())


def _by_point(tape: tf.GradientTape, component: tf.Tensor, variable: tf.Variable) -> tf.Tensor:
    """Returns the derivative of each point's residual by a variable's entries, ``[n, entries]``.

    Sums over points are linear in their cotangent, so differentiating by that tells them apart.
    """
    ones = tf.ones_like(component)
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as outer:
        outer.watch(ones)
        summed = tape.gradient(component, variable, ones, unconnected_gradients="zero")
        entries = tf.unstack(tf.reshape(summed, [-1]), num=variable.shape.num_elements())
    columns = [outer.gradient(entry, ones, unconnected_gradients="zero") for entry in entries]
    return tf.stack(columns, axis=1)


def _squares(layer: LayerFactors, kernel: bool, bias: bool) -> tf.Tensor | None:
    """Returns ``||sum_s a_s (x) d_s||^2 + ||sum of the values' d||^2``, ``[k, n]``."""
    channels = sum(f.inputs.shape[0] for f in layer.factors)
    by_pairs = _squares_by_pairs if channels <= _FEW_CHANNELS else _squares_by_blocks
    terms = by_pairs(layer) if kernel else []
    if bias:
        values = _of_values(layer)
        terms.append(None if values is None else tf.reduce_sum(values**2, axis=-1))
    return add_present(terms)


def _squares_by_pairs(layer: LayerFactors) -> list[tf.Tensor]:
    """Returns terms that add up to ``||sum_s a_s (x) d_s||^2``, one per pair of channels."""
    a = [row for f in layer.factors for row in tf.unstack(f.inputs)]
    d = [rows for f in layer.factors for rows in tf.unstack(f.cotangents, axis=1)]
    terms = []
    for s, t in itertools.combinations_with_replacement(range(len(a)), 2):
        product = _dots(a[s], a[t]) * _dots(d[s], d[t])
        terms.append(product if s == t else 2 * product)
    return terms


def _squares_by_blocks(layer: LayerFactors) -> list[tf.Tensor]:
    """Returns the same by matrix products for several channels at a time, with all that follow."""
    a = tf.transpose(tf.concat([f.inputs for f in layer.factors], axis=0), [1, 0, 2])
    d = tf.transpose(tf.concat([f.cotangents for f in layer.factors], axis=1), [0, 2, 1, 3])
    terms = []
    for s in range(0, a.shape[1], _BLOCK):
        # [k, n, block, channels from s on]; pairs of two within the block come in both orders.
        pairs = tf.matmul(a[:, s : s + _BLOCK], a[:, s:], transpose_b=True)
        pairs *= tf.matmul(d[:, :, s : s + _BLOCK], d[:, :, s:], transpose_b=True)
        within, beyond = pairs[..., :_BLOCK], pairs[..., _BLOCK:]
        terms.append(tf.reduce_sum(within, axis=[2, 3]) + 2 * tf.reduce_sum(beyond, axis=[2, 3]))
    return terms


def _dots(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Returns the inner product along the last axis."""
    # By a product with ones: XLA on a CPU takes twice as long for a sum along the last axis.
    return tf.linalg.matvec(x * y, tf.ones(x.shape[-1], x.dtype))


def _pushed(layer: LayerFactors, direction: Mapping[int, tf.Tensor]) -> tf.Tensor | None:
    """Returns ``sum_s (a_s W') . d_s + b' . (sum of the values' d)``, ``[k, n]``."""
    kernel, bias = (None if i is None else direction.get(i) for i in (layer.kernel, layer.bias))
    terms = []
    if kernel is not None:
        kernel = tf.reshape(kernel, [layer.factors[0].inputs.shape[-1], -1])  # it may be a row
        for f in layer.factors:
            change = tf.matmul(tf.reshape(f.inputs, [-1, kernel.shape[0]]), kernel)
            change = tf.reshape(change, tf.shape(f.cotangents)[1:])
            terms.append(tf.reduce_sum(f.cotangents * change, axis=[1, 3]))
    if bias is not None:
        values = _of_values(layer)
        terms.append(None if values is None else tf.tensordot(values, bias, 1))
    return add_present(terms)


def _of_values(layer: LayerFactors) -> tf.Tensor | None:
    """Returns the cotangents that the bias receives, ``[k, n, units]``."""
    return add_present(f.cotangents[:, 0] for f in layer.factors if f.is_value)


def _outer(a: tf.Tensor, d: tf.Tensor) -> tf.Tensor:
    """Sums ``a (x) d`` over channels and points, ``[in, units]``."""
    flat = (tf.reshape(x, [-1, x.shape[-1]]) for x in (a, d))
    return tf.matmul(*flat, transpose_a=True)


def at_points(layer: LayerFactors, subset: tf.Tensor | None) -> LayerFactors:
    """Returns the contributions of some points.

    Args:
        layer: contributions of all points.
        subset: indices of points; all by default.
    """
    if subset is None:
        return layer
    factors = [
        f._replace(
            inputs=tf.gather(f.inputs, subset, axis=1),
            cotangents=tf.gather(f.cotangents, subset, axis=2),
        )
        for f in layer.factors
    ]
    return layer._replace(factors=factors)


def _point_by_point(values: tf.Tensor) -> tf.Tensor:
    """Reshapes ``[k, n]`` to ``[n * k]``."""
    return tf.reshape(tf.transpose(values), [-1])
