"""Checks of the callbacks given to ``fit`` and ``polish``, before anything is trained."""

from typing import Any

import keras

__all__ = ["prepare_callbacks"]


def prepare_callbacks(model: keras.Model, callbacks: Any) -> None:
    """Refuses callbacks that could not save the model, and tells the others that losses decrease.

    Keras looks among the compiled metrics for whether a value monitored with ``mode="auto"`` should
    rise or fall. The losses of terms and the relative L2 error are not among them.

    Args:
        model: model that is trained.
        callbacks: callbacks as for any Keras model.

    Raises:
        ValueError: if one saves the whole model and saving would fail after the first epoch.
    """
    listed = getattr(callbacks, "callbacks", callbacks)  # of a CallbackList
    for callback in listed if isinstance(listed, list | tuple) else [listed]:
        if getattr(callback, "save_weights_only", None) is False:
            _check_saved(model, callback)
        monitored = (
            str(getattr(callback, "monitor", "")).removeprefix("val_").removeprefix("held_out_")
        )
        falls = monitored == "relative_l2" or monitored.startswith("loss")
        if falls and getattr(callback, "mode", None) == "auto":
            callback.mode = "min"


def _check_saved(model: keras.Model, callback: Any) -> None:
    try:
        keras.saving.serialize_keras_object(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            f"{type(callback).__name__} saves the whole model, which is not possible: "
            f"{error}\nOr give it `save_weights_only=True`."
        ) from error
