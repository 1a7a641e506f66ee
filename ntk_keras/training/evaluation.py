"""What a model is asked after training: outputs, residuals, and functions of the solution."""

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
    """A model whose outputs, residuals and derived fields are evaluated batch by batch."""

    network: keras.layers.Layer
    terms: tuple[Term, ...]
    random_state: keras.Variable
    _points: Callable[[Any, tf.Tensor], dict[str, Any]]
    _residuals: Residuals

    def predict(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """The network's outputs, an array or a nest of arrays; as ``keras.Model.predict``.

        Args:
            x: inputs of the network.
            batch_size: points at a time; by default more than Keras' 32, which are slow.
            **kwargs: whatever else ``keras.Model.predict`` takes.

        Raises:
            ValueError: for complex, masked or ragged inputs, text, lists of numbers, a dataset of
                nothing, or points of another width than the network's.
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
        """The network's outputs at a single batch; takes and refuses what :meth:`predict` does.

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
        """As ``keras.Model.test_on_batch``, on points by term, or on inputs and values there.

        Args:
            x: points by term, or inputs of the network.
            y: values at ``x``.
            sample_weight: weights of the points.
            return_dict: whether the results are a dict by name.

        Raises:
            ValueError: for masked or ragged arrays, text, lists of numbers, or complex inputs.
        """
        values_module.check_batch(x, y, sample_weight)
        x, y, sample_weight = values_module.as_arrays((x, y, sample_weight))
        return super().test_on_batch(x, y, sample_weight, return_dict)

    def residuals(
        self, points: Mapping[str, Any] | None = None, *, batch_size: int | None = None
    ) -> dict[str, np.ndarray]:
        """The residuals of terms, without weights and without the scale of ``reduction``.

        As a map of where an equation is not solved yet: ``model.residuals({"equation": grid})``.

        Args:
            points: by term, where to evaluate those terms; by default all of them at the points of
                the next step.
            batch_size: points at a time. A row that depends on other points sees those alone.

        Returns:
            ``[n]`` or ``[n, k]`` by term.

        Raises:
            ValueError: for a name that is no term's, or points that do not fit.
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
        """A function of the trained network, as a residual is one: fluxes, stresses, vorticity.

        Args:
            function: ``function(u, points)`` returns a tensor, or a nest of tensors, with a row for
                each point. ``u`` is what residuals are given: with derivatives carried forward and
                ``u.unknowns``.
            points: an array, or any nest of arrays that share their first axis.
            batch_size: points at a time.

        Returns:
            What the function returns, as arrays.

        Raises:
            ValueError: for points that are empty, of unequal length or not finite.

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
        """Standard errors of the unknown coefficients, by linearized weighted least squares.

        The noise of measured values moves the minimum of the loss, and with it the coefficients;
        the network's parameters move along. How large the noise is follows from the residuals at
        the minimum and from how many of their entries the network is free to fit. Any optimizer
        may have trained the model, but to the end: a warning says if coefficients are farther
        from the minimum than their standard errors.

        It takes rows of the Jacobian at all points, keeps at most as many of a term as there are
        parameters p, and factorizes them in some p^3 operations: for a few thousand parameters.

        Args:
            measured: the names of the terms whose residual is noisy, each with noise of one size.
                The others hold exactly. By default the noise of every term is estimated, which
                takes many rows in each that is noisy.
            points: by term, in place of its own; the term keeps the weight that it has in a step.
                Of a term with a sampler two points for each parameter are drawn by default. Terms
                that have none need theirs here.

        Raises:
            ValueError: for a model without unknowns, a name that is no term's, or terms that the
                network fits whatever the noise is.

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
