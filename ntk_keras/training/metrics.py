"""Metrics of solutions."""

from typing import Any

import keras
import tensorflow as tf

from ntk_keras.backend import private_names, replicas

__all__ = ["RelativeL2", "update_against_values"]


@keras.saving.register_keras_serializable("ntk_keras")
class RelativeL2(keras.metrics.Metric):
    """Relative L2 error ``||u - v|| / ||v||`` over all points and outputs, dimensionless.

    Args:
        name: name of the metric.
        **kwargs: further arguments of a Keras metric.
    """

    def __init__(self, name: str = "relative_l2", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.squared_error = self.add_variable((), "zeros", name="squared_error")
        self.squared_norm = self.add_variable((), "zeros", name="squared_norm")
        self._direction = "down"  # as Keras' own: what callbacks with mode="auto" ask for

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: values v, of the shape of ``y_pred`` or ``[n]`` for a single output.
            y_pred: outputs u, ``[n, outputs]`` or a nest of such, which count together.
            sample_weight: weight of each point, ``[n]``.
        """
        if tf.nest.is_nested(y_pred):
            for true, predicted in zip(
                tf.nest.flatten(y_true), tf.nest.flatten(y_pred), strict=True
            ):
                self.update_state(true, predicted, sample_weight)
            return
        if any(tf.as_dtype(y.dtype).is_complex for y in (y_true, y_pred)):
            for part in (tf.math.real, tf.math.imag):
                self.update_state(part(y_true), part(y_pred), sample_weight)
            return
        y_pred = tf.cast(y_pred, self.dtype)
        y_true = tf.cast(y_true, self.dtype)
        sizes = y_true.shape.num_elements(), y_pred.shape.num_elements()
        if None not in sizes and sizes[0] != sizes[1]:
            raise ValueError(
                f"Reference values have shape {tuple(y_true.shape)}, the network's outputs "
                f"{tuple(y_pred.shape)}. Give one value for each point and output."
            )
        y_true = tf.reshape(y_true, tf.shape(y_pred))
        if sample_weight is not None:
            root = tf.sqrt(tf.reshape(tf.cast(sample_weight, self.dtype), [-1]))
            root = tf.reshape(root, [-1] + [1] * (y_pred.shape.rank - 1))
            y_true, y_pred = root * y_true, root * y_pred
        self.squared_error.assign_add(tf.reduce_sum((y_pred - y_true) ** 2))
        self.squared_norm.assign_add(tf.reduce_sum(y_true**2))

    def result(self) -> tf.Tensor:
        """Returns the error over everything added since the last reset; infinite if v = 0."""
        error, norm = replicas.all_reduce_sum([self.squared_error.value, self.squared_norm.value])
        return tf.sqrt(error / norm)


def update_against_values(
    model: keras.Model, error: RelativeL2, x: Any, y: Any = None, sample_weight: Any = None
) -> dict[str, Any]:
    """Adds a batch to the error of a model and to the metrics it was compiled with.

    Args:
        model: compiled model.
        error: relative L2 error of the model.
        x: inputs of the network.
        y: reference values at ``x``.
        sample_weight: weight of each point, ``[n]``.

    Returns:
        The results so far, by name.

    Raises:
        ValueError: if there are inputs without values.
    """
    if y is None:
        raise ValueError("Validation needs (points, values). Received points without values.")
    prediction = model(x, training=False)
    error.update_state(y, prediction, sample_weight)
    logs = {error.name: error.result()}
    compiled = private_names.compiled_metrics(model)
    if compiled is not None:
        compiled.update_state(y, prediction, sample_weight)
        logs |= compiled.result()
    return logs
