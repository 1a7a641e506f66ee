"""Keras callbacks: TensorBoard, history and checkpoint files, NTK weights for any model."""

from ntk_keras.callbacks.history import Checkpoint, HistoryFile, Stopwatch, read_history
from ntk_keras.callbacks.ntk_weighting import NTKWeighting
from ntk_keras.callbacks.tensorboard import NTKTensorBoard

__all__ = [
    "Checkpoint",
    "HistoryFile",
    "NTKTensorBoard",
    "NTKWeighting",
    "Stopwatch",
    "read_history",
]
