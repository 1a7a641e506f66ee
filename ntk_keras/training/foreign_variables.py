"""Variables that a residual reads but training does not change, as others own them."""

import gc
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from ntk_keras.training.terms import Term

__all__ = ["warn_of_foreign"]


def warn_of_foreign(term: Term, read: Iterable[Any], own: Iterable[keras.Variable]) -> None:
    """Warns of variables that a residual reads, could be trained, and are not the network's own.

    Args:
        term: term with the residual.
        read: ``tf.Variable`` objects that it read and that are marked as trainable.
        own: variables of the network and the coefficients.

    Warns:
        UserWarning: says how to train them, and how to keep them fixed.
    """
    known = {id(variable.value) for variable in own}
    foreign = [variable for variable in read if id(variable) not in known]
    holders = _holders(foreign) if foreign else {}
    raw = sorted(v.name for v in foreign if id(v) not in holders)
    held = sorted(v.path for v in holders.values() if v.trainable)
    told = f"Term {term.name!r}: its residual reads trainable variables that are not the network's"
    if raw:
        warnings.warn(
            f"{told}, so they stay as they are: {raw}. Keras does not see a raw tf.Variable: "
            "declare an unknown coefficient, as in PINNModel(..., unknowns={'speed': 1.0}), and "
            "read it as u.unknowns['speed']; make what is to stay fixed with `trainable=False`.",
            stacklevel=4,
        )
    if held:
        warnings.warn(
            f"{told}, so they stay as they are: {held}. To train another network too, make both "
            "one, as in keras.Model(x, {'u': network(x), 'k': other(x)}), and read its outputs as "
            "u['u'] and u['k']; to keep it fixed, say `other.trainable = False`.",
            stacklevel=4,
        )


def _holders(variables: Sequence[Any]) -> dict[int, keras.Variable]:
    """Returns the ``keras.Variable`` that holds each ``tf.Variable``, by id, if there is one."""
    wanted = set(map(id, variables))
    # Keras freezes its own variable and not the one it holds, which does not know its holder.
    every = [v for v in gc.get_objects() if issubclass(type(v), keras.Variable)]
    return {id(v.value): v for v in every if id(v.value) in wanted}
