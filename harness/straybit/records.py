"""Records of a run: what the journal holds line by line, and what result.json is folded from.

Times that end in `_s` and have no other origin named are seconds since the run's start, on one monotonic clock.
docs/result.md explains every key.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from straybit.outcome import Outcome

__all__ = [
    "EVENTS",
    "READERS",
    "SCHEMA",
    "Alarm",
    "Campaign",
    "Detection",
    "Error",
    "Expectation",
    "FalseAlarm",
    "Interrupted",
    "Local",
    "LogLine",
    "Phase",
    "Receipt",
    "Record",
    "RestoreStage",
    "RunEnded",
    "RunStarted",
    "Sample",
    "SubRun",
    "Table",
    "Trial",
    "TrialKind",
    "TrialPhases",
    "Verdict",
]

SCHEMA = 1
"""Of the journal and of result.json; a file with another number is refused."""


class Verdict(StrEnum):
    """What a run says in one word."""

    MET = "met"
    NOT_MET = "not-met"
    NO_VERDICT = "no-verdict"


class TrialKind(StrEnum):
    """A control does everything but change the bit, and is in no rate of outcomes."""

    FAULT = "fault"
    CONTROL = "control"


class Local(StrEnum):
    """What the node that was hit did with the flipped message, whatever others saw."""

    REFUSED = "refused"
    ADOPTED = "adopted"
    STORED = "stored"
    IGNORED = "ignored"
    CRASHED = "crashed"
    HUNG = "hung"
    UNKNOWN = "unknown"


class RunStarted(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of every journal. `bin_s` is the width of a `Sample`'s bin, in seconds.

    `servers` gives how many servers and balancers each region has; gossip nodes alone are servers without balancers.
    """

    straybit: str
    command: str
    target: str
    scenario: str
    backend: str
    seed: int
    run_id: str
    date: str
    schema: int = SCHEMA
    defences: tuple[str, ...] = ()
    recovery: str = ""
    servers: dict[str, tuple[int, int]] = {}
    budgets: dict[str, float] = {}
    machine: dict[str, str] = {}
    bin_s: float = 0.5
    replay: str = ""
    not_tested: tuple[str, ...] = ()


class SubRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run inside this one, in the folder `folder` beside this journal; `expect` is the verdict it should have."""

    folder: str
    expect: Verdict = Verdict.MET


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the run; its budget, if it has one, is the run's budget of that name."""

    name: str
    at_s: float
    until_s: float
    note: str = ""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one region that began in the bin which starts at `at_s`."""

    region: str
    at_s: float
    ok: int
    total: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Proof that a flip left the proxy; as the proxy's API gives it, but with times since the run's start.

    `offset` and `context_at` count bytes of the stream; `byte_bit` (0..7) is in the byte at `offset`.
    `before` and `after` are that byte's values; `bytes` holds (offset, before, after) of every changed byte.
    `context` is hex of the bytes around the change, as sent. `crc` is CRC32C of the whole message as sent.
    """

    flip: str
    link: str
    direction: str
    seq: int = 0
    toxic: str = ""
    proxy: str = ""
    connection: int | None = None
    message: str | None = None
    ordinal: int | None = None
    identity: str | None = None
    field: str | None = None
    field_bit: int | None = None
    field_bits: tuple[int, ...] = ()
    offset: int | None = None
    byte_bit: int | None = None
    before: int | None = None
    after: int | None = None
    bytes: tuple[tuple[int, int, int], ...] = ()
    control: bool = False
    crc: str | None = None
    context: str = ""
    context_at: int | None = None
    sent: float | None = None
    delivered: float | None = None
    felt: float | None = None

    @classmethod
    def from_proxy(cls, receipt: Mapping[str, Any], start: float) -> Receipt:
        """The receipt of GET /receipts, its monotonic times taken back to the run's `start`.

        Raises msgspec.ValidationError where a member has the wrong type.
        """
        times = {
            name: None if receipt.get(name) is None else round(receipt[name] - start, 6)
            for name in ("sent", "delivered", "felt")
        }
        crc = receipt.get("crc")
        named = {"crc": f"{crc:08x}" if isinstance(crc, int) else crc}
        lists = {name: receipt.get(name) or () for name in ("field_bits", "bytes")}
        return msgspec.convert({**receipt, **times, **named, **lists, "context": receipt.get("context") or ""}, cls)


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody noticed: the name `by` (as in `detected_by`), where, when, and in what words."""

    by: str
    service: str = ""
    at_s: float | None = None
    detail: str = ""


class TrialPhases(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Durations of a trial's phases, each absent when it never came.

    `felt_s`, `detected_s` and `reverted_s` count from `sent`, `recovered_s` from the revert
    (in a staged restore: from its first stage).
    """

    felt_s: float | None = None
    detected_s: float | None = None
    reverted_s: float | None = None
    recovered_s: float | None = None


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One trial, with the outcome it ended in.

    `at_s` is when its first flip was sent. `blast_radius` counts those beyond the hit node that held the wrong
    value or were served it; `reached` names them. `depth` is the most hops it travelled.
    Stepped trials also say in how many steps half of the wrong values were gone (`half_life`, None: never),
    whether they outlived a restart of everybody (`survives_restart`),
    and how many of the exchanges that requests need were tried and failed (`requests`, `requests_lost`).
    `why` says in a sentence what the outcome rests on; `expected` is the outcome that the scenario expects, if any.
    """

    id: str
    outcome: Outcome
    kind: TrialKind = TrialKind.FAULT
    title: str = ""
    expected: Outcome | None = None
    why: str = ""
    flips: tuple[str, ...] = ()
    at_s: float | None = None
    receipts: tuple[Receipt, ...] = ()
    detected_by: tuple[str, ...] = ()
    detections: tuple[Detection, ...] = ()
    by_luck: bool = False
    phases: TrialPhases = TrialPhases()
    budgets: dict[str, float] = {}
    local: Local = Local.UNKNOWN
    blast_radius: int = 0
    reached: tuple[str, ...] = ()
    depth: int = 0
    sticky: bool = False
    half_life: int | None = None
    survives_restart: bool = False
    requests: int = 0
    requests_lost: int = 0
    replay: str = ""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm of the run: it names a culprit, not a trial, and changes no trial's outcome."""

    name: str
    culprit: str
    at_s: float


class FalseAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """Something noticed what was not there: a detection in a control trial, or an alarm about the innocent."""

    trial: str
    name: str
    detail: str = ""


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What the scenario expects, in words, and whether it came true."""

    text: str
    met: bool
    detail: str = ""


class RestoreStage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a staged restore and whether its gate held."""

    name: str
    at_s: float
    until_s: float
    ok: bool = True
    note: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the scenario's own, as june-2008's of client modes; every row has a cell for every column."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a service's log that is worth showing."""

    at_s: float
    service: str
    what: str
    fields: dict[str, Any] = {}


class Error(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no verdict."""

    what: str


class Interrupted(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody ended the run before its time."""


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign is going to play, as `straybit.campaign.space.Plan` writes itself: enough to go on with it."""

    backend: str
    plan: dict[str, Any]


class RunEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of every whole journal."""


Record = (
    RunStarted
    | SubRun
    | Phase
    | Sample
    | Trial
    | Alarm
    | FalseAlarm
    | Expectation
    | RestoreStage
    | Table
    | LogLine
    | Campaign
    | Error
    | Interrupted
    | RunEnded
)

EVENTS: dict[str, type[Record]] = {
    "run-started": RunStarted,
    "sub-run": SubRun,
    "phase": Phase,
    "sample": Sample,
    "trial": Trial,
    "alarm": Alarm,
    "false-alarm": FalseAlarm,
    "expectation": Expectation,
    "restore-stage": RestoreStage,
    "table": Table,
    "log": LogLine,
    "campaign": Campaign,
    "error": Error,
    "interrupted": Interrupted,
    "run-ended": RunEnded,
}
"""The `event` of a journal line, and the record its other members make."""
READERS = {name: msgspec.json.Decoder(record) for name, record in EVENTS.items()}
"""What reads each of them; several threads may."""
