"""Warnings if a model improves at its training points only."""

import dataclasses
import math
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend import precision
from ntk_keras.backend.checks import check_count
from ntk_keras.domains import Sampler
from ntk_keras.training import Term
from ntk_keras.training.points import as_tensors, check_names, check_points
from ntk_keras.training.term_changes import compiled_with
from ntk_keras.weighting.base import by_name

__all__ = ["CollocationAlarm"]

_IMPROVED = 0.9  # of the least held-out loss so far, to count as improved
_FALLEN = 0.5  # of the loss at the training points, while the held-out loss did not improve


@dataclasses.dataclass
class _Followed:
    """The best loss of a term at held-out points so far.

    Attributes:
        least: lowest held-out loss.
        trained: loss at the training points at that time.
        num_checks: number of checks since then.
    """

    least: float = math.inf
    trained: float = math.inf
    num_checks: int = 0

    def update(self, held_out: float, trained: float) -> None:
        """Adds the losses that a check has found."""
        if held_out < _IMPROVED * self.least:
            self.least, self.trained, self.num_checks = held_out, trained, 0
        else:
            self.num_checks += 1


class CollocationAlarm(keras.callbacks.Callback):
    """Warns if a :class:`~ntk_keras.PINNModel` improves at its training points only.

    At regular epochs the callback evaluates terms at points that training does not use. It logs
    ``held_out_loss/<term>``, which is ``1/2 ||R_b||^2`` there, scaled to the number of points of a
    step so that it compares to ``loss/<term>``. It also logs ``held_out_loss``, the sum of these
    terms at their current weights. Place it before callbacks that write.

    A term with fixed points triggers a single warning if its training loss has halved since its
    held-out loss last improved by 10 %, and that was at least ``patience`` checks ago.

    Args:
        held_out: points by term that training does not use, or a sampler to draw them once. A term
            with its own sampler is by default followed at points drawn from that. Training points
            that are redrawn or moved never cause a warning.
        every_epochs: number of epochs from one check to the next, the first epoch included.
        patience: number of checks without improvement before a warning.
        redraw_every_epochs: number of epochs after which terms with fixed points get new ones from
            the sampler in ``held_out``, or None for never. The points are held in a ``tf.Variable``
            and compile anew only once. Such terms cause no warnings. The points depend only on
            ``seed`` and the epoch, so a resumed run has the same ones.
        seed: integer for all points drawn here.

    Attributes:
        overfitted: names of the terms that caused a warning.

    Raises:
        ValueError: if arguments are not positive numbers; before training starts, if a name is not
            that of a term, if there is no term to follow or to redraw, or if the sampler for
            redrawing draws another number of points than the term has.

    Example::

        alarm = nk.callbacks.CollocationAlarm(
            {"equation": box.interior(500)}, every_epochs=20, patience=3
        )
        model.compile("adam")
        model.fit(epochs=1000, steps_per_epoch=10, callbacks=[alarm])
        print(alarm.overfitted)
    """

    def __init__(
        self,
        held_out: Mapping[str, Any] | None = None,
        *,
        every_epochs: int = 10,
        patience: int = 5,
        redraw_every_epochs: int | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.held_out = dict(held_out or {})
        self.every_epochs = check_count("every_epochs", every_epochs)
        self.patience = check_count("patience", patience)
        if redraw_every_epochs is not None:
            check_count("redraw_every_epochs", redraw_every_epochs)
        self.redraw_every_epochs = redraw_every_epochs
        self.seed = check_count("seed", seed, smallest=0)
        self.overfitted: list[str] = []
        self._followed: dict[str, _Followed] = {}
        self._round = 0  # of redrawn points; in the first they are the term's own

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Draws held-out points and compiles their losses. A second ``fit`` continues."""
        sources = self._sources()
        dtype = precision.parameter_dtype(self.model.network)
        self._points = {
            name: as_tensors(self._drawn(source, index, 0), dtype)
            for index, (name, source) in enumerate(sources.items())
        }
        self._redrawn = self._terms_to_redraw()
        self._losses = compiled_with(self.model, self._held_out_losses)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Draws new points if they are due."""
        if self.redraw_every_epochs is None:
            return
        now = epoch // self.redraw_every_epochs
        if now != self._round:
            self._round = now
            for index, term in enumerate(self._redrawn):
                _set_points(term, self._drawn(self.held_out[term.name], index, 1 + now))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the losses if they are due, and warns."""
        if epoch % self.every_epochs or logs is None:
            return
        losses = {name: float(loss) for name, loss in self._losses().items()}
        weighting = self.model.weighting
        weights = by_name(weighting.groups, weighting.effective_weights)
        terms = {term.name: term for term in self.model.terms}
        total = sum(weights[terms[name].group] * loss for name, loss in losses.items())
        logs["held_out_loss"] = total
        logs.update({f"held_out_loss/{name}": loss for name, loss in losses.items()})
        for name, loss in losses.items():
            if not isinstance(terms[name].points, Sampler) and terms[name] not in self._redrawn:
                self._look(name, loss, float(logs[f"loss/{name}"]))

    def _look(self, name: str, held_out: float, trained: float) -> None:
        followed = self._followed.setdefault(name, _Followed())
        followed.update(held_out, trained)
        late = followed.num_checks >= self.patience and trained < _FALLEN * followed.trained
        if late and name not in self.overfitted:
            self.overfitted.append(name)
            warnings.warn(
                f"Term {name!r} improves at its training points alone: the loss there fell from "
                f"{followed.trained:.2g} to {trained:.2g} in {followed.num_checks} checks, while "
                f"at held-out points it is {held_out:.2g}, after {followed.least:.2g} at best. "
                "Draw new points at every step by giving the Term a sampler in place of an array, "
                "or now and then by CollocationAlarm(redraw_every_epochs=...); or give it more "
                "points. Measured values cannot be redrawn: stop training there.",
                stacklevel=2,
            )

    def _held_out_losses(self) -> dict[str, tf.Tensor]:
        blocks = self.model.blocks(self._points, training=False)
        shares = {t.name: t.share_of_step(self._points[t.name]) for t in self._terms_followed()}
        if self.model.reduction == "mean":
            shares = dict.fromkeys(shares, 1.0)
        return {
            name: share * tf.reduce_sum(blocks[name]() ** 2) / 2 for name, share in shares.items()
        }

    def _terms_followed(self) -> list[Term]:
        return [term for term in self.model.terms if term.name in self._points]

    def _drawn(self, source: Any, index: int, number: int) -> Any:
        # The last key is not zero, with which NumPy pads a user's own seed.
        generator = np.random.default_rng([self.seed, index, number, 1])
        return source.fixed(generator) if isinstance(source, Sampler) else source

    def _sources(self) -> dict[str, Any]:
        """Returns held-out points or samplers by term."""
        terms = getattr(self.model, "terms", ())
        check_names(terms, self.held_out)
        for name, source in self.held_out.items():
            if not isinstance(source, Sampler):
                check_points(name, source)
        own = {term.name: term.points for term in terms if isinstance(term.points, Sampler)}
        sources = {**own, **self.held_out}
        if not sources:
            raise ValueError(
                "CollocationAlarm has no points that a PINNModel is not trained on: no term has a "
                "sampler. Give some by term, as in CollocationAlarm({'equation': "
                "box.interior(500)})."
            )
        return sources

    def _terms_to_redraw(self) -> list[Term]:
        if self.redraw_every_epochs is None:
            return []
        samplers = {n: s for n, s in self.held_out.items() if isinstance(s, Sampler)}
        chosen = [t for t in self.model.terms if t.name in samplers and not t.redrawn]
        if not chosen:
            raise ValueError(
                "redraw_every_epochs needs terms with fixed points for which held_out has a "
                f"sampler. Received samplers for {sorted(samplers)}."
            )
        for term in chosen:
            count = samplers[term.name].num_points
            if count != term.num_points:
                raise ValueError(
                    f"Term {term.name!r} has {term.num_points} points, and the sampler in held_out "
                    f"to redraw them from draws {count}. Give one that draws {term.num_points}."
                )
        return chosen


def _set_points(term: Term, points: Any) -> None:
    """Assigns other points to a term, in variables that are created once."""
    old = tf.nest.flatten(term.points)
    if all(isinstance(leaf, tf.Variable) for leaf in old):
        for variable, value in zip(old, tf.nest.flatten(points), strict=True):
            variable.assign(tf.cast(value, variable.dtype))
    else:
        term.points = tf.nest.map_structure(lambda x: tf.Variable(x, trainable=False), points)
