"""Keras callbacks: TensorBoard, files, NTK weights for any model, checks of the theory."""

from ntk_keras.callbacks.causal_stopping import CausalStopping
from ntk_keras.callbacks.checkpoint import Checkpoint
from ntk_keras.callbacks.collocation_alarm import CollocationAlarm
from ntk_keras.callbacks.history import HistoryFile, Stopwatch, read_history
from ntk_keras.callbacks.importance import ImportanceScheduler
from ntk_keras.callbacks.kernel_convergence import ExactWeights, KernelConvergence
from ntk_keras.callbacks.ntk_weighting import NTKWeighting
from ntk_keras.callbacks.point_images import PointImages
from ntk_keras.callbacks.solution import SolutionImages
from ntk_keras.callbacks.standard_errors import StandardErrors
from ntk_keras.callbacks.tensorboard import NTKTensorBoard
from ntk_keras.callbacks.time_averages import TimeAverages

__all__ = [
    "CausalStopping",
    "Checkpoint",
    "CollocationAlarm",
    "ExactWeights",
    "HistoryFile",
    "ImportanceScheduler",
    "KernelConvergence",
    "NTKTensorBoard",
    "NTKWeighting",
    "PointImages",
    "SolutionImages",
    "StandardErrors",
    "Stopwatch",
    "TimeAverages",
    "read_history",
]
