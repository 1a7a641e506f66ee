"""Helpers around Keras and TensorFlow: replicas, seeds, saving, precision, files, checks."""

__all__: list[str] = []
