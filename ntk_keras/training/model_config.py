"""Saving and loading a PINNModel with everything it needs to continue training."""

from typing import Any

import keras
from typing_extensions import Self

from ntk_keras.backend import saving
from ntk_keras.derivatives import Mode
from ntk_keras.training.terms import Reduction, Term
from ntk_keras.training.unknowns import Unknowns
from ntk_keras.weighting import Weighting

__all__ = ["SavedWhole"]


class SavedWhole(keras.Model):
    """Saving and loading of a :class:`~ntk_keras.PINNModel` by ``save`` and ``load_model``."""

    network: keras.layers.Layer
    terms: tuple[Term, ...]
    weighting: Weighting
    reduction: Reduction
    derivatives: Mode
    coefficients: Unknowns
    seed: int | None
    given_jit_compile: bool | str = "auto"  # of `compile`

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Saves as ``keras.Model.save`` does; refuses before overwriting if it cannot be loaded."""
        keras.saving.serialize_keras_object(self)  # Keras would empty the file first
        super().save(filepath, *args, **kwargs)

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Exports the network for serving, as ``keras.Model.export`` does, without the terms."""
        self.network.export(filepath, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns everything the model consists of, for Keras.

        Raises:
            ValueError: if a residual, a layer or a custom object could not be loaded again.
        """
        parts = {
            "network": self.network,
            "weighting": self.weighting,
            "unknowns": self.coefficients.declared,
        }
        for name, part in parts.items():
            saving.check_loadable(f"The {name} of the model", part)
        return {
            **super().get_config(),
            **{name: keras.saving.serialize_keras_object(part) for name, part in parts.items()},
            "terms": [keras.saving.serialize_keras_object(term) for term in self.terms],
            "reduction": self.reduction,
            "derivatives": self.derivatives,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Creates the model from its configuration, as Keras stores it, untrained."""
        return cls(**keras.saving.deserialize_keras_object(config, custom_objects))

    def get_compile_config(self) -> Any:
        """Returns how the model was compiled, for Keras.

        Raises:
            ValueError: if the optimizer or a metric could not be loaded again.
        """
        config = super().get_compile_config()
        for name, part in (config or {}).items():
            saving.check_loadable(f"The {name} of the model", part)
        return config and {**config, "given_jit_compile": self.given_jit_compile}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles the model as the saved one was compiled."""
        config = dict(config)
        # Keras stores what "auto" resolved to, and files of the previous version do too.
        given = config.pop("given_jit_compile", config.get("jit_compile") or "auto")
        self.compile(**keras.saving.deserialize_keras_object({**config, "jit_compile": given}))
