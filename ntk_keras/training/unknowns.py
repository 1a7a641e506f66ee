"""Unknown coefficients of an equation, trained with the network (inverse problems)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ntk_keras.backend.readings import Readings
from ntk_keras.backend.state_holder import StateHolder
from ntk_keras.training.points import check_numbers

__all__ = ["Unknown", "Unknowns"]

# Entries of one coefficient that are logged one by one.
MAX_LOGGED = 16


@keras.saving.register_keras_serializable("ntk_keras")
@dataclasses.dataclass(frozen=True)
class Unknown:
    """How an unknown coefficient is declared.

    Attributes:
        initial: where training starts, a number or an array; the coefficient has its shape.
        constraint: a Keras constraint by name or as an object, ``"non_neg"`` for one; applied
            after every step of a Keras optimizer.
        in_kernel: whether the kernel behind the loss weights includes the coefficient. A
            coefficient whose derivatives are much larger than the network's would dominate the
            traces of the terms that contain it.
    """

    initial: Any
    constraint: Any = None
    in_kernel: bool = True

    def get_config(self) -> dict[str, Any]:
        """The arguments, for Keras."""
        return {
            "initial": np.asarray(self.initial).tolist(),
            "constraint": keras.constraints.serialize(keras.constraints.get(self.constraint)),
            "in_kernel": self.in_kernel,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Unknown":
        """The declaration of a configuration, as Keras stores it."""
        return cls(**keras.saving.deserialize_keras_object(config))


class Unknowns(StateHolder):
    """The coefficients of a model, by name; a residual reads them as ``u.unknowns[name]``.

    Args:
        declared: by name, an :class:`Unknown`, or its initial value alone.
        dtype: of the coefficients, that of the network's parameters.

    Attributes:
        declared: an :class:`Unknown` by name.

    Raises:
        ValueError: for a name that TensorBoard would take for a folder, or an initial value that
            is not finite.
    """

    def __init__(self, declared: Mapping[str, Any], dtype: str):
        super().__init__(name="unknowns", dtype=dtype)
        self.declared = {
            name: value if isinstance(value, Unknown) else Unknown(value)
            for name, value in declared.items()
        }
        self._variables_by_name = {
            name: self._add(name, unknown) for name, unknown in self.declared.items()
        }
        self._read: set[str] = set()
        self.built = True

    def __getitem__(self, name: str) -> tf.Tensor:
        """The present value of a coefficient, a tensor through which it is trained."""
        if name not in self._variables_by_name:
            raise ValueError(
                f"no unknown {name!r} was declared. Declared: {list(self.declared)}. Declare it "
                f"with its initial value, as in PINNModel(..., unknowns={{{name!r}: 1.0}})."
            )
        self._read.add(name)
        return tf.convert_to_tensor(self._variables_by_name[name])

    @property
    def outside_kernel(self) -> list[str]:
        """Paths of the variables that the kernel leaves out."""
        return [
            v.path for n, v in self._variables_by_name.items() if not self.declared[n].in_kernel
        ]

    def values(self) -> dict[str, Any]:
        """The present values, floats or arrays; one that is assigned is set."""
        by_name = {name: v.numpy() for name, v in self._variables_by_name.items()}
        return Readings({n: v if v.ndim else float(v) for n, v in by_name.items()}, self.set_values)

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Sets coefficients, which training goes on from.

        Args:
            values: by name; others keep theirs.

        Raises:
            ValueError: for an undeclared name, another shape, or what is no finite number.
        """
        for name, value in values.items():
            if name not in self._variables_by_name:
                raise ValueError(
                    f"No unknown {name!r} was declared. Declared: {list(self.declared)}."
                )
            variable, given = self._variables_by_name[name], np.asarray(value)
            check_numbers(f"Unknown {name!r}", given)
            if given.shape != tuple(variable.shape) or not np.all(np.isfinite(given)):
                raise ValueError(
                    f"Unknown {name!r} takes finite numbers of shape {tuple(variable.shape)}. "
                    f"Received {value!r}."
                )
            variable.assign(given)

    def logs(self) -> dict[str, tf.Tensor]:
        """Scalars for the logs of a step: ``unknowns/<name>``, ``unknowns/<name>/<entry>``."""
        logs = {}
        for name, variable in self._variables_by_name.items():
            entries = tf.reshape(tf.convert_to_tensor(variable), [-1])
            if len(variable.shape) == 0:
                logs[f"unknowns/{name}"] = entries[0]
            elif entries.shape[0] <= MAX_LOGGED:
                for index, entry in enumerate(tf.unstack(entries)):
                    logs[f"unknowns/{name}/{index}"] = entry
        return logs

    def check_read(self) -> None:
        """Raises ValueError for a coefficient that no residual has read so far."""
        unread = sorted(set(self.declared) - self._read)
        if unread:
            raise ValueError(
                f"Unknowns that no term reads, so that nothing would train them: {unread}. Read "
                f"them inside a residual, as in u.unknowns[{unread[0]!r}], or do not declare them."
            )

    def _add(self, name: str, unknown: Unknown) -> keras.Variable:
        if np.iscomplexobj(unknown.initial):
            raise ValueError(
                f"Unknown {name!r} must be real. Received {unknown.initial!r}. Declare its real "
                "and imaginary part, and compute with tf.complex of both."
            )
        check_numbers(f"Unknown {name!r}", np.asarray(unknown.initial))
        initial = np.asarray(unknown.initial, self.variable_dtype)
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(
                "An unknown needs a name that is not empty and holds no slash, which TensorBoard "
                f"would take for a folder. Received {name!r}."
            )
        if not np.all(np.isfinite(initial)):
            raise ValueError(
                f"Unknown {name!r}: its initial value must be finite. Received {unknown.initial!r}."
            )
        return self.add_weight(
            shape=initial.shape,
            initializer=lambda shape, dtype: tf.constant(initial, dtype),
            constraint=unknown.constraint,
            autocast=False,
            name=name,
        )
