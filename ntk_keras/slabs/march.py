"""A model for each slab of time, trained one after the other."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.files import replaced
from ntk_keras.callbacks import Checkpoint
from ntk_keras.slabs.slab import Slab
from ntk_keras.training import PINNModel

__all__ = ["March"]

_NEW_NETWORK = (
    "Make a new network in build, which starts with the parameters of the last one; or have one "
    "network for all times by growing=True."
)


class March:
    """Trains a model for each slab of time, one after the other, from where the last one ends.

    Args:
        build: function ``build(slab)`` that returns a compiled :class:`~ntk_keras.PINNModel` on a
            new network, for points from ``slab.start`` to ``slab.end``. Residuals of initial
            conditions go through :meth:`Slab.initial`, by which later slabs continue the one
            before.
        times: increasing times at which slabs begin and end: ``[0, 0.5, 1]`` makes two. They may
            differ in length.
        folder: folder where every epoch is saved, in a file for each slab. The same call of
            :meth:`fit` then resumes a stopped run exactly, if ``build`` or
            ``keras.utils.set_random_seed`` sets the seeds. By default nothing is saved.
        warm_start: whether each network starts with the parameters of the last one.
        growing: whether all slabs begin at the first time, and each continues training the last
            one's network. This gives one network for all times in the end, instead of one for each
            slab.
        axis: column of time, by name or index.

    Attributes:
        models: models of the slabs trained so far.
        times: times at which slabs begin and end.

    Raises:
        ValueError: if times do not increase; before a slab is trained, if its model is not
            compiled, shares its network with an earlier one, does not depend on it, or cannot take
            its parameters; or if the folder has other times.
        TypeError: if ``build`` is not a function, or does not return a PINNModel.

    Example::

        def build(slab):
            box = nk.domains.Box(t=(slab.start, slab.end), x=(-1, 1))
            terms = [
                nk.Term("equation", equation, box.interior(1000)),
                nk.Term("start", slab.initial(start), box.face(t=slab.start).sample(200)),
            ]
            model = nk.PINNModel(nk.networks.feedforward(box, width=100), terms)
            model.compile("adam")
            return model

        march = nk.March(build, times=[0, 0.25, 0.5, 1], folder="logs/march")
        march.fit(epochs=20, steps_per_epoch=500)
        u = march.predict(points)
    """

    def __init__(
        self,
        build: Callable[[Slab], PINNModel],
        times: Sequence[float] | np.ndarray,
        *,
        folder: str | os.PathLike[str] | None = None,
        warm_start: bool = True,
        growing: bool = False,
        axis: str | int = "t",
    ):
        if not callable(build):
            raise TypeError(f"build must be a function of a slab. Received {build!r}.")
        self.build = build
        self.times = np.asarray(times, float)
        if self.times.ndim != 1 or len(self.times) < 2 or not _grow(self.times):
            raise ValueError(
                "times must be two or more finite numbers, each larger than the one before, as in "
                f"[0, 0.5, 1]. Received times={times}."
            )
        if growing and not warm_start:
            raise ValueError(
                "growing goes on training what the last slab has learned, which warm_start=False "
                "throws away. Leave out one of them."
            )
        self.folder = None if folder is None else Path(folder)
        self.warm_start = warm_start
        self.growing = growing
        self.axis = axis
        self.models: list[PINNModel] = []
        self._column: int | None = None

    def __repr__(self) -> str:
        return f"March(times={self.times.tolist()}, trained={len(self.models)})"

    def fit(self, **kwargs: Any) -> list[keras.callbacks.History]:
        """Trains all slabs that are not trained yet.

        Args:
            **kwargs: arguments of :meth:`PINNModel.fit` for every slab, or functions of the slab,
                as in ``callbacks=lambda slab: [TensorBoard(f"logs/{slab.index}")]``.

        Returns:
            The histories of the slabs that were trained, without those restored from files.

        Raises:
            ValueError: if ``initial_epoch`` is given, which the files determine.
        """
        if "initial_epoch" in kwargs:
            raise ValueError(
                "March.fit takes no initial_epoch: the files in its folder know how far each slab "
                "has come. Leave it out."
            )
        self._check_folder()
        histories = []
        for index in range(len(self.models), len(self.times) - 1):
            slab = self._slab(index)
            with _fixed([] if self.growing else self.models[-1:]):
                model = self._built(slab)
                given = {name: v(slab) if callable(v) else v for name, v in kwargs.items()}
                histories += self._train(model, slab, **given)
            self.models.append(model)
            model.train_function = model.test_function = None  # graphs of no further use
        return histories

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """Returns the outputs at points of all slabs; the earlier model serves a common time.

        Args:
            x: points ``[n, d]`` in any order.
            **kwargs: arguments of :meth:`PINNModel.predict`.

        Raises:
            ValueError: if points are outside the trained times.
        """
        return self._by_slab(x, lambda model, points: model.predict(points, **kwargs))

    def evaluate_function(
        self, function: Callable[[Any, Any], Any], points: Any, **kwargs: Any
    ) -> Any:
        """Evaluates a function of the solution, such as a flux, at points of all slabs.

        Args:
            function: function of u and points, as for :meth:`PINNModel.evaluate_function`.
            points: nest of arrays, the first ``[n, d]`` with the column of time.
            **kwargs: arguments of that method.

        Raises:
            ValueError: if points are outside the trained times.
        """
        return self._by_slab(
            points, lambda model, at: model.evaluate_function(function, at, **kwargs)
        )

    def _slab(self, index: int) -> Slab:
        start, end = self.times[0 if self.growing else index], self.times[index + 1]
        previous = self.models[-1] if self.models and not self.growing else None
        return Slab(index, float(start), float(end), previous)

    def _built(self, slab: Slab) -> PINNModel:
        """Returns the checked model of a slab, with the parameters that it starts from."""
        try:
            model = self.build(slab)
        except ValueError as error:
            fixed = f" (Earlier networks are fixed. {_NEW_NETWORK})" if self.models else ""
            raise ValueError(f"The model of {slab}: {error}{fixed}") from error
        if not isinstance(model, PINNModel):
            raise TypeError(f"build must return a PINNModel. Received {model!r} for {slab}.")
        if getattr(model, "optimizer", None) is None:
            raise ValueError(
                f"The model of {slab} is not compiled. Let build call model.compile('adam')."
            )
        earlier = {id(v) for other in self.models for v in other.network.variables}
        if not self.growing and not earlier.isdisjoint(map(id, model.network.variables)):
            raise ValueError(
                f"The model of {slab} has the network of an earlier slab, which would forget what "
                f"it has learned. {_NEW_NETWORK}"
            )
        if not slab.goes_on:
            raise ValueError(
                f"No term of {slab} goes on from the slab before. Give the residuals of initial "
                "conditions by slab.initial, as in nk.Term('start', slab.initial(start), "
                "box.face(t=slab.start).sample(100))."
            )
        self._column = _column_of_time(model, self.axis)
        if self.models and self.warm_start:
            _start_from(model, self.models[-1], slab)
        return model

    def _train(
        self, model: PINNModel, slab: Slab, epochs: int = 1, callbacks: Any = None, **kwargs: Any
    ) -> list[keras.callbacks.History]:
        listed = getattr(callbacks, "callbacks", callbacks)  # of a CallbackList
        own = list(listed) if isinstance(listed, list | tuple) else [listed] if listed else []
        if self.folder is None:
            return [model.fit(epochs=epochs, callbacks=own, **kwargs)]
        checkpoint = Checkpoint(self.folder / f"slab-{slab.index:03d}.weights.h5")
        done = checkpoint.restore(model)
        if done >= epochs:
            return []
        callbacks = [*own, checkpoint]
        history = model.fit(epochs=epochs, initial_epoch=done, callbacks=callbacks, **kwargs)
        # All epochs are done, though a callback may have ended the slab before.
        checkpoint.on_epoch_end(epochs - 1)
        return [history]

    def _check_folder(self) -> None:
        """Records in the folder what its files belong to, or compares it."""
        if self.folder is None:
            return
        path = self.folder / "march.json"
        own = {"times": self.times.tolist(), "growing": bool(self.growing)}
        if path.exists():
            known = json.loads(path.read_text())
            if known != own:
                raise ValueError(
                    f"The files in {self.folder} are those of a march with {known}. Received "
                    f"{own}. Take another folder, or remove this one to start anew."
                )
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with replaced(path) as temporary:
            temporary.write_text(json.dumps(own))

    def _by_slab(self, points: Any, evaluate: Callable[[PINNModel, Any], Any]) -> Any:
        """Evaluates a function of model and points at points of all slabs."""
        if self._column is None or not self.models:
            raise ValueError("No slab is trained yet. Call `fit` first.")
        points = tf.nest.map_structure(np.asarray, points)
        matrices = [x for x in tf.nest.flatten(points) if x.ndim == 2]
        if not matrices or matrices[0].shape[1] <= self._column:
            raise ValueError(
                f"Time is column {self._column} of points [n, d]. Received points of shapes "
                f"{[x.shape for x in tf.nest.flatten(points)]}."
            )
        which = self._slab_of(matrices[0][:, self._column].astype(float))
        rows = [np.flatnonzero(which == index) for index in np.unique(which)]
        if not rows:
            return evaluate(self.models[-1], points)

        def part(at: np.ndarray) -> Any:
            model = self.models[int(which[at[0]])]
            return evaluate(model, tf.nest.map_structure(lambda x: x[at], points))

        parts = [part(at) for at in rows]
        order = np.argsort(np.concatenate(rows))
        return tf.nest.map_structure(lambda *values: np.concatenate(values)[order], *parts)

    def _slab_of(self, times: np.ndarray) -> np.ndarray:
        """Returns the index of the model for each time."""
        first, last = self.times[0], self.times[len(self.models)]
        margin = 1e-6 * max(abs(first), abs(last))  # of single precision
        outside = times[(times < first - margin) | (times > last + margin)]
        if outside.size:
            raise ValueError(
                f"The slabs trained so far go from {first:g} to {last:g}. Received points at the "
                f"time {outside[0]:g}."
            )
        if self.growing:
            return np.full(times.shape, len(self.models) - 1)
        return np.searchsorted(self.times[1 : len(self.models)], times - margin, side="left")


@contextlib.contextmanager
def _fixed(models: Sequence[PINNModel]) -> Iterator[None]:
    """Makes no variable of these models trainable inside a ``with`` statement: others read them.

    Args:
        models: models to freeze.
    """
    trained = [variable for model in models for variable in model.trainable_variables]
    try:
        for variable in trained:
            variable.trainable = False
        yield
    finally:
        for variable in trained:
            variable.trainable = True


def _grow(times: np.ndarray) -> bool:
    return bool(np.all(np.isfinite(times)) and np.all(np.diff(times) > 0))


def _column_of_time(model: PINNModel, axis: str | int) -> int:
    """Returns the index of a column by its name, which the terms have."""
    if not isinstance(axis, str):
        return int(axis)
    named = [term.axes for term in model.terms if term.axes is not None]
    if not named or axis not in named[0]:
        raise ValueError(
            f"Time is to be the column {axis!r}, but the columns have "
            f"{f'the names {list(named[0])}' if named else 'no names'}. Say which it is, as in "
            "March(..., axis=0), or name columns, as in Term(..., axes=('t', 'x'))."
        )
    return named[0].index(axis)


def _start_from(model: PINNModel, last: PINNModel, slab: Slab) -> None:
    """Copies the parameters of one model to another."""
    for new, old in ((model.network, last.network), (model.coefficients, last.coefficients)):
        shapes = [[tuple(v.shape) for v in layer.weights] for layer in (new, old)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"The network of {slab} has parameters of the shapes {shapes[0]}, and that of the "
                f"slab before {shapes[1]}, so that it cannot start from them. Make alike networks, "
                "or say warm_start=False."
            )
        new.set_weights(old.get_weights())
