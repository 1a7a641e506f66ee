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

# The largest number of entries of a coefficient that are logged one by one.
MAX_LOGGED = 16


@keras.saving.register_keras_serializable("ntk_keras")
@dataclasses.dataclass(frozen=True)
class Unknown:
    """The declaration of an unknown coefficient.

    Attributes:
        initial: number or array where training starts; the coefficient has its shape.
        constraint: Keras constraint by name or as an object, such as ``"non_neg"``, applied after
            every step of a Keras optimizer.
        in_kernel: whether the kernel behind the loss weights includes the coefficient. A
            coefficient whose derivatives are much larger than the network's would dominate the
            traces of the terms that contain it.
    """

    initial: Any
    constraint: Any = None
    in_kernel: bool = True

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, for Keras."""
        return {
            "initial": np.asarray(self.initial).tolist(),
            "constraint": keras.constraints.serialize(keras.constraints.get(self.constraint)),
            "in_kernel": self.in_kernel,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Unknown":
        """Creates the declaration from its configuration, as Keras stores it."""
        return cls(**keras.saving.deserialize_keras_object(config))


class Unknowns(StateHolder):
    """The coefficients of a model by name; a residual reads them as ``u.unknowns[name]``.

    Args:
        declared: :class:`Unknown` objects or initial values, by name.
        dtype: dtype of the coefficients, that of the network's parameters.

    Attributes:
        declared: an :class:`Unknown` by name.

    Raises:
        ValueError: if TensorBoard would take a name for a folder, or an initial value is not
            finite.
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
        """Returns the current value of a coefficient, a tensor through which it is trained."""
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
        """Returns the current values, floats or arrays; assigning to an entry sets it."""
        by_name = {name: v.numpy() for name, v in self._variables_by_name.items()}
        return Readings({n: v if v.ndim else float(v) for n, v in by_name.items()}, self.set_values)

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Sets coefficients to values from which training continues.

        Args:
            values: values by name; other coefficients keep theirs.

        Raises:
            ValueError: if a name is undeclared, a shape differs, or a value is not a finite number.
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
        """Returns the logged scalars ``unknowns/<name>`` and ``unknowns/<name>/<entry>``."""
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
        """Raises ValueError if no residual has read a coefficient so far."""
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
