"""Evaluation of a trained model: outputs, residuals, and functions of the solution."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import precision
from ntk_keras.backend.checks import check_count
from ntk_keras.derivatives.axis_names import named_columns
from ntk_keras.derivatives.network_inputs import check_shapes
from ntk_keras.domains.moving import unweighted
from ntk_keras.training import values as values_module
from ntk_keras.training.points import (
    as_tensors,
    check_names,
    check_points,
    points_by_term,
)
from ntk_keras.training.residuals import Residuals
from ntk_keras.training.terms import Term
from ntk_keras.training.uncertainty import Uncertainty, uncertainty_of

__all__ = ["EvaluatesFunctions"]


class EvaluatesFunctions(keras.Model):
    """A model that evaluates outputs, residuals and derived fields batch by batch."""

    network: keras.layers.Layer
    terms: tuple[Term, ...]
    random_state: keras.Variable
    _points: Callable[[Any, tf.Tensor], dict[str, Any]]
    _residuals: Residuals

    def predict(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Returns the network's outputs as arrays, as ``keras.Model.predict`` does.

        Args:
            x: inputs of the network.
            batch_size: number of points at a time; by default more than Keras' slow 32.
            **kwargs: further arguments of ``keras.Model.predict``.

        Raises:
            ValueError: if inputs are complex, masked or ragged, text, lists of numbers or an empty
                dataset, or if points do not have the network's width.
        """
        values_module.check_arrays(x)
        x = values_module.as_arrays(x)
        check_shapes(x, self.network)
        if values_module.num_points(x) == 0:
            if isinstance(x, tf.data.Dataset):
                raise ValueError("x must yield points. Received a dataset of none.")
            return self.predict_on_batch(x)
        batch_size = values_module.batch_size_for(x, batch_size)
        dtype = precision.parameter_dtype(self.network)
        batches = values_module.unrounded((x,), dtype, batch_size)
        if batches is not None:
            x, batch_size = batches, None
        return super().predict(x, batch_size, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        """Returns the network's outputs for a single batch, with the checks of :meth:`predict`.

        Args:
            x: inputs of the network.
        """
        values_module.check_arrays(x)
        x = values_module.as_arrays(x)
        check_shapes(x, self.network)
        return super().predict_on_batch(x)

    def test_on_batch(
        self, x: Any = None, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Evaluates one batch of points by term, or of inputs and values.

        Otherwise this is ``keras.Model.test_on_batch``.

        Args:
            x: points by term, or inputs of the network.
            y: values at ``x``.
            sample_weight: weight of each point, ``[n]``.
            return_dict: whether to return a dict by name.

        Raises:
            ValueError: if arrays are masked or ragged, text, lists of numbers or complex inputs.
        """
        values_module.check_batch(x, y, sample_weight)
        x, y, sample_weight = values_module.as_arrays((x, y, sample_weight))
        return super().test_on_batch(x, y, sample_weight, return_dict)

    def residuals(
        self, points: Mapping[str, Any] | None = None, *, batch_size: int | None = None
    ) -> dict[str, np.ndarray]:
        """Returns the residuals of terms, without weights and without the ``reduction`` scale.

        ``model.residuals({"equation": grid})``, for example, shows where an equation is not solved
        yet.

        Args:
            points: points by term for the terms to evaluate; by default all terms at the points of
                the next step.
            batch_size: number of points at a time. A row that depends on other points sees only
                those of its batch.

        Returns:
            Residuals ``[n]`` or ``[n, k]`` by term.

        Raises:
            ValueError: if a name is not that of a term, or points do not fit.
        """
        if points is None:
            points = points_by_term(self.terms, self._points(None, self.random_state.value))
            points = {name: unweighted(at) for name, at in points.items()}
        else:
            check_names(self.terms, points)
        found = {}
        for term in self.terms:
            if term.name in points:
                residual = self._residuals.compiled(term)
                at = points[term.name]
                found[term.name] = self._in_batches(term.name, residual, at, batch_size)
        return found

    def evaluate_function(
        self,
        function: Callable[[Any, Any], Any],
        points: Any,
        *,
        batch_size: int | None = None,
    ) -> Any:
        """Evaluates a function of the trained network, such as a flux, a stress or a vorticity.

        Args:
            function: function ``function(u, points)`` that returns a tensor, or a nest of tensors,
                with a row for each point. ``u`` is what residuals receive, with derivatives carried
                forward and ``u.unknowns``.
            points: array, or nest of arrays that share their first axis.
            batch_size: number of points at a time.

        Returns:
            What the function returns, as arrays.

        Raises:
            ValueError: if points are empty, of unequal length or not finite.

        Example::

            def flux(u, x):
                return u.unknowns["k"] * nk.derivatives.gradient(u, x)[:, 0]

            model.evaluate_function(flux, box.grid(100, 100))
        """

        def evaluate(at: Any) -> Any:
            u = self._residuals.view()
            with named_columns(u):
                return function(u, at)

        graph = tf.function(evaluate, autograph=False)
        return self._in_batches("function", graph, points, batch_size)

    def uncertainty(
        self,
        measured: str | Sequence[str] | None = None,
        *,
        points: Mapping[str, Any] | None = None,
    ) -> Uncertainty:
        """Computes standard errors of the unknowns by linearized weighted least squares.

        Noise in measured values shifts the minimum of the loss, and with it the coefficients and
        the network's parameters. The noise is estimated from the residuals at the minimum and from
        how many of their entries the network is free to fit. Any optimizer may have trained the
        model, but training must have converged: a warning says if coefficients are farther from the
        minimum than their standard errors.

        The computation takes rows of the Jacobian at all points and keeps at most as many of a term
        as there are parameters p. Their factorization takes about ``p^3`` operations, which suits
        networks of a few thousand parameters.

        Args:
            measured: names of the terms with noisy residuals, each with noise of one size. The
                others are taken as exact. By default the noise of every term is estimated, which
                takes many rows in each noisy term.
            points: points by term that replace its own; the term keeps the weight that it has in a
                step. A term with a sampler draws two points for each parameter by default. Terms
                without points need theirs here.

        Raises:
            ValueError: if the model has no unknowns, a name is not that of a term, or the network
                can fit the terms whatever their noise.

        Example::

            found = model.uncertainty("observations")
            k, error = model.unknowns["k"], found.standard_errors["k"]
        """
        found = uncertainty_of(self, measured, points)
        far = [
            name
            for name, error in found.standard_errors.items()
            if np.any(np.abs(found.remaining[name]) > error)
        ]
        if far:
            warnings.warn(
                f"Training has not come to its end: {far} would move by more than the standard "
                f"error, by {[found.remaining[name] for name in far]} as the linearized residuals "
                "say. Train on, as by nk.polish or nk.optimizers.NaturalGradient.",
                stacklevel=2,
            )
        return found

    def _in_batches(
        self, name: str, graph: Callable[[Any], Any], points: Any, batch_size: int | None
    ) -> Any:
        check_points(name, points)
        size = check_count("batch_size", batch_size or values_module.BATCH_SIZE)
        tensors = as_tensors(points, precision.parameter_dtype(self.network))
        parts = []
        for start in range(0, tf.nest.flatten(tensors)[0].shape[0], size):
            rows = tf.nest.map_structure(lambda x: x[start : start + size], tensors)  # noqa: B023
            parts.append(tf.nest.map_structure(np.asarray, graph(rows)))
        return tf.nest.map_structure(lambda *values: np.concatenate(values), *parts)
