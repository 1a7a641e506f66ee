"""PINNModel: a Keras model that trains a network on loss terms that weigh themselves."""

import functools
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from ntk_keras import weighting as weighting_module
from ntk_keras.backend import precision, replicas, seeds
from ntk_keras.backend.checks import check_count
from ntk_keras.derivatives import LayerHook, Mode, NetworkView, RequestedDerivatives
from ntk_keras.kernel.block import Block
from ntk_keras.kernel.linearization import Linearization
from ntk_keras.training import datasets
from ntk_keras.training import terms as terms_module
from ntk_keras.training.inspection import inspect_in_training, inspect_term
from ntk_keras.training.metrics import RelativeL2
from ntk_keras.training.nan_check import NaNCheck
from ntk_keras.training.terms import Reduction, Term
from ntk_keras.training.unknowns import Unknowns
from ntk_keras.weighting import Weighting
from ntk_keras.weighting.base import by_name

__all__ = ["PINNModel"]

_LOGGER = logging.getLogger("ntk_keras")

_MADE_WITH = ("network", "terms", "weighting", "reduction", "derivatives")
_FOR_ONE_REPLICA = ("jit_compile", "metrics", "weighted_metrics")


@keras.saving.register_keras_serializable("ntk_keras")
class PINNModel(keras.Model):
    """A network trained on L = 1/2 sum_b lambda_b ||R_b||^2 (1), which chooses lambda as it goes.

    Each training step draws points, records the residuals R, lets the weighting bring lambda up to
    date (its predictor step never touches the network), and applies the corrector: the gradient
    J^T Lambda R through any Keras optimizer.

    Logs of a step, and the history: ``loss`` and, for every term, ``loss/<term>`` = 1/2 ||R_b||^2
    without its weight, both averaged over the epoch; ``weights/<group>`` and ``unknowns/<name>``,
    the present ones (``unknowns/<name>/<entry>`` of arrays, of more than 16 entries nothing).

    Args:
        network: a Keras model or layer that maps points ``[n, d]`` to ``[n, outputs]``.
        terms: the loss terms.
        weighting: a name of :data:`ntk_keras.weighting.WEIGHTINGS`, as ``"ntk"`` or
            ``"constant"``, or a weighting object.
        reduction: ``"sum"``, the paper's convention, or ``"mean"``, which divides ||R_b||^2 by its
            number of entries everywhere.
        derivatives: how residuals differentiate the network: ``"auto"``, forward if every layer has
            a rule, else by nested tapes; ``"tapes"``; or ``"taylor"``, which refuses a network with
            a layer that has none. See :meth:`derivatives_summary`.
        unknowns: unknown coefficients of the equations by name, each an
            :class:`~ntk_keras.Unknown` or its initial value alone. Residuals read them as
            ``u.unknowns[name]``; they are trained with the network and logged as
            ``unknowns/<name>``.
        seed: of points and probes; None takes one from ``keras.utils.set_random_seed``'s state.

    Attributes:
        network: the wrapped network.
        terms: the loss terms, a tuple.
        weighting: the weighting object.
        coefficients: the unknown coefficients, a layer.

    Raises:
        ValueError: for terms that do not fit the network or each other; the message names the term;
            for a network that ``derivatives="taylor"`` cannot serve, naming the layer.
    """

    def __init__(
        self,
        network: keras.layers.Layer,
        terms: Iterable[Term],
        weighting: str | Weighting = "ntk",
        *,
        reduction: Reduction = "sum",
        derivatives: Mode = "auto",
        unknowns: Mapping[str, Any] | None = None,
        seed: int | None = None,
        name: str = "pinn",
        **kwargs: Any,
    ):
        # The network casts its inputs, and knows better to what.
        super().__init__(name=name, autocast=False, **kwargs)
        if not isinstance(network, keras.layers.Layer):
            raise TypeError(
                "network must be a Keras model or layer, whose variables are trained. Give a "
                "function with the variables it reads, as in nk.networks.CallableNetwork(function, "
                f"variables). Received {network!r}."
            )
        if reduction not in ("sum", "mean"):
            raise ValueError(f'reduction must be "sum" or "mean". Received {reduction!r}.')
        self.network = network
        self.terms = terms_module.check_terms(terms)
        self.reduction = reduction
        self.derivatives = derivatives
        self.seed = seed
        self._requested = {term.name: RequestedDerivatives() for term in self.terms}
        self.coefficients = Unknowns(unknowns or {}, self.parameter_dtype)
        NetworkView(network, derivatives)  # refuses at once what it cannot serve
        self.random_state = seeds.add_random_state(self, seed)
        self.weighting = weighting_module.get(weighting)
        # By term, once it was evaluated: why its Jacobian is not factored, None if it is; which
        # holds for the parameters that were trained then. Keras would take these for its own.
        self._factoring: dict[str, str | None] = {}
        self._factored_for: frozenset[int] = frozenset()
        sizes = self._check_terms({})
        if len(sizes) == len(self.terms):
            self.coefficients.check_read()
        self.weighting.prepare(
            {term.name: term.group for term in self.terms},
            dtype=self.parameter_dtype,
            sizes={
                term.name: None if term.redrawn else sizes.get(term.name) for term in self.terms
            },
        )
        self.failure_steps = self.add_weight(
            shape=(len(self.terms) + 1,),
            initializer=keras.initializers.Constant(-1),
            dtype="int64",
            trainable=False,
            name="failure_steps",
        )
        dtype = self.parameter_dtype
        self._term_losses = [keras.metrics.Mean(f"loss/{t.name}", dtype=dtype) for t in self.terms]
        self._relative_l2 = RelativeL2(dtype=dtype)
        self.built = True
        _LOGGER.debug("%s", self.derivatives_summary())

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _MADE_WITH and getattr(self, "built", False):
            raise AttributeError(
                f"A PINNModel is built with its {name}, which cannot be another one later. Build a "
                "new model on the same network: PINNModel(model.network, ...). Its parameters are "
                "kept."
            )
        super().__setattr__(name, value)

    # What users read.

    @property
    def loss_weights(self) -> dict[str, float]:
        """The present loss weight of every group."""
        return by_name(self.weighting.groups, self.weighting.loss_weights.value)

    @property
    def kernel_traces(self) -> dict[str, float]:
        """The present estimate of Tr K_bb of every group that the weighting makes one of."""
        return by_name(self.weighting.adapted, self.weighting.traces)

    @property
    def trace_standard_errors(self) -> dict[str, float]:
        """Standard errors of :attr:`kernel_traces`; empty if the weighting knows none."""
        return by_name(self.weighting.adapted, self.weighting.standard_errors)

    @property
    def unknowns(self) -> dict[str, Any]:
        """The present values of the unknown coefficients, floats or arrays."""
        return self.coefficients.values()

    @property
    def kernel_variables(self) -> list[keras.Variable]:
        """The parameters whose kernel the weighting sees: without those that are left out."""
        outside = {*self.coefficients.outside_kernel, *self.weighting.exclude_variables}
        return [v for v in self.trainable_variables if outside.isdisjoint((v.name, v.path))]

    @property
    def parameter_dtype(self) -> str:
        """Dtype of the network's parameters, and so of points, weights and traces."""
        # A Sequential made of float64 layers calls itself float32: the parameters know better.
        variables = self.network.trainable_variables
        return variables[0].dtype if variables else self.network.variable_dtype

    def blocks(self, data: Any = None) -> dict[str, Block]:
        """The residual blocks at the next step's points, for :mod:`ntk_keras.kernel`.

        Args:
            data: points by term name, for terms that have none of their own.

        Returns:
            One block for each term, by name. The model's random state does not advance.
        """
        draw: Callable[[tf.Tensor], dict[str, Any]] = functools.partial(self._points, data)
        if self.jit_compile and not self.run_eagerly:  # XLA draws other numbers
            draw = tf.function(draw, autograph=False, jit_compile=True)
        return self._blocks(draw(self.random_state.value), training=False)

    def derivatives_summary(self) -> str:
        """How each term's residual differentiates the network, and why, as text.

        Returns:
            A line for the network and one for each term that was evaluated: the channels carried
            forward, ``u`` the value and ``u_01`` d_0 d_1 u, sets of points divided by bars; and,
            if so, why exact traces of the term would cost a reverse pass for each point.
        """
        unsupported = NetworkView(self.network, self.derivatives).unsupported
        way = "forward" if unsupported is None else f"by nested tapes, because {unsupported}"
        lines = [f"Derivatives of {self.network.name!r}: {way}."]
        for name, requested in self._requested.items():
            reason = self._factoring.get(name) or "nested tapes"
            # Those are told of already.
            more = "" if reason.startswith("nested tapes") else f"; not factored, {reason}"
            lines.append(f"  {name}: {requested}{more}")
        return "\n".join(lines)

    def loss_values(self, residuals: Mapping[str, tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        """1/2 ||R_b||^2 of every term, and the loss (1) they make with their present weights.

        Args:
            residuals: by term, ``[n_b]``.
        """
        losses = [tf.reduce_sum(residuals[term.name] ** 2) / 2 for term in self.terms]
        weighted = [
            tf.reduce_sum(self.weighting.weight_of(name, residual) * residual**2) / 2
            for name, residual in residuals.items()
        ]
        losses, weighted = replicas.all_reduce_sum((losses, weighted))
        return losses, tf.add_n(weighted + self._penalties())

    def current_logs(self) -> dict[str, tf.Tensor]:
        """Scalars of the present state: ``weights/<group>`` and ``unknowns/<name>``."""
        return {**self.weighting.logs(), **self.coefficients.logs()}

    # What Keras calls.

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The network's outputs."""
        return self.network(inputs, training=training)

    def compile(self, optimizer: Any = "adam", **kwargs: Any) -> None:
        """As ``keras.Model.compile`` without ``loss`` and ``loss_weights``: the terms are those.

        The optimizer of a network that computes in float16 scales the loss, unless
        ``auto_scale_loss=False``: Keras looks at the policy of the model, which is not its own.
        """
        for argument in ("loss", "loss_weights"):
            if kwargs.get(argument) is not None:
                raise ValueError(
                    f"PINNModel.compile takes no `{argument}`: the loss is made of the terms, and "
                    "their weights come from the weighting. Add a Term for measured data; pass "
                    "`weighting=` to PINNModel for weights."
                )
        refused = [
            name for name in _FOR_ONE_REPLICA if kwargs.get(name) not in (None, "auto", False)
        ]
        if refused and self._num_replicas > 1:
            raise ValueError(
                f"PINNModel.compile takes no {refused} for several replicas: their steps are not "
                "compiled by XLA, and of metrics only the relative L2 error is that of all points. "
                "Leave it out, or build the model outside the strategy's scope."
            )
        with self.distribute_strategy.scope():
            if kwargs.get("auto_scale_loss", True) and precision.needs_scale(self.network):
                optimizer = precision.scaling(optimizer)
            super().compile(optimizer=optimizer, **kwargs)
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
        """Trains the network. A second call goes on where the first stopped.

        Args:
            x: nothing, where the terms have their points; or a dict from term names to points, all
                of which make up every step; or a ``tf.data.Dataset`` of such dicts, one a step.
            y: nothing; measured values belong to a term.
            epochs: number of epochs.
            steps_per_epoch: steps in an epoch; one by default, or the length of a dataset.
            callbacks: as for any Keras model.
            validation_data: ``(points, values)``; the relative L2 error there is logged as
                ``val_relative_l2`` after each epoch and never moves a weight. Callbacks that
                monitor it need ``mode="min"``. Or held-out points by term, whose losses are logged
                as ``val_loss/<term>``; ``val_loss`` adds them up with the present weights, and
                terms left out at their own points.
            validation_batch_size: points at a time in validation; all by default.
            **kwargs: whatever else ``keras.Model.fit`` takes.

        Returns:
            The history.

        Raises:
            ValueError: for data that does not fit the terms, or a residual that is not finite at
                the first step.
            TrainingDivergedError: once a residual or gradient is NaN or infinite; the model keeps
                the last good state.
        """
        if y is not None:
            raise ValueError(
                "PINNModel.fit takes no `y`. Add a Term whose points hold inputs and values."
            )
        if kwargs.get("batch_size") is not None:
            raise ValueError(
                "PINNModel.fit takes no `batch_size`: every step uses all points of a term. For "
                "some at a time, give a sampler, as in box.interior(100), or a dataset of batches."
            )
        if steps_per_epoch is not None:
            check_count("steps_per_epoch", steps_per_epoch)
        datasets.check_validation(validation_data, kwargs.get("validation_steps"))
        if isinstance(validation_data, Mapping):
            held_out = self._by_term(validation_data)
            validation_data = tf.data.Dataset.from_tensors(held_out)
        datasets.check_ends("x", x, steps_per_epoch, "steps_per_epoch")
        x, default_steps = self._dataset(x, finite=self._is_untrained())
        if isinstance(validation_data, tuple):
            validation_batch_size = validation_batch_size or datasets.length(validation_data)
            batches = datasets.unrounded(
                validation_data, self.parameter_dtype, validation_batch_size
            )
            if batches is not None:
                validation_data, validation_batch_size = batches, None
        kwargs.setdefault("shuffle", False)  # A dataset comes in its order; Keras warns otherwise.
        return super().fit(
            x,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch or default_steps,
            callbacks=self._with_nan_check(callbacks),
            validation_data=validation_data,
            validation_batch_size=validation_batch_size,
            **kwargs,
        )

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """The loss and its terms at the points of the next step; or the relative L2 error.

        Args:
            x: points by term as in :meth:`fit`; or inputs of the network, with ``y`` or as a
                dataset of ``(inputs, values)``, for the error.
            y: reference values at ``x``.
            **kwargs: whatever else ``keras.Model.evaluate`` takes.
        """
        if (
            y is None
            and not kwargs.get("_use_cached_eval_dataset")
            and not datasets.yields_pairs(x)
        ):
            x, default_steps = self._dataset(x)
            kwargs.setdefault("steps", default_steps)
        elif not kwargs.get("_use_cached_eval_dataset"):
            arrays = (x, y, kwargs.get("sample_weight"))
            batches = datasets.unrounded(arrays, self.parameter_dtype, kwargs.get("batch_size"))
            if batches is not None:
                x, y = batches, None
                kwargs |= {"sample_weight": None, "batch_size": None}
        datasets.check_ends("x", x, kwargs.get("steps"), "steps")
        values = super().evaluate(x, y, **kwargs)
        # Older Keras leaves values as tensors unless they are its own metrics'.
        return tf.nest.map_structure(lambda v: float(v) if tf.is_tensor(v) else v, values)

    def predict(self, x: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """The network's outputs, an array or a nest of arrays; as ``keras.Model.predict``."""
        batches = datasets.unrounded((x,), self.parameter_dtype, batch_size)
        if batches is not None:
            x, batch_size = batches, None
        return super().predict(x, batch_size, **kwargs)

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Writes the network for serving, as ``keras.Model.export`` does; terms stay behind."""
        self.network.export(filepath, *args, **kwargs)

    @tf.autograph.experimental.do_not_convert
    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of Algorithm 3: predictor, moving average, corrector."""
        seed = seeds.advance(self.random_state)
        points = self._points(data, replicas.replica_seed(seed))
        terms_module.by_term(self.terms, points)
        linearization = Linearization(
            self._blocks(points, training=True),
            self.trainable_variables,
            factored=self.weighting.differentiates,
        )
        previous = [tf.identity(v.value) for v in self.weighting.state]
        outside = self.coefficients.outside_kernel
        seen = linearization.without(*outside) if outside else linearization
        self.weighting.update(seen, seeds.fold_in(seed, 0))
        losses, loss = self.loss_values(linearization.residuals)
        gradients = self._gradients(linearization)
        self._apply_if_finite(gradients, losses, previous)
        return replicas.as_logs({**self._loss_logs(losses, loss), **self.current_logs()})

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Relative L2 error of ``(points, values)``; loss of points by term."""
        if isinstance(data, tuple):
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            return self._test_values(x, y, sample_weight)
        # The next step's seed is read, not taken: evaluation changes nothing that is trained.
        seed = tf.identity(self.random_state.value)
        points = self._points(data, replicas.replica_seed(seed))
        terms_module.by_term(self.terms, points)
        blocks = self._blocks(points, training=False)
        losses, loss = self.loss_values({name: block() for name, block in blocks.items()})
        return replicas.as_logs(self._loss_logs(losses, loss))

    def get_metrics_result(self) -> dict[str, Any]:
        """Nothing beside the logs of the steps: compiled metrics have no part in training."""
        return {}

    def get_config(self) -> dict[str, Any]:
        """Everything the model is made of, for Keras.

        Raises:
            ValueError: if a residual, or an object of one's own, is not registered with Keras.
        """
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
            "terms": [keras.saving.serialize_keras_object(term) for term in self.terms],
            "weighting": keras.saving.serialize_keras_object(self.weighting),
            "reduction": self.reduction,
            "derivatives": self.derivatives,
            "unknowns": keras.saving.serialize_keras_object(self.coefficients.declared),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "PINNModel":
        """The model of a configuration, as Keras stores it; training starts at its beginning."""
        return cls(**keras.saving.deserialize_keras_object(config, custom_objects))

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as the model was that is loaded."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    # The parts of a step.

    def _points(self, data: Any, seed: tf.Tensor) -> dict[str, Any]:
        """The points of every term: the data's where it has them, else the term's own.

        Replicas draw points of their own, and share those that stay the same.
        """
        x, *others = keras.utils.unpack_x_y_sample_weight(data)  # `train_on_batch` makes a tuple
        if any(other is not None for other in others):
            raise ValueError(
                "A step of a PINNModel takes points by term, no `y` and no `sample_weight`. Give "
                "values, and weights of points, to a Term as further arrays of its points."
            )
        # A number stands for no data in a dataset of nothing.
        nothing = x is None or tf.TensorShape(getattr(x, "shape", None)).rank == 0
        if not nothing and not isinstance(x, Mapping):
            raise ValueError(
                "A step of a PINNModel takes points by term, as in {'equation': points}. Received "
                f"{type(x).__name__}."
            )
        given = x if isinstance(x, Mapping) else {}
        terms_module.check_keys(self.terms, given)
        points = {}
        for index, term in enumerate(self.terms):
            if term.name in given:
                points[term.name] = terms_module.as_tensors(given[term.name], self.parameter_dtype)
            elif term.points is not None:
                own = term.points_at(seeds.fold_in(seed, 1 + index), self.parameter_dtype)
                points[term.name] = own if term.redrawn else replicas.replica_shard(own)
        return points

    def _blocks(self, points: Mapping[str, Any], training: bool) -> dict[str, Block]:
        """The residual blocks of those terms that ``points`` names, scaled by the convention."""
        blocks = {}
        coarse = precision.half_precision(self.network)
        served = [v for v in self.trainable_variables if id(v) in self._factored_for]
        for term in self.terms:
            if term.name in points:
                residual = functools.partial(self._residual, term, training)
                factored = self._factoring.get(term.name, "not evaluated yet") is None
                blocks[term.name] = Block(
                    residual,
                    points[term.name],
                    self._scale(term, points[term.name]),
                    with_hook=residual if factored else None,
                    hooked_variables=served,
                    computed_in=coarse,
                )
        return blocks

    def _residual(
        self, term: Term, training: bool, points: Any, hook: LayerHook | None = None
    ) -> tf.Tensor:
        return term.evaluate(self._view(term, training, hook), points)

    def _view(self, term: Term, training: bool, hook: LayerHook | None = None) -> NetworkView:
        """The network as one evaluation of a term's residual sees it."""
        return NetworkView(
            self.network,
            self.derivatives,
            training=training,
            reuse=True,
            requested=self._requested[term.name],
            hook=hook,
            unknowns=self.coefficients,
        )

    def _scale(self, term: Term, points: Any) -> tf.Tensor | float:
        if self.reduction == "sum":
            return 1.0
        # Not as in training, which moves the averages of a BatchNormalization once more.
        return terms_module.mean_scale(functools.partial(self._residual, term, False), points)

    def _gradients(self, linearization: Linearization) -> list[tf.Tensor]:
        """J^T Lambda R, and the gradient of the network's own regularisers.

        Scaled as the optimizer asks: half precision would lose the small ones on the way back.
        """
        scale = self.optimizer.scale_loss(tf.ones([], self.parameter_dtype))
        gradients = linearization.vjp(
            {
                name: tf.cast(scale, residual.dtype)
                * self.weighting.weight_of(name, residual)
                * residual
                for name, residual in linearization.residuals.items()
            }
        )
        if not any(v.regularizer for v in self.trainable_variables):
            return gradients
        with tf.GradientTape() as tape:
            penalty = scale * tf.add_n(self._penalties())
        variables = [v.value for v in self.trainable_variables]
        extra = tape.gradient(penalty, variables, unconnected_gradients="zero")
        # Once, though the optimizer adds up the gradients of all replicas.
        return [a + b / replicas.num_replicas() for a, b in zip(gradients, extra, strict=True)]

    def _penalties(self) -> list[tf.Tensor]:
        return [v.regularizer(v) for v in self.trainable_variables if v.regularizer is not None]

    def _apply_if_finite(
        self, gradients: list[tf.Tensor], losses: list[tf.Tensor], previous: list[tf.Tensor]
    ) -> None:
        """The optimizer's step; from the first that is not finite on, none.

        Notes the culprit, and puts the weighting back to its ``previous`` state. Gradients that
        overflow are left to an optimizer that scales the loss, as long as it may find a scale.
        """
        whole = [tf.reduce_all(tf.math.is_finite(g)) for g in gradients]
        good = tf.stack([*map(tf.math.is_finite, losses), tf.reduce_all(whole)])
        finite = replicas.all_reduce_sum(tf.cast(~good, tf.int32)) == 0
        if precision.scales(self.optimizer):
            # An overflow anywhere is one on every replica: Keras asks the first what to skip.
            gradients = [tf.where(finite[-1], g, math.nan) for g in gradients]
            skips = tf.fill([1], precision.finds_scale(self.optimizer))
            finite = tf.concat([finite[:-1], finite[-1:] | skips], axis=0)
        step = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.int64)
        known = self.failure_steps.value
        good = tf.reduce_all(finite & (known < 0))
        failures = tf.where(finite | tf.reduce_any(known >= 0), known, step)

        def apply() -> None:
            self.optimizer.apply(gradients, self.trainable_variables)

        def refuse() -> None:
            self.failure_steps.assign(failures)
            for variable, value in zip(self.weighting.state, previous, strict=True):
                variable.assign(value)

        if replicas.num_replicas() == 1:
            tf.cond(good, apply, refuse)
            return
        with replicas.rolled_back_unless(
            good, [*self.trainable_variables, *self.optimizer.variables]
        ):
            apply()
        tf.cond(good, lambda: None, refuse)

    def _loss_logs(self, losses: list[tf.Tensor], loss: tf.Tensor) -> dict[str, tf.Tensor]:
        for tracker, value in zip(
            [self._loss_tracker, *self._term_losses], [loss, *losses], strict=True
        ):
            tracker.update_state(value)
        return {
            tracker.name: tracker.result() for tracker in [self._loss_tracker, *self._term_losses]
        }

    def _test_values(self, x: Any, y: Any, sample_weight: Any) -> dict[str, tf.Tensor]:
        if y is None:
            raise ValueError("Validation needs (points, values). Received points without values.")
        prediction = self(x, training=False)
        self._relative_l2.update_state(y, prediction, sample_weight)
        logs = {"relative_l2": self._relative_l2.result()}
        if self._compile_metrics is not None:
            self._compile_metrics.update_state(y, prediction, sample_weight)
            logs |= self._compile_metrics.result()
        return replicas.as_logs(logs)

    # Checks and data.

    def _check_terms(self, data: Mapping[str, Any], finite: bool = False) -> dict[str, int]:
        """Evaluates every residual that has points once; returns their numbers of entries."""
        if self._factored_for != frozenset(map(id, self.trainable_variables)):
            self._factoring.clear()
        seed = tf.constant([0, 0])
        points = self._points(data, seed)
        sizes = {}
        for term in self.terms:
            if term.name in points:
                view = functools.partial(self._view, term)
                unknowns = self.coefficients.trainable_variables
                at = (term, points[term.name], self.network, view)
                sizes[term.name] = inspect_term(*at, unknowns, finite)
                if term.name not in self._factoring:
                    self._factoring[term.name] = inspect_in_training(
                        *at, self.weighting.uses_kernel, unknowns
                    )
        if not self.network.built:
            raise ValueError(
                "The network is not built: no term has points to call it on. Give its input shape, "
                "as in keras.Sequential([keras.Input((2,)), ...])."
            )
        self._factored_for = frozenset(map(id, self.trainable_variables))
        return sizes

    def _is_untrained(self) -> bool:
        optimizer = getattr(self, "optimizer", None)  # none before `compile`
        return optimizer is not None and int(optimizer.iterations.numpy()) == 0

    def _dataset(self, x: Any, finite: bool = False) -> tuple[Any, int | None]:
        """What Keras iterates over, and the number of steps in an epoch if it is endless."""
        if isinstance(
            x, tf.data.Dataset | tf.distribute.DistributedDataset | keras.utils.PyDataset
        ):
            self._check_dataset(x, finite)
            return x, None
        if not (x is None or isinstance(x, Mapping)):
            raise ValueError(
                "Points come as a dict by term name or a dataset of such dicts, or the terms have "
                f"their own. Received {type(x).__name__}. A generator becomes a dataset by "
                "tf.data.Dataset.from_generator."
            )
        data = self._by_term(x or {})
        self._check_terms(data, finite)
        return self._shared(data or 0), 1

    def _by_term(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Points by term as tensors, checked."""
        terms_module.by_term(self.terms, data)
        for name, points in data.items():
            terms_module.check_points(name, points)
        dtype = self.parameter_dtype
        return {name: terms_module.as_tensors(points, dtype) for name, points in data.items()}

    def _shared(self, data: Any) -> Any:
        """The same data at every step, divided among replicas where there are several."""
        if self._num_replicas == 1:
            return tf.data.Dataset.from_tensors(data).repeat()

        def local(context: tf.distribute.InputContext) -> tf.data.Dataset:
            number = context.num_replicas_in_sync // context.num_input_pipelines
            first = context.input_pipeline_id * number
            shares = [
                replicas.shard(data, index, self._num_replicas) if data else data
                for index in range(first, first + number)
            ]
            parts = [tf.data.Dataset.from_tensors(part) for part in shares]
            return functools.reduce(tf.data.Dataset.concatenate, parts).repeat()

        return self.distribute_strategy.distribute_datasets_from_function(local)

    @property
    def _num_replicas(self) -> int:
        return self.distribute_strategy.num_replicas_in_sync

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Nothing: all is built. Keras would add up the points of replicas to learn their shape."""

    def _check_dataset(self, x: Any, finite: bool) -> None:
        if isinstance(x, tf.data.Dataset):
            element = terms_module.by_term(self.terms, datasets.first_of(x))
            self._check_terms(element, finite)

    def _with_nan_check(self, callbacks: Any) -> Any:
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(NaNCheck())
            return callbacks
        listed = callbacks if isinstance(callbacks, list | tuple) else [callbacks]
        return [NaNCheck(), *(callback for callback in listed if callback is not None)]
