"""Sample journals of the four runs of the demo, as real as a generator can make them; also a script.

`python tests/unit/report/report_samples.py FOLDER` writes the demo's folder, to look at its page.
"""

import random
import sys
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from straybit.journal import Journal
from straybit.outcome import Outcome
from straybit.records import (
    Alarm,
    Detection,
    Expectation,
    FalseAlarm,
    Local,
    LogLine,
    Phase,
    Receipt,
    Record,
    RestoreStage,
    RunEnded,
    RunStarted,
    Sample,
    SubRun,
    Table,
    Trial,
    TrialKind,
    TrialPhases,
    Verdict,
)

BUDGETS = {"detected": 2.0, "recovered": 5.0, "restore": 15.0}
OF_2008 = ("bad-digest-alarm", "content-checksum", "failed-peer-damping", "gossip-alarm", "gossip-crc")


def started(scenario: str, defences: tuple[str, ...] = ()) -> RunStarted:
    """The first line of a sample."""
    name = "2008" if defences else "none"
    command = f"straybit run {scenario} --defences {name} --seed 7"
    return RunStarted(
        straybit="0.1.0",
        command=command,
        target="reference cluster, eu 3+1, us 5+2",
        scenario=scenario,
        backend="process",
        defences=defences,
        recovery="staged",
        seed=7,
        budgets=BUDGETS,
        run_id=f"{scenario}-{name}-7",
        date="2026-11-22T03:00:00Z",
        machine={"cpus": "2", "python": "3.11.7", "system": "Linux 6.1 x86_64"},
        replay=command,
        not_tested=("an aftershock: no node was restarted after the flips", "the docker and sim backends"),
    )


def frame(rng: random.Random) -> bytes:
    """Something that looks like a gossip state message."""
    head = b"sb\x01\x02\x01\x00" + (700).to_bytes(4, "big") + rng.randbytes(4) + b"gossip-2".ljust(16, b"\0")
    entries = (
        f"gossip-{n}".encode().ljust(16, b"\0")
        + bytes([10, 1 + n // 4, 0, n, 1])
        + (40).to_bytes(2, "big")
        + (1_216_540_800).to_bytes(8, "big")
        + rng.randrange(80).to_bytes(8, "big")
        for n in range(1, 9)
    )
    return head + b"".join(entries)


def flipped(data: bytes, offset: int, mask: int, at: int, **more: object) -> dict[str, object]:
    """The members of a receipt that say what changed."""
    first = max(0, offset - 13)
    changed = bytearray(data)
    changed[offset] ^= mask
    return {
        "offset": at + offset,
        "byte_bit": (mask & -mask).bit_length() - 1,
        "before": data[offset],
        "after": changed[offset],
        "bytes": ((at + offset, data[offset], changed[offset]),),
        "context": bytes(changed[first : first + 32]).hex(),
        "context_at": at + first,
        **more,
    }


def requests(end: float, shape: dict[str, list[tuple[float, float]]], seed: int) -> Iterable[Sample]:
    """Half-second bins; `shape` gives, per region, success shares from a time on."""
    rng = random.Random(seed)
    for region, rate in {"eu": 5, "us": 8}.items():
        for step in range(int(end * 2)):
            at = step / 2
            share = [value for since, value in shape[region] if since <= at][-1]
            total = rate + rng.randrange(3)
            yield Sample(region=region, at_s=at, ok=sum(rng.random() < share for _ in range(total)), total=total)


JULY = [
    ("gossip-2", "gossip-3", "gossip-1", 22),
    ("gossip-3", "lb-1", "gossip-1", 13),
    ("gossip-5", "gossip-6", "gossip-4", 21),
    ("lb-2", "gossip-8", "gossip-4", 12),
    ("gossip-8", "gossip-5", "gossip-7", 27),
    ("gossip-6", "lb-3", "gossip-7", 14),
]


def july_trial(number: int, *, defended: bool) -> Trial:
    """One flipped address bit."""
    rng = random.Random(number)
    caller, callee, owner, bit = JULY[number]
    flip = f"1/{caller}:{callee}/up/state/{number}/{owner}.address/{bit}"
    at = 4.0 + number * 0.11
    data = frame(rng)
    place = 30 + 39 * (int(owner[-1]) - 1) + 16 + 3 - bit // 8
    receipt = Receipt(
        flip=flip,
        link=f"{caller}:{callee}",
        direction="up",
        proxy=f"{caller}:{callee}",
        toxic="bitflip_upstream",
        connection=number,
        message="state",
        ordinal=number,
        field=f"{owner}.address",
        field_bit=bit,
        field_bits=(bit,),
        crc=f"{rng.getrandbits(32):08x}",
        sent=at,
        delivered=at + 0.0004,
        felt=at + 0.0021,
        **flipped(data, place, 1 << bit % 8, 0),
    )
    common = {"id": f"flip-{number + 1}", "title": f"{owner}'s address, bit {bit}", "flips": (flip,), "at_s": at}
    common |= {
        "receipts": (receipt,),
        "budgets": BUDGETS,
        "replay": f"straybit replay july-2008-none-7/flip-{number + 1}",
    }
    if defended:
        seen = at + 0.004 + rng.random() / 50
        detail = f"checksum in the frame {rng.getrandbits(32):08x}, over its bytes {receipt.crc}"
        return Trial(
            outcome=Outcome.DETECTED,
            why="refused before it was read; no view held the value",
            detected_by=("gossip-crc",),
            detections=(Detection(by="gossip-crc", service=callee, at_s=seen, detail=detail),),
            phases=TrialPhases(
                felt_s=0.0021, detected_s=seen - at, reverted_s=0.6, recovered_s=0.52 + rng.random() / 10
            ),
            local=Local.REFUSED,
            **common,
        )
    everyone = [*(f"gossip-{n}" for n in range(1, 9)), "lb-1", "lb-2", "lb-3"]
    return Trial(
        outcome=Outcome.SPREAD,
        why="ten members that never received the message held the address; it was there after a rolling restart",
        phases=TrialPhases(felt_s=0.0021, reverted_s=12.1, recovered_s=8.4),
        local=Local.ADOPTED,
        blast_radius=10,
        reached=tuple(name for name in everyone if name != callee),
        depth=3,
        sticky=True,
        **common,
    )


def july_none() -> list[Record]:
    """No defences: collapse, no help from a rolling restart, a staged restore."""
    lost = [(0, 1.0), (4.5, 0.7), (5.5, 0.3), (6.5, 0.0)]
    stages = ["stop all", "verify silence", "clear", "eu: batch 1", "eu: batch 2", "us: batch 1", "us: batch 2"]
    times = [17.0, 17.9, 18.4, 19.1, 20.2, 21.6, 23.3, 25.4]
    return [
        started("july-2008"),
        Phase(name="steady", at_s=0.6, until_s=1.7, note="5 probes in a row"),
        Phase(name="golden", at_s=1.7, until_s=4.0, note="the same workload, before arming"),
        Phase(name="armed", at_s=4.0, until_s=4.7, note="six flips, two about each of three owners"),
        Phase(name="aftermath", at_s=4.7, until_s=12.0, note="nothing armed any more"),
        Phase(name="rolling restart", at_s=12.0, until_s=17.0, note="generations are kept on disk"),
        Phase(name="restore", at_s=17.0, until_s=25.4, note="staged, eu first"),
        Phase(name="recovered", at_s=25.4, until_s=26.6),
        *requests(28, {"eu": [*lost, (20.5, 1.0)], "us": [*lost, (7.5, 0.0), (23.5, 1.0)]}, 1),
        *(july_trial(n, defended=False) for n in range(6)),
        *(
            RestoreStage(name=name, at_s=times[i], until_s=times[i + 1], note="gate held")
            for i, name in enumerate(stages)
        ),
        LogLine(at_s=4.62, service="gossip-4", what="marked", fields={"peer": "gossip-1"}),
        LogLine(at_s=4.71, service="gossip-6", what="exchange failed", fields={"peer": "gossip-4", "after_s": 0.5}),
        Expectation(text="success stays above 95 % in every region", met=False, detail="eu 0 %, us 0 % from 7.5 s on"),
        Expectation(text="nothing wrong is adopted", met=False, detail="6 of 6 flips spread"),
        Expectation(text="the staged restore ends within 15 s", met=True, detail="8.4 s"),
        Expectation(text="no acknowledged object is lost", met=True, detail="312 of 312 read back"),
        RunEnded(),
    ]


def july_2008() -> list[Record]:
    """The defences of 2008: every flip refused."""
    return [
        started("july-2008", OF_2008),
        Phase(name="steady", at_s=0.6, until_s=1.7, note="5 probes in a row"),
        Phase(name="golden", at_s=1.7, until_s=4.0, note="the same workload, before arming"),
        Phase(name="armed", at_s=4.0, until_s=4.7, note="six flips, two about each of three owners"),
        Phase(name="aftermath", at_s=4.7, until_s=8.0),
        Phase(name="recovered", at_s=8.0, until_s=8.6),
        *requests(9, {"eu": [(0, 1.0)], "us": [(0, 1.0)]}, 1),
        *(july_trial(n, defended=True) for n in range(6)),
        *(control(n) for n in range(2)),
        LogLine(at_s=4.01, service="gossip-3", what="refused", fields={"defence": "gossip-crc", "from": "gossip-2"}),
        Expectation(text="every flip is refused by gossip-crc", met=True, detail="6 of 6"),
        Expectation(text="success stays at 100 %", met=True, detail="231 of 231 requests"),
        Expectation(text="no acknowledged object is lost", met=True, detail="118 of 118 read back"),
        RunEnded(),
    ]


def control(number: int, flip: str = "1/gossip-2:gossip-4/up/state/0/gossip-1.address/22/control") -> Trial:
    """A trial that changes nothing."""
    receipt = Receipt(flip=flip, link=flip.split("/")[1], direction="up", control=True, sent=4.3, delivered=4.3004)
    return Trial(
        id=f"control-{number + 1}",
        kind=TrialKind.CONTROL,
        outcome=Outcome.MASKED,
        title="mask 0",
        flips=(flip,),
        at_s=4.3,
        receipts=(receipt,),
        local=Local.IGNORED,
        phases=TrialPhases(felt_s=0.002, reverted_s=0.5, recovered_s=0.5),
        budgets=BUDGETS,
    )


MODES = {
    "2008, no checksum": "",
    "2008, Content-MD5": "content-md5",
    "2008, compares the ETag": "client:etag",
    "today, default (CRC32)": "x-amz-checksum-crc32",
    "today, signed SHA-256": "x-amz-content-sha256",
    "today, checksums off": "",
}


def june_trial(number: int, mode: str, header: str, *, defended: bool) -> Trial:
    """One damaged PUT."""
    rng = random.Random(number)
    body = bytes(rng.choice(b"the quick brown fox, jumps over a lazy dog\n") for _ in range(4096))
    target = f"storage-{rng.randrange(4, 9)}"
    offset, mask = rng.randrange(4096), rng.choice([0x01, 0x40, 0x2C, 0x91])
    bits = [offset * 8 + b for b in range(8) if mask >> b & 1]
    flip = f"1/lb-2:{target}/up/request/{number * 7}/body/{'+'.join(map(str, bits))}"
    key = f"/photos/{number:03d}.bin"
    at = 3.2 + number * 0.4
    receipt = Receipt(
        flip=flip,
        link=f"lb-2:{target}",
        direction="up",
        connection=number // 3,
        message="request",
        ordinal=number * 7,
        identity=f"PUT {key}",
        field="body",
        field_bit=bits[0],
        field_bits=tuple(bits),
        sent=at,
        delivered=at + 0.0005,
        felt=at + 0.006,
        **flipped(body, offset, mask, 1312),
    )
    common = {
        "id": f"put-{number:03d}",
        "title": f"{mode}: PUT {key}",
        "flips": (flip,),
        "at_s": at,
        "budgets": BUDGETS,
    }
    common |= {"receipts": (receipt,)}
    if header == "client:etag":
        return Trial(
            outcome=Outcome.NOTICED,
            expected=Outcome.NOTICED,
            why="stored as it came; the client's own MD5 differs from the reply's ETag",
            detected_by=("client:etag",),
            detections=(Detection(by="client:etag", service="client", at_s=at + 0.02, detail="ETag differs"),),
            phases=TrialPhases(felt_s=0.006, detected_s=0.02, reverted_s=9.0, recovered_s=0.5),
            local=Local.STORED,
            **common,
        )
    if header and defended:
        return Trial(
            outcome=Outcome.DETECTED,
            expected=Outcome.DETECTED,
            why="400 BadDigest, nothing stored",
            detected_by=("content-checksum",),
            detections=(
                Detection(
                    by="content-checksum", service=target, at_s=at + 0.009, detail=f"{header}: body gives another"
                ),
            ),
            phases=TrialPhases(felt_s=0.006, detected_s=0.009 + rng.random() / 100, reverted_s=9.0, recovered_s=0.5),
            local=Local.REFUSED,
            **common,
        )
    return Trial(
        outcome=Outcome.SILENT,
        expected=Outcome.SILENT if defended else None,
        why="stored under the ETag of the damaged bytes; the later scan lists it",
        phases=TrialPhases(felt_s=0.006, reverted_s=9.0, recovered_s=0.5),
        local=Local.STORED,
        blast_radius=1,
        reached=("client",),
        **common,
    )


def june(*, defended: bool) -> list[Record]:
    """One balancer of three changes bytes of the bodies it relays."""
    modes = list(MODES.items())
    trials = [june_trial(n, *modes[n % 6], defended=defended) for n in range(24)]
    rows = []
    for mode, header in modes:
        mine = [t for t in trials if t.title.startswith(mode)]
        caught = sum(bool(t.detected_by) for t in mine)
        rows.append((mode, header or "none", len(mine), caught, len(mine) - caught))
    end: list[Record] = [
        Table(name="client modes", columns=("mode", "checksum", "damaged", "noticed", "silent"), rows=tuple(rows)),
        Expectation(text="every damaged write with a checksum is refused", met=defended, detail=""),
        Expectation(
            text="the scan lists every damaged object and no other", met=True, detail="ledger and cluster only"
        ),
        RunEnded(),
    ]
    if defended:
        end.insert(0, Alarm(name="bad-digest-alarm", culprit="lb-2", at_s=6.4))
        end.insert(1, Expectation(text="bad-digest-alarm names lb-2 and no other", met=True))
        end.insert(2, control(0, "1/lb-2:storage-4/up/request/40/body/0/control"))
    return [
        started("june-2008", OF_2008 if defended else ()),
        Phase(name="steady", at_s=0.5, until_s=1.2),
        Phase(name="golden", at_s=1.2, until_s=3.2),
        Phase(name="armed", at_s=3.2, until_s=12.8, note="lb-2 damages 8 % of the bodies it relays"),
        Phase(name="taken out", at_s=12.8, until_s=13.4, note="lb-2 leaves service"),
        Phase(name="scan", at_s=13.4, until_s=14.6, note="every key against the ledger"),
        Phase(name="recovered", at_s=14.6, until_s=15.1),
        *requests(15, {"eu": [(0, 1.0)], "us": [(0, 1.0), (3.5, 0.93 if defended else 1.0), (13, 1.0)]}, 2),
        *trials,
        *end,
    ]


SAMPLES = {
    "july-2008-none": july_none,
    "july-2008-2008": july_2008,
    "june-2008-none": lambda: june(defended=False),
    "june-2008-2008": lambda: june(defended=True),
}


def write_journal(folder: Path, records: Iterable[Record]) -> Path:
    """A journal of these records; its lines' own times are a tenth of a second apart."""
    folder.mkdir(parents=True, exist_ok=True)
    ticks = count()
    with Journal(folder / "journal.ndjson", start=0.0, clock=lambda: next(ticks) / 10) as journal:
        for record in records:
            journal.write(record)
    return folder


def write_sample(folder: Path, name: str) -> Path:
    """The folder of one sample run."""
    return write_journal(folder / name, SAMPLES[name]())


def write_demo(folder: Path) -> Path:
    """The folder of a demo with the four samples inside it."""
    for name in SAMPLES:
        write_sample(folder, name)
    runs = [SubRun(folder=n, expect=Verdict.NOT_MET if n.endswith("none") else Verdict.MET) for n in SAMPLES]
    head = RunStarted(
        straybit="0.1.0",
        command="straybit demo --seed 7",
        target="reference cluster, eu 3+1, us 5+2",
        scenario="demo",
        backend="process",
        seed=7,
        run_id="demo-7",
        date="2026-11-22T03:00:00Z",
        replay="straybit demo --seed 7",
    )
    return write_journal(folder, [head, *runs, RunEnded()])


def false_alarm() -> FalseAlarm:
    """A detection in a control trial."""
    return FalseAlarm(trial="control-1", name="gossip-crc", detail="refused a frame that nobody had touched")


if __name__ == "__main__":
    write_demo(Path(sys.argv[1]))
