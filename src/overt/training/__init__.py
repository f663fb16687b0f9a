"""One training loop for every problem, model, optimizer, penalty and schedule, with a trace."""

from overt.training.gradient_flow import Flow, gradient_flow, singular_value_velocity
from overt.training.loop import TrainResult, train
from overt.training.optimizers import make_optimizer, optimizer_names
from overt.training.release import HoldReleaseRefit
from overt.training.schedules import Constant, HoldUntilCollapse, Schedule, Warmup
from overt.training.settings import Recording, Stopping
from overt.training.state import State
from overt.training.trace import Trace, log_spaced
from overt.training.update_rules import GroupRMSprop

__all__ = [
    "Constant",
    "Flow",
    "GroupRMSprop",
    "HoldReleaseRefit",
    "HoldUntilCollapse",
    "Recording",
    "Schedule",
    "State",
    "Stopping",
    "Trace",
    "TrainResult",
    "Warmup",
    "gradient_flow",
    "log_spaced",
    "make_optimizer",
    "optimizer_names",
    "singular_value_velocity",
    "train",
]
