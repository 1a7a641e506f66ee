"""PINNModel: a Keras model that trains a network on loss terms with adaptive weights."""

import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from ntk_keras import weighting as weighting_module
from ntk_keras.backend import precision, private_names, replicas, seeds
from ntk_keras.backend.deprecation import renamed_members
from ntk_keras.derivatives import Mode
from ntk_keras.derivatives.network_inputs import check_shapes
from ntk_keras.kernel import Block, Linearization
from ntk_keras.optimizers import NaturalGradient
from ntk_keras.training import argument_checks, checked_step, nan_check, step
from ntk_keras.training import data as data_module
from ntk_keras.training import values as values_module
from ntk_keras.training.callback_checks import prepare_callbacks
from ntk_keras.training.evaluation import EvaluatesFunctions
from ntk_keras.training.metrics import RelativeL2, update_against_values
from ntk_keras.training.model_config import SavedWhole
from ntk_keras.training.points import points_by_term
from ntk_keras.training.residuals import Residuals
from ntk_keras.training.term_changes import FollowsTerms, TermChanges
from ntk_keras.training.terms import Reduction, Term, check_terms
from ntk_keras.training.unknowns import Unknowns
from ntk_keras.training.weight_readings import WeightReadings
from ntk_keras.training.weighting_setup import prepare_weighting
from ntk_keras.weighting import Weighting

__all__ = ["PINNModel"]

_LOGGER = logging.getLogger("ntk_keras")


@keras.saving.register_keras_serializable("ntk_keras")
@renamed_members(present_logs="current_logs")
class PINNModel(WeightReadings, FollowsTerms, EvaluatesFunctions, SavedWhole):
    """A network trained on ``L = 1/2 sum_b lambda_b ||R_b||^2`` (1) with adaptive weights.

    A training step draws points, records the residuals R, updates the loss weights lambda, and
    passes ``J^T Lambda R`` to the optimizer. It logs ``loss`` and, for every term, the unweighted
    ``loss/<term>``, which is ``1/2 ||R_b||^2``, as means over the epoch. The current
    ``weights/<group>`` and ``unknowns/<name>`` are logged too; an array logs
    ``unknowns/<name>/<entry>`` if it has at most 16 entries.

    Args:
        network: Keras model or layer that maps points ``[n, d]`` to ``[n, outputs]``.
        terms: loss terms.
        weighting: name in :data:`ntk_keras.weighting.WEIGHTINGS`, a weighting object, or constant
            weights by group, as in ``{"data": 10.0}``.
        reduction: ``"sum"``, as in the paper, or ``"mean"``, which divides each ``||R_b||^2`` by
            its number of entries everywhere.
        derivatives: ``"auto"`` propagates derivatives forward if every layer has a rule, and
            otherwise uses nested tapes; ``"tapes"`` always uses tapes; ``"taylor"`` refuses layers
            without a rule. See :meth:`derivatives_summary`.
        unknowns: coefficients to be found, by name, each an :class:`~ntk_keras.Unknown` or an
            initial value. Residuals read them as ``u.unknowns[name]``.
        seed: integer for points and probes; None takes one from Keras' global random state.

    Attributes:
        weighting: the weighting object.
        coefficients: the unknown coefficients, a layer.

    Raises:
        ValueError: if terms do not fit the network or each other, or if the network has a layer
            that ``derivatives="taylor"`` cannot use. The message names the term or layer.

    Example::

        box = nk.domains.Box(x=(0, 1))
        decay = lambda u, p: nk.derivatives.partial(u, p, "x")[:, 0] + u(p)[:, 0]
        start = nk.Term("start", lambda u, p: u(p)[:, 0] - 1, box.face(x=0).sample(1))
        terms = [nk.Term("equation", decay, box.interior(64)), start]
        model = nk.PINNModel(nk.networks.feedforward(box), terms)
        model.compile("adam")
        model.fit(epochs=5, steps_per_epoch=100)
    """

    def __init__(
        self,
        network: keras.layers.Layer,
        terms: Iterable[Term],
        weighting: str | Mapping[str, Any] | Weighting = "ntk",
        *,
        reduction: Reduction = "sum",
        derivatives: Mode = "auto",
        unknowns: Mapping[str, Any] | None = None,
        seed: int | None = None,
        name: str = "pinn",
        **kwargs: Any,
    ):
        # The network casts its inputs itself, to its own dtype.
        super().__init__(name=name, autocast=False, **kwargs)
        argument_checks.check_init(network, reduction)
        self.network = network
        self.terms = check_terms(terms)
        self.reduction = reduction
        self.derivatives = derivatives
        self.seed = seed
        self.coefficients = Unknowns(unknowns or {}, self.parameter_dtype)
        self._residuals = Residuals(network, self.terms, self.coefficients, derivatives, reduction)
        self.random_state = seeds.add_random_state(self, seed)
        self._follow_moving()
        self.weighting = weighting_module.get(weighting)
        sizes = self._inspect({})
        if len(sizes) == len(self.terms):
            self.coefficients.check_read()
        prepare_weighting(self, sizes)
        self._term_changes = TermChanges(self.terms)
        self.failure_steps = checked_step.add_failure_steps(self)
        dtype = self.parameter_dtype
        self._term_losses = [keras.metrics.Mean(f"loss/{t.name}", dtype=dtype) for t in self.terms]
        self._relative_l2 = RelativeL2(dtype=dtype)
        self.built = True
        _LOGGER.debug("%s", self.derivatives_summary())

    def __repr__(self) -> str:
        terms = [term.name for term in getattr(self, "terms", ())]  # none yet in an error's text
        return f"<PINNModel on {terms}, weighting={getattr(self, 'weighting', None)!r}>"

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self, "built", False):
            argument_checks.check_assigned(name)
        super().__setattr__(name, value)

    @property
    def unknowns(self) -> dict[str, Any]:
        """The current values of the unknown coefficients, as floats or arrays."""
        return self.coefficients.values()

    @property
    def kernel_variables(self) -> list[keras.Variable]:
        """The trainable variables that the kernel includes."""
        outside = {*self.coefficients.outside_kernel, *self.weighting.exclude_variables}
        return [v for v in self.trainable_variables if outside.isdisjoint((v.name, v.path))]

    @property
    def parameter_dtype(self) -> str:
        """The dtype of the network's parameters, which points, weights and traces share."""
        return precision.parameter_dtype(self.network)

    def blocks(self, data: Any = None, training: bool | None = None) -> dict[str, Block]:
        """Returns the residual blocks at the next step's points, for :mod:`ntk_keras.kernel`.

        Args:
            data: points by term name, for terms without points of their own.
            training: whether layers compute as in training, without keeping their updates. By
                default true if the weights depend on the kernel.
        """
        self.follow_terms()
        draw: Callable[[tf.Tensor], dict[str, Any]] = functools.partial(self._points, data)
        if step.is_compiled_by_xla(self):  # XLA draws other numbers
            draw = tf.function(draw, autograph=False, jit_compile=True)
        training = self.weighting.uses_kernel if training is None else training
        return self._residuals.blocks(draw(self.random_state.value), training)

    def derivatives_summary(self) -> str:
        """Describes how each term's residual differentiates the network, and why.

        A line for the network and one for each term evaluated so far list the channels carried
        forward: ``u`` is the value, ``u_01`` is ``d_0 d_1 u``, and bars separate sets of points. A
        line also says why exact traces would cost a reverse pass per point, if so.
        """
        return self._residuals.summary()

    def loss_values(
        self, residuals: Mapping[str, tf.Tensor], points: Mapping[str, Any] | None = None
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Returns ``1/2 ||R_b||^2`` of every term, and the loss (1) at the current weights.

        Args:
            residuals: tensors ``[n_b]`` by term.
            points: points of these residuals by term, which causal weights need.
        """
        return step.loss_values(self, residuals, points)

    def current_logs(self) -> dict[str, tf.Tensor]:
        """Returns the scalars ``weights/<group>`` and ``unknowns/<name>``.

        A :class:`~ntk_keras.optimizers.NaturalGradient` adds ``damping`` and ``step_length``.
        """
        logs = {**self.weighting.logs(), **self.coefficients.logs()}
        optimizer = getattr(self, "optimizer", None)
        return {**logs, **(optimizer.logs() if isinstance(optimizer, NaturalGradient) else {})}

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the network's outputs."""
        check_shapes(inputs, self.network)
        return self.network(inputs, training=training)

    def compile(self, optimizer: Any = "adam", **kwargs: Any) -> None:
        """Configures training as ``keras.Model.compile`` does, without ``loss``: terms define it.

        If the network computes in float16, the optimizer scales the loss unless
        ``auto_scale_loss=False``. ``jit_compile=False`` disables XLA for the whole step. By default
        XLA compiles exact diagonals on a CPU, where Keras leaves the step to TensorFlow.
        """
        self.given_jit_compile = kwargs.get("jit_compile", "auto")
        argument_checks.check_compile(kwargs, self.distribute_strategy.num_replicas_in_sync)
        with self.distribute_strategy.scope():
            if kwargs.get("auto_scale_loss", True) and precision.needs_scale(self.network):
                optimizer = precision.scaling(optimizer)
            super().compile(optimizer=optimizer, **kwargs)
            argument_checks.check_optimizer(self.optimizer, self)
            private_names.loss_tracker(self, self.parameter_dtype)  # made before a step is traced
            if not self.optimizer.built:  # so that `load_weights` finds its variables
                self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        *,
        epochs: int = 1,
        steps_per_epoch: int | None = None,
        callbacks: Any = None,
        validation_data: Any = None,
        validation_batch_size: int | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the network. A second call continues where the first stopped.

        Args:
            x: None if the terms have points; a dict from term names to points, all of which are
                used at every step; or a ``tf.data.Dataset`` of such dicts, one for each step.
            y: unused; measured values belong to a term.
            epochs: number of epochs.
            steps_per_epoch: number of steps; one by default, or the length of a dataset.
            callbacks: callbacks as for any Keras model.
            validation_data: pair ``(points, values)``, whose relative L2 error is logged as
                ``val_relative_l2`` after each epoch; or held-out points by term, whose losses are
                logged as ``val_loss/<term>``, with ``val_loss`` their sum at the current weights.
                Terms left out are evaluated at their own points. Validation never changes a weight.
            validation_batch_size: number of points at a time in validation; all by default.
            **kwargs: further arguments of ``keras.Model.fit``.

        Raises:
            ValueError: if data does not fit, or a residual is not finite at the first step.
            TrainingDivergedError: if a step is not finite. The model keeps the last good state.
        """
        argument_checks.check_fit(y, kwargs, steps_per_epoch)
        data_module.check_validation(validation_data, kwargs.get("validation_steps"))
        validation_data, validation_batch_size = data_module.for_validation(
            validation_data, self.terms, self.parameter_dtype, validation_batch_size
        )
        data_module.check_ends("x", x, steps_per_epoch, "steps_per_epoch")
        x, default_steps = self._dataset(x, finite=step.is_untrained(self))
        kwargs.setdefault("shuffle", False)  # A dataset comes in its order; Keras warns otherwise.
        prepare_callbacks(self, callbacks)
        return super().fit(
            x,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch or default_steps,
            callbacks=nan_check.with_own_callbacks(callbacks),
            validation_data=validation_data,
            validation_batch_size=validation_batch_size,
            **kwargs,
        )

    def train_on_batch(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Runs one step as ``keras.Model.train_on_batch`` does; raises what :meth:`fit` raises."""
        values_module.check_batch(x)
        nan_check.forget_failures(self)
        logs = super().train_on_batch(x, *args, **kwargs)
        nan_check.raise_if_diverged(self)
        return logs

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Returns the loss and its terms at the next step's points, or the relative L2 error.

        Args:
            x: points by term as in :meth:`fit`; or, for the error, inputs of the network, with
                ``y`` or as a dataset of ``(inputs, values)``.
            y: reference values at ``x``.
            **kwargs: further arguments of ``keras.Model.evaluate``.
        """
        if not private_names.is_repeated_validation(kwargs):
            if y is None and not data_module.yields_pairs(x):
                if not isinstance(x, tf.data.Dataset):
                    argument_checks.check_unused("evaluate", kwargs)
                x, default_steps = self._dataset(x)
                kwargs.setdefault("steps", default_steps)
            else:
                x, y, kwargs = values_module.for_values(x, y, kwargs, self.parameter_dtype)
        data_module.check_ends("x", x, kwargs.get("steps"), "steps")
        values = super().evaluate(x, y, **kwargs)
        # Older Keras returns tensors unless the values are its own metrics'.
        return tf.nest.map_structure(lambda v: float(v) if tf.is_tensor(v) else v, values)

    @tf.autograph.experimental.do_not_convert
    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Performs one step of Algorithm 3: predictor, moving average, corrector."""
        before = checked_step.state_of(self)
        seed = seeds.advance(self.random_state)
        points = points_by_term(self.terms, self._points(data, seed))
        linearization = Linearization(
            self._residuals.blocks(points, training=True, assigns=True),
            self.trainable_variables,
            factored=step.wants_jacobian(self),
            jit_compile=self.given_jit_compile is not False,
        )
        in_kernel = linearization.without(*self.coefficients.outside_kernel)
        self.weighting.follow(in_kernel, seeds.fold_in(seed, 0))
        losses, loss = self.loss_values(linearization.residuals, points)
        gradients = step.loss_gradients(self, linearization)
        self._move_points(linearization, data, seed)
        checked_step.apply_if_finite(self, gradients, losses, before)
        return replicas.as_logs({**self._loss_logs(losses, loss), **self.current_logs()})

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Computes the error on ``(points, values)``, or the losses at points by term."""
        if isinstance(data, tuple) and not data_module.is_by_term(data):
            return replicas.as_logs(update_against_values(self, self._relative_l2, *data))
        # The next step's seed is read, not advanced: evaluation does not affect training.
        seed = tf.identity(self.random_state.value)
        points = points_by_term(self.terms, self._points(data, seed))
        blocks = self._residuals.blocks(points, training=False)
        losses, loss = self.loss_values({name: b() for name, b in blocks.items()}, points)
        return replicas.as_logs(self._loss_logs(losses, loss))

    def get_metrics_result(self) -> dict[str, Any]:
        """Returns nothing, as the logs come from the steps and not from compiled metrics."""
        return {}

    def _inspect(self, data: Mapping[str, Any], finite: bool = False) -> dict[str, int]:
        """Evaluates every residual that has points once and returns their numbers of entries."""
        points = self._points(data, tf.constant([0, 0]))
        return self._residuals.inspect(points, self.weighting.uses_kernel, finite)

    def _dataset(self, x: Any, finite: bool = False) -> tuple[Any, int | None]:
        """Returns what Keras iterates over, and the steps per epoch if that is endless."""
        steps = data_module.for_steps(x, self.terms, self.parameter_dtype, self.distribute_strategy)
        if steps.first is not None:
            self._inspect(steps.first, finite)
        argument_checks.check_compilable(self)
        return steps.batches, steps.steps_per_epoch

    def _loss_logs(self, losses: list[tf.Tensor], loss: tf.Tensor) -> dict[str, tf.Tensor]:
        means = [private_names.loss_tracker(self, self.parameter_dtype), *self._term_losses]
        return step.mean_logs(means, [loss, *losses])

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Does nothing, as all is built. Keras would combine the points of replicas for a shape."""
