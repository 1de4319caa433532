"""What a harness sees of a running cluster: log lines, alarms and exits, on one monotonic clock."""

from straybit.observe.felt import felt, wait_felt
from straybit.observe.follow import Follower
from straybit.observe.host import HostWatch
from straybit.observe.observers import Observation, Observers

__all__ = ["Follower", "HostWatch", "Observation", "Observers", "felt", "wait_felt"]
