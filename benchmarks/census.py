"""Censuses of one state message: how many bits are dangerous under which defences, and what a trial costs."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from straybit.campaign.conduct import conduct
from straybit.campaign.executors import Here, Lanes, Processes
from straybit.campaign.golden import golden
from straybit.campaign.map import draw_map
from straybit.campaign.record import record_message
from straybit.campaign.space import census
from straybit.campaign.spec import Aimed, Setup, TrialSpec
from straybit.campaign.stages import recorder
from straybit.campaign.store import Store
from straybit.outcome import Outcome
from straybit.report.map_page import write_map
from straybit.runner import machine
from straybit_faults.flip import Flip
from straybit_nodes.defences import parse_defences

AIMED = Aimed.parse("gossip-1:gossip-2/state")
SETTINGS = (("none", False), ("2008", False), ("gossip-crc", True), ("gossip-crc,entry-digest", True))


def main() -> None:
    """Print a line for each census and for the controls, and all of it as JSON in the end."""
    asked = _asked()
    rows: list[dict[str, object]] = []
    for backend in asked.backends.split(","):
        for lanes in asked.lanes:
            for defences, repair in SETTINGS if backend == "sim" else SETTINGS[: asked.settings]:
                rows.append(_one(backend, lanes, defences, asked.nodes, repair=repair, out=asked.out))
                print(_line(rows[-1]), flush=True)
        if asked.controls:
            rows.append(_controls(backend, max(asked.lanes), asked.controls, asked.nodes))
            print(_line(rows[-1]), flush=True)
    facts = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "rows": rows}
    print(msgspec.json.encode(facts).decode())
    bad = any(row["invalid"] or row["false_alarms"] for row in rows)
    sys.exit(1 if bad else 0)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", default="sim")
    parser.add_argument("--lanes", type=int, nargs="+", default=[1], help="each of these")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--settings", type=int, default=1, help="how many settings on other backends than sim")
    parser.add_argument("--controls", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("straybit-out") / "census")
    return parser.parse_args()


def _lanes(count: int) -> Lanes:
    return Here() if count == 1 else Processes(count)


def _one(backend: str, count: int, defences: str, nodes: int, *, repair: bool, out: Path) -> dict[str, object]:
    """One census, with its map left below `out`."""
    setup = Setup(nodes=nodes, defences=tuple(sorted(parse_defences(defences))))
    name = f"{backend}-{defences.replace(',', '+')}{'-repair' if repair else ''}-{nodes}-{count}"
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=out))
    began = time.monotonic()
    plan = census(record_message(AIMED, setup, recorder(setup)), setup, repair=repair)
    lanes = _lanes(count)
    with closing(lanes), Store.create(folder, plan, backend) as store:
        golden(plan, lanes, backend)
        session = conduct(store, folder, lanes)
        found = draw_map(plan, store.trials(), backend=backend)
    write_map(found, folder)
    return {
        "what": name,
        "bits": found.bits,
        "dangerous": found.dangerous.count,
        "outcomes": {name: n for name, n in found.outcomes.items() if n},
        "invalid": found.invalid + found.controls_invalid,
        "false_alarms": found.detected.control_detected,
        "controls": found.controls,
        "seconds": round(time.monotonic() - began, 1),
        "per_second": round(session.cost.per_second, 1),
        "cpu_ms": round(1000 * session.cost.cpu_per_trial_s, 2),
    }


def _controls(backend: str, count: int, trials: int, nodes: int) -> dict[str, object]:
    """So many trials that change nothing, with every defence on: what they raise is a false alarm."""
    setup = Setup(nodes=nodes, defences=tuple(sorted(parse_defences("all"))), aftershock=False)
    bits = [f for f in census(record_message(AIMED, setup, recorder(setup)), setup).flips if not f.endswith("/control")]
    flips = [str(msgspec.structs.replace(Flip.parse(bits[n % len(bits)]), control=True)) for n in range(trials)]
    lanes = _lanes(count)
    began = time.monotonic()
    with closing(lanes):
        specs = [TrialSpec(id=f"control-{n}", flips=(flip,), setup=setup) for n, flip in enumerate(flips)]
        played = [done.trial for done in lanes.run(backend, specs)]
    took = time.monotonic() - began
    return {
        "what": f"{backend}: {trials} controls",
        "invalid": sum(trial.outcome is Outcome.INVALID for trial in played),
        "false_alarms": sum(bool(trial.detected_by) or trial.outcome is not Outcome.MASKED for trial in played),
        "controls": len(played),
        "seconds": round(took, 1),
        "per_second": round(trials / took, 1),
    }


def _line(row: dict[str, object]) -> str:
    found = f"{row['dangerous']:g} of {row['bits']} bits dangerous, {row['outcomes']}, " if "bits" in row else ""
    return (
        f"{row['what']}: {found}{row['invalid']} INVALID, {row['false_alarms']} false alarms in {row['controls']} "
        f"controls; {row['seconds']} s, {row['per_second']} trials/s"
        + (f", {row['cpu_ms']} ms of CPU a trial" if "cpu_ms" in row else "")
    )


if __name__ == "__main__":
    main()
