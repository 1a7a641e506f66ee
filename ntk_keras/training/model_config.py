"""A PINNModel as Keras stores it: everything it is made of, so that training goes on."""

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
    """What ``save`` writes of a :class:`~ntk_keras.PINNModel` and ``load_model`` reads."""

    network: keras.layers.Layer
    terms: tuple[Term, ...]
    weighting: Weighting
    reduction: Reduction
    derivatives: Mode
    coefficients: Unknowns
    seed: int | None
    given_jit_compile: bool | str = "auto"  # of `compile`

    def save(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """As ``keras.Model.save``; what could not be loaded again leaves an earlier file alone."""
        keras.saving.serialize_keras_object(self)  # Keras would empty the file first
        super().save(filepath, *args, **kwargs)

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Writes the network for serving, as ``keras.Model.export`` does; terms stay behind."""
        self.network.export(filepath, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Everything the model is made of, for Keras.

        Raises:
            ValueError: if a residual, a layer or an object of one's own could not be loaded again.
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
        """The model of a configuration, as Keras stores it; training starts at its beginning."""
        return cls(**keras.saving.deserialize_keras_object(config, custom_objects))

    def get_compile_config(self) -> Any:
        """How the model was compiled, for Keras.

        Raises:
            ValueError: if the optimizer or a metric could not be loaded again.
        """
        config = super().get_compile_config()
        for name, part in (config or {}).items():
            saving.check_loadable(f"The {name} of the model", part)
        return config and {**config, "given_jit_compile": self.given_jit_compile}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as the model was that is loaded."""
        config = dict(config)
        # Keras writes what came of "auto"; and so it stands in files of the version before.
        given = config.pop("given_jit_compile", config.get("jit_compile") or "auto")
        self.compile(**keras.saving.deserialize_keras_object({**config, "jit_compile": given}))
