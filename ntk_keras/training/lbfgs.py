"""Quasi-Newton training: the loss as a function of one vector, and L-BFGS applied to it."""

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

# Options of SciPy's L-BFGS-B. A longer memory than its 10 pays off on the ill-conditioned losses of
# PINNs. Only the line search stops an iteration, since a tolerance would ignore the loss's scale.
OPTIONS = {"maxcor": 50, "maxls": 50, "ftol": 0.0, "gtol": 0.0}


class Objective:
    """The loss (1) of a model as a function of all its parameters in one vector.

    The points are those of the next training step and stay fixed, as do the loss weights. Any
    optimizer that takes such a function can use it.

    Args:
        model: :class:`PINNModel` whose loss is evaluated.
        data: points by term that replace the terms' own, usually more than a step has.

    Attributes:
        model: the model.
        blocks: the residual blocks at their points.

    Raises:
        ValueError: if data has a name that is not that of a term, or a term has no points.

    Example::

        objective = Objective(model)
        result = scipy.optimize.minimize(
            objective.loss_and_gradients, objective.theta, jac=True, method="BFGS"
        )
        objective.assign(result.x)
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
        """The current parameters of the model, ``[p]`` in float64."""
        flat = [np.asarray(v.numpy(), np.float64).ravel() for v in self._variables]
        return np.concatenate(flat)

    @property
    def bounds(self) -> list[tuple[float | None, None]] | None:
        """Bounds of theta for SciPy, from non-negativity constraints; None if there are none.

        Raises:
            ValueError: if a variable has a constraint of another kind.
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
        """Returns the loss and its gradient. The model keeps its own parameters.

        Args:
            theta: parameters ``[p]``, rounded to the dtype of each variable.

        Returns:
            The loss, and its gradient ``[p]`` in float64.

        Raises:
            RuntimeError: if a term has been given new points or a new residual.
        """
        if self._changes.any():
            raise RuntimeError(
                "A term has other points, or another residual, than when this loss was made, which "
                "L-BFGS takes for one function. Call `polish` again, or make a new Objective."
            )
        loss, gradient = self._differentiated(tf.constant(theta, tf.float64))
        return float(loss), gradient.numpy()

    def logs(self, theta: np.ndarray) -> dict[str, float]:
        """Returns ``loss``, ``loss/<term>``, ``weights/<group>`` and ``unknowns/<name>``.

        Args:
            theta: parameters ``[p]``, those of the model for the unknowns.
        """
        losses, loss = self._evaluated(tf.constant(theta, tf.float64))
        by_term = {f"loss/{t.name}": v for t, v in zip(self.model.terms, losses, strict=True)}
        logs = {"loss": loss, **by_term, **self.model.current_logs()}
        return {name: float(value) for name, value in logs.items()}

    def assign(self, theta: np.ndarray) -> None:
        """Assigns the parameters theta, ``[p]``, to the model."""
        for variable, value in zip(self._variables, self._split(tf.constant(theta)), strict=True):
            variable.assign(value)

    @property
    def _sizes(self) -> list[int]:
        return [int(np.prod(variable.shape)) for variable in self._variables]

    def _split(self, theta: tf.Tensor) -> list[tf.Tensor]:
        """Splits theta by variable, in its shape and dtype."""
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

    Callbacks receive what ``fit`` gives them, so the progress bar, history file, checkpoints and
    TensorBoard continue in the same files. An iteration counts as a step of the optimizer's
    ``iterations``. Training ends early if the line search finds no decrease, which happens soon in
    single precision.

    Args:
        model: model to train further.
        data: points by term that replace the terms' own. They do not change here, so take more than
            a training step has, as in ``{"equation": box.interior(5000).fixed(0)}``.
        epochs: number of epochs, after each of which callbacks and validation run.
        iterations_per_epoch: number of L-BFGS iterations in each epoch.
        initial_epoch: number of the first epoch; by default the one after the model's last ``fit``
            in this process. After a restored checkpoint pass the number that it returned.
        callbacks: callbacks as for ``fit``.
        validation_data: validation data as for ``PINNModel.fit``.
        verbose: verbosity as for ``fit``.
        options: options of SciPy's ``"L-BFGS-B"``, in place of :data:`OPTIONS`.

    Returns:
        The history.

    Raises:
        ValueError: if data does not fit the terms, or a variable has an unsupported constraint.
        TrainingDivergedError: if the loss or gradient is not finite at the start.

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
    """Keeps the model at the last iterate, and notifies callbacks of iterations and epochs."""

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
        """Handles SciPy's callback, which SciPy recognises by the name of its argument."""
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
