"""Keras callbacks: TensorBoard, files, NTK weights for any model, errors of the averages."""

from ntk_keras.callbacks.convergence import KernelConvergence
from ntk_keras.callbacks.history import Checkpoint, HistoryFile, Stopwatch, read_history
from ntk_keras.callbacks.ntk_weighting import NTKWeighting
from ntk_keras.callbacks.tensorboard import NTKTensorBoard

__all__ = [
    "Checkpoint",
    "HistoryFile",
    "KernelConvergence",
    "NTKTensorBoard",
    "NTKWeighting",
    "Stopwatch",
    "read_history",
]
