"""Gradient flow: train networks of unequal node scalings, watch their tangent kernel, hold both against theory."""

from widthwise.flow.checks import DegenerateWarning
from widthwise.flow.first_step import first_step_mean, first_step_ntk_change, first_step_rms
from widthwise.flow.observe import OBSERVERS, Observer, Snapshot
from widthwise.flow.ode import Effort
from widthwise.flow.regressor import NodeScaledRegressor
from widthwise.flow.theory import (
    eigenvalue_floor,
    guaranteed_rate,
    kappa,
    limiting_ntg,
    loss_bound,
    mean_ntg,
    movement_bound,
    total_variance,
    variance_constant,
)
from widthwise.flow.training import Trajectory, train

__all__ = [
    "OBSERVERS",
    "DegenerateWarning",
    "Effort",
    "NodeScaledRegressor",
    "Observer",
    "Snapshot",
    "Trajectory",
    "eigenvalue_floor",
    "first_step_mean",
    "first_step_ntk_change",
    "first_step_rms",
    "guaranteed_rate",
    "kappa",
    "limiting_ntg",
    "loss_bound",
    "mean_ntg",
    "movement_bound",
    "total_variance",
    "train",
    "variance_constant",
]
