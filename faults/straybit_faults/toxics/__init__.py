"""Toxics: one per file, whose attributes are its fields, registered here in one line each."""

from straybit_faults.toxics.bandwidth import Bandwidth
from straybit_faults.toxics.base import Armed, Line, Next, Stage, Timer, Toxic
from straybit_faults.toxics.bitflip import BitFlip
from straybit_faults.toxics.content import Content, Matcher
from straybit_faults.toxics.delay import Delay
from straybit_faults.toxics.drop_header import DropHeader
from straybit_faults.toxics.duplicate import Duplicate
from straybit_faults.toxics.latency import Latency
from straybit_faults.toxics.limit_data import LimitData
from straybit_faults.toxics.loss import Loss
from straybit_faults.toxics.reorder import Reorder
from straybit_faults.toxics.reset_peer import ResetPeer
from straybit_faults.toxics.setbyte import SetByte
from straybit_faults.toxics.slicer import Slicer
from straybit_faults.toxics.slow_close import SlowClose
from straybit_faults.toxics.stale import Stale
from straybit_faults.toxics.swap import Swap
from straybit_faults.toxics.timeout import Timeout
from straybit_faults.toxics.truncate import Truncate
from straybit_faults.toxics.whole import Whole

__all__ = ["TOXICS", "Armed", "Content", "Line", "Matcher", "Next", "Stage", "Timer", "Toxic", "Whole"]

TOXICS: dict[str, type[Toxic]] = {
    "bandwidth": Bandwidth,
    "bitflip": BitFlip,
    "delay": Delay,
    "drop_header": DropHeader,
    "duplicate": Duplicate,
    "latency": Latency,
    "limit_data": LimitData,
    "loss": Loss,
    "reorder": Reorder,
    "reset_peer": ResetPeer,
    "setbyte": SetByte,
    "slicer": Slicer,
    "slow_close": SlowClose,
    "stale": Stale,
    "swap": Swap,
    "timeout": Timeout,
    "truncate": Truncate,
}
"""Type, as the API names it, to attributes."""
