"""Runs followed elsewhere: TensorBoard, MLflow, or an observer of one's own.

A :class:`Tracker` is told of runs; ``compare(track=...)``, the training loop (:func:`recording`) and sweeps
(:class:`StoreFollower`) tell it.
"""

from widthwise.tracking.base import TrackedRun, Tracker
from widthwise.tracking.follow import StoreFollower, open_tracker, recording
from widthwise.tracking.mlflow import MLflowTracker
from widthwise.tracking.tensorboard import TensorBoardTracker

__all__ = [
    "MLflowTracker",
    "StoreFollower",
    "TensorBoardTracker",
    "TrackedRun",
    "Tracker",
    "open_tracker",
    "recording",
]
