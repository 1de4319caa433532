"""A scenario of one's own: a server's version jumps far ahead in one message; do the clients feel it?

Play it with `straybit run examples/slow_poison.py --defences none`, and again with `--defences gossip-crc`.
"""

from straybit import BitFlip, Run, scenario

FLIP = BitFlip("gossip-1:gossip-2", message="state", field="version", bit=62)


@scenario("slow-poison", title="one server's news is from the far future", plan=lambda _topology, _seed: (str(FLIP),))
def slow_poison(run: Run) -> None:
    run.create_buckets()
    trial = run.trial("version", FLIP, drive=True)
    with run.phase("flip"), trial:
        trial.wait_delivered(5)
    record = trial.record
    run.record(record)
    with run.phase("clients"):
        replies = [run.put(f"key-{n}", b"x" * 100, balancer="lb-1") for n in range(30)]
    failed = sum(not reply.ok for reply in replies)
    run.expect("the flip does not spread", record.blast_radius == 0, f"it reached {record.blast_radius} others")
    run.expect("clients in eu feel nothing", failed == 0, f"{failed} of {len(replies)} requests failed")
