"""Hand-off to quasi-Newton methods: the loss as a function of one vector, and L-BFGS on it."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import scipy
import tensorflow as tf

from ntk_keras.backend import private_names, seeds
from ntk_keras.backend.checks import check_count
from ntk_keras.backend.variables import parameters_at, watchable
from ntk_keras.training import data as data_module
from ntk_keras.training import points as points_module
from ntk_keras.training.callback_checks import prepare_callbacks
from ntk_keras.training.gradient_culprits import describe_bad_gradients
from ntk_keras.training.model import PINNModel
from ntk_keras.training.nan_check import TrainingDivergedError
from ntk_keras.training.term_changes import TermChanges

__all__ = ["Objective", "polish"]

_LOGGER = logging.getLogger("ntk_keras")

# Of SciPy's L-BFGS-B: a longer memory than its 10 pays off on the ill-conditioned losses of PINNs,
# and an iteration is stopped by its line search alone, not by a tolerance that knows no scale.
OPTIONS = {"maxcor": 50, "maxls": 50, "ftol": 0.0, "gtol": 0.0}


class Objective:
    """The loss (1) of a model as a function of all its parameters in one vector.

    Points are those of the next training step, and stay; so do the loss weights, as nothing here
    updates them. For any optimizer that takes such a function::

        objective = Objective(model)
        result = scipy.optimize.minimize(
            objective.loss_and_gradients, objective.theta, jac=True, method="BFGS"
        )
        objective.assign(result.x)

    Args:
        model: whose loss.
        data: points by term in place of the terms' own, usually more than a step has.

    Attributes:
        model: as given.
        blocks: the residual blocks at their points.

    Raises:
        ValueError: for data that names no term, or a term left without points.
    """

    def __init__(self, model: PINNModel, data: Mapping[str, Any] | None = None):
        self.model = model
        given = {} if data is None else data
        for name, points in points_module.points_by_term(model.terms, given).items():
            points_module.check_points(name, points)
        self.blocks = model.blocks(data, training=False)
        self._changes = TermChanges(model.terms)
        self._variables = model.trainable_variables
        compiler = {"jit_compile": bool(getattr(model, "jit_compile", False)), "autograph": False}
        self._differentiated = tf.function(self._loss_and_gradients, **compiler)
        self._evaluated = tf.function(self._losses, **compiler)

    @property
    def theta(self) -> np.ndarray:
        """The present parameters of the model, ``[p]`` in float64."""
        flat = [np.asarray(v.numpy(), np.float64).ravel() for v in self._variables]
        return np.concatenate(flat)

    @property
    def bounds(self) -> list[tuple[float | None, None]] | None:
        """Bounds of theta for SciPy, from non-negativity constraints; None without any.

        Raises:
            ValueError: for a variable with a constraint of another kind.
        """
        for variable in self._variables:
            if not isinstance(variable.constraint, keras.constraints.NonNeg | None):
                raise ValueError(
                    f"Variable {variable.path!r} has the constraint {variable.constraint}, which "
                    "an optimizer outside Keras does not keep. It can keep `NonNeg`; remove others."
                )
        if all(variable.constraint is None for variable in self._variables):
            return None
        sizes = zip(self._variables, self._sizes, strict=True)
        return [
            (None if v.constraint is None else 0.0, None) for v, size in sizes for _ in range(size)
        ]

    def loss_and_gradients(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss and its gradient; the model keeps its own parameters.

        Args:
            theta: parameters ``[p]``, rounded to the dtype of each variable.

        Returns:
            The loss, and its gradient ``[p]`` in float64.

        Raises:
            RuntimeError: if a term was given other points or a new residual since.
        """
        if self._changes.any():
            raise RuntimeError(
                "A term has other points, or another residual, than when this loss was made, which "
                "L-BFGS takes for one function. Call `polish` again, or make a new Objective."
            )
        loss, gradient = self._differentiated(tf.constant(theta, tf.float64))
        return float(loss), gradient.numpy()

    def logs(self, theta: np.ndarray) -> dict[str, float]:
        """``loss``, ``loss/<term>``, ``weights/<group>`` and ``unknowns/<name>``.

        Args:
            theta: parameters ``[p]``, those of the model for the unknowns.
        """
        losses, loss = self._evaluated(tf.constant(theta, tf.float64))
        by_term = {f"loss/{t.name}": v for t, v in zip(self.model.terms, losses, strict=True)}
        logs = {"loss": loss, **by_term, **self.model.current_logs()}
        return {name: float(value) for name, value in logs.items()}

    def assign(self, theta: np.ndarray) -> None:
        """Makes theta, ``[p]``, the parameters of the model."""
        for variable, value in zip(self._variables, self._split(tf.constant(theta)), strict=True):
            variable.assign(value)

    @property
    def _sizes(self) -> list[int]:
        return [int(np.prod(variable.shape)) for variable in self._variables]

    def _split(self, theta: tf.Tensor) -> list[tf.Tensor]:
        """Theta by variable, in its shape and dtype."""
        parts = zip(tf.split(theta, self._sizes), self._variables, strict=True)
        return [tf.cast(tf.reshape(part, v.shape), v.dtype) for part, v in parts]

    def _losses(self, theta: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        with parameters_at(self._variables, self._split(theta)):
            return self._current_losses()

    def _loss_and_gradients(self, theta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with parameters_at(self._variables, self._split(theta)):
            watched = watchable(self._variables)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(watched)
                _, loss = self._current_losses()
            gradients = tape.gradient(loss, watched, unconnected_gradients="zero")
        return loss, tf.concat([tf.cast(tf.reshape(g, [-1]), theta.dtype) for g in gradients], 0)

    def _current_losses(self) -> tuple[list[tf.Tensor], tf.Tensor]:
        residuals = {name: block() for name, block in self.blocks.items()}
        points = {name: block.points for name, block in self.blocks.items()}
        return self.model.loss_values(residuals, points)


def polish(
    model: PINNModel,
    data: Mapping[str, Any] | None = None,
    *,
    epochs: int = 1,
    iterations_per_epoch: int = 100,
    initial_epoch: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] | None = None,
    validation_data: Any = None,
    verbose: int | str = "auto",
    options: Mapping[str, Any] | None = None,
) -> keras.callbacks.History:
    """Lowers the loss of a trained model by L-BFGS, at fixed points and loss weights.

    Callbacks see what ``fit`` shows them: progress bar, history file, checkpoints and TensorBoard
    go on in the same files. An iteration counts as a step of the optimizer's ``iterations``. Ends
    early when the line search finds nothing lower, which in single precision comes soon.

    Args:
        model: to be trained further.
        data: points by term in place of the terms' own. Points do not change here, so take more
            than a training step has, as in ``{"equation": box.interior(5000).fixed(0)}``.
        epochs: number of epochs, in which callbacks and validation have their turn.
        iterations_per_epoch: iterations of L-BFGS in each.
        initial_epoch: number of the first; by default that after the model's last ``fit`` in this
            process; after a restored checkpoint give the number it returned.
        callbacks: as for ``fit``.
        validation_data: as for ``PINNModel.fit``.
        verbose: as for ``fit``.
        options: of SciPy's ``"L-BFGS-B"``, in place of :data:`OPTIONS`.

    Returns:
        The history.

    Raises:
        ValueError: for data that does not fit the terms, or a variable with a constraint that
            cannot be kept.
        TrainingDivergedError: if loss or gradient are not finite at the start.

    Reference:
        Byrd, Lu, Nocedal, Zhu, "A limited memory algorithm for bound constrained optimization",
        SIAM J. Sci. Comput. 16 (1995), as in SciPy.
    """
    check_count("epochs", epochs)
    check_count("iterations_per_epoch", iterations_per_epoch)
    data_module.check_validation(validation_data, None)
    prepare_callbacks(model, callbacks)
    objective = Objective(model, data)
    bounds, start = objective.bounds, objective.theta
    _check_start(objective, start)
    seeds.advance(model.random_state)  # a next call draws other points
    first = _next_epoch(model) if initial_epoch is None else initial_epoch
    watch = keras.callbacks.CallbackList(
        list(callbacks or []),
        add_history=True,
        add_progbar=verbose != 0,
        verbose=1 if verbose == "auto" else verbose,
        epochs=first + epochs,
        steps=iterations_per_epoch,
        model=model,
    )
    progress = _Progress(objective, watch, first, iterations_per_epoch, validation_data)
    model.stop_training = False
    with progress:
        result = scipy.optimize.minimize(
            objective.loss_and_gradients,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            callback=progress.after_iteration,
            options={
                **OPTIONS,
                "maxiter": epochs * iterations_per_epoch,
                "maxfun": 100 * epochs * iterations_per_epoch,
                **(options or {}),
            },
        )
    _LOGGER.info("L-BFGS ended after %d iterations: %s", result.nit, result.message)
    return model.history


class _Progress:
    """Keeps the model at the last iterate, and tells callbacks of iterations and epochs."""

    def __init__(
        self,
        objective: Objective,
        callbacks: keras.callbacks.CallbackList,
        epoch: int,
        iterations_per_epoch: int,
        validation_data: Any,
    ):
        self.objective = objective
        self.callbacks = callbacks
        self.epoch = epoch
        self.iterations_per_epoch = iterations_per_epoch
        self.validation_data = validation_data
        self.iteration = 0  # within the epoch
        self.logs: dict[str, float] = {}

    def __enter__(self) -> None:
        self.callbacks.on_train_begin()

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            if self.iteration:
                self._end_epoch()
            self.callbacks.on_train_end(self.logs)

    def after_iteration(self, intermediate_result: "scipy.optimize.OptimizeResult") -> None:
        """SciPy's callback, which knows it by the name of its argument."""
        if self.iteration == 0:
            self.callbacks.on_epoch_begin(self.epoch)
        self.callbacks.on_train_batch_begin(self.iteration)
        model, theta = self.objective.model, np.array(intermediate_result.x)
        self.objective.assign(theta)
        if getattr(model, "optimizer", None) is not None:
            private_names.add_iterations(model.optimizer, 1)
        unknowns = {name: float(value) for name, value in model.coefficients.logs().items()}
        logs = {"loss": float(intermediate_result.fun), **unknowns}
        self.callbacks.on_train_batch_end(self.iteration, logs)
        self.iteration += 1
        if self.iteration == self.iterations_per_epoch:
            self._end_epoch()
        if model.stop_training:
            raise StopIteration

    def _end_epoch(self) -> None:
        self.logs = {**self.objective.logs(self.objective.theta), **self._validation()}
        self.callbacks.on_epoch_end(self.epoch, self.logs)
        self.epoch, self.iteration = self.epoch + 1, 0

    def _validation(self) -> dict[str, float]:
        if self.validation_data is None:
            return {}
        data = self.validation_data
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(
            data if isinstance(data, tuple) else (data,)
        )
        values = self.objective.model.evaluate(
            x,
            y,
            sample_weight=sample_weight,
            batch_size=data_module.length(data),
            callbacks=self.callbacks,
            return_dict=True,
            verbose=0,
        )
        return {f"val_{name}": value for name, value in values.items()}


def _next_epoch(model: PINNModel) -> int:
    epochs = getattr(getattr(model, "history", None), "epoch", [])
    return epochs[-1] + 1 if epochs else 0


def _check_start(objective: Objective, theta: np.ndarray) -> None:
    loss, gradient = objective.loss_and_gradients(theta)
    if not (np.isfinite(loss) and np.all(np.isfinite(gradient))):
        bad = describe_bad_gradients(objective.blocks, objective.model.trainable_variables)
        more = f" Not finite: {' and '.join(bad)}." if bad else ""
        raise TrainingDivergedError(
            "Loss or gradient are NaN or infinite at the model's present parameters, from where "
            f"nothing can be polished. Losses: {objective.logs(theta)}.{more}"
        )
