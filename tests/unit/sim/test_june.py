"""June 2008 on virtual time: the scenario's own file, and what of requests, digests and clients it rests on."""

import hashlib

import pytest
from botocore.exceptions import ClientError

from straybit import BitFlip
from straybit.backends.sim import SimBackend
from straybit.budgets import budgets_with
from straybit.clients import MODES
from straybit.control import Sample
from straybit.faults import toxic_of
from straybit.ledger_client import BUCKET
from straybit.outcome import Outcome
from straybit.records import Verdict
from straybit.runner import RunOptions, perform
from straybit.scenarios import STORY, find_scenario
from straybit.scenarios._june_plan import june_plan
from straybit_faults.client import ProxyError
from straybit_nodes.defences import GROUPS
from straybit_nodes.topology import Topology

SEED = 2
BODY = b"four score and seven"
COVERED = [mode.name for mode in MODES.values() if mode.checksum]
BARE = [mode.name for mode in MODES.values() if not mode.checksum]
COUNTS = ("straybit_checksum_requests_total", "straybit_checksum_rejected_total")


def flip(**how):
    """A bit of the body of a request from lb-1 to storage-1."""
    aim = {"message": "request", "field": "body", "bit": 9, **how}
    return BitFlip("lb-1:storage-1", **aim)


@pytest.fixture
def s3(cluster):
    """A running cluster with these defences, the bucket in it, and clients of lb-1 by mode."""

    def start(defences=()):
        here = cluster(defences=defences)
        clients = {mode: here.s3("lb-1", mode) for mode in MODES}
        assert clients["today-default"].create_bucket(BUCKET).ok
        return here, clients

    return start


def damage(here):
    """Flip one bit of every body from lb-1 to the storage nodes of its region."""
    for number in (1, 2, 3):
        toxic = toxic_of(flip(), here.topology)
        here.proxy.add_toxic(f"lb-1:storage-{number}", toxic.kind, {**toxic.attributes, "every": 1}, name="t")


def events(here, kind):
    """Service and fields of every line of that kind in the logs."""
    return [(o.source, o.fields) for o in here.observers.seen(kind)]


def counted(here, name, *wanted):
    """These metrics of a service."""
    found = {sample.name: sample.value for sample in here.control(name).metrics()}
    return tuple(found[each] for each in wanted)


def test_june_fails_undefended_as_published(play):
    """Every damaged object is stored and acknowledged, nobody notices, and every row of the story comes true."""
    result = play("june-2008", seed=1)
    assert result.verdict is Verdict.NOT_MET
    (story,) = [table for table in result.tables if table.name == STORY]
    assert [row for row in story.rows if row[1] != "yes"] == []
    faults = [trial for trial in result.trials if trial.kind == "fault"]
    assert {trial.outcome for trial in faults} == {Outcome.SILENT}
    assert len(faults) == len(june_plan(Topology(), 1).damaged)


@pytest.fixture(scope="module")
def defended(tmp_path_factory):
    """June 2008 with the defences of its time, played once."""
    names = GROUPS["2008"]
    options = RunOptions(defences="2008", names=names, backend="sim", seed=SEED, budgets=budgets_with(), run_id="a run")
    with SimBackend() as backend:
        folder = tmp_path_factory.mktemp("june") / "run"
        return perform(find_scenario("june-2008"), options, backend, folder, command="straybit run")


def test_june_is_met_with_the_defences_of_2008(defended):
    """Writes with a checksum are refused by name, the rest is found by the scan, and the right balancer is named."""
    assert (defended.verdict, [e.text for e in defended.expectations if not e.met]) == (Verdict.MET, [])
    faults = [trial for trial in defended.trials if trial.kind == "fault"]
    ends = {(t.outcome, t.detected_by, MODES[t.id.split("/")[0]].checksum != "") for t in faults}
    assert ends == {(Outcome.DETECTED, ("content-checksum",), True), (Outcome.SILENT, (), False)}
    assert [alarm.culprit for alarm in defended.alarms] == [june_plan(Topology(), SEED).balancer]
    assert defended.false_alarms == ()


def test_every_receipt_of_june_was_delivered_and_felt(defended):
    """Each damaged request has its three times in their order, and the byte that the plan drew for it."""
    plan = june_plan(Topology(), SEED)
    drawn = {write.key: 8 * plan.drawn(write).byte(write.size) for write in plan.damaged}
    trials = {t.id: t for t in defended.trials if t.kind == "fault"}
    assert trials.keys() == drawn.keys()
    for key, trial in trials.items():
        (receipt,) = trial.receipts
        assert receipt.sent < receipt.delivered < receipt.felt
        assert receipt.field_bit // 8 * 8 == drawn[key]
        assert receipt.crc is not None


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_sends_its_own_digest(s3, mode):
    """What a balancer logs as covering the body is the header that the mode is known for, or none."""
    here, clients = s3()
    clients[mode].put(BUCKET, mode, BODY)
    (line,) = [fields for _, fields in events(here, "request") if fields["target"] == f"/{BUCKET}/{mode}"]
    assert line["checksum"] == MODES[mode].checksum.split(", ")[0].lower()
    assert (line["method"], line["status"], line["tries"], line["code"]) == ("PUT", 200, 1, "")


@pytest.mark.parametrize("mode", COVERED)
def test_a_damaged_body_with_a_digest_is_refused_and_not_stored(s3, mode):
    """S3's own code comes back, the coordinator logs and counts it, the balancer counts it, nothing is there."""
    here, clients = s3(GROUPS["2008"])
    damage(here)
    reply = clients[mode].put(BUCKET, "k", BODY)
    code = "XAmzContentSHA256Mismatch" if mode == "today-signed" else "BadDigest"
    assert (reply.ok, reply.status, reply.code) == (False, 400, code)
    assert clients[mode].get(BUCKET, "k").code == "NoSuchKey"
    ((source, fields),) = events(here, "refused")
    told = {name: fields[name] for name in ("defence", "method", "target", "code")}
    assert told == {"defence": "content-checksum", "method": "PUT", "target": f"/{BUCKET}/k", "code": code}
    assert here.control(source).metrics() == [Sample("straybit_detections_total", {"defence": "content-checksum"}, 1)]
    assert counted(here, "lb-1", *COUNTS) == (1, 1)
    assert counted(here, "lb-2", *COUNTS) == (0, 0)


@pytest.mark.parametrize("mode", BARE)
def test_a_damaged_body_without_a_digest_is_stored_under_a_matching_etag(s3, mode):
    """One bit is another, the ETag is that of the damaged bytes, and no read notices."""
    here, clients = s3(GROUPS["2008"])
    damage(here)
    reply = clients[mode].put(BUCKET, "k", BODY)
    got = clients["today-default"].get(BUCKET, "k")
    assert got.body == bytes([BODY[0], BODY[1] ^ 2, *BODY[2:]])
    assert reply.etag == got.etag == hashlib.md5(got.body, usedforsecurity=False).hexdigest()
    assert events(here, "refused") == []
    assert counted(here, "lb-1", *COUNTS) == (0, 0)


@pytest.mark.parametrize("mode", MODES)
def test_without_the_defence_digests_are_not_even_read(s3, mode):
    """Whatever a client announced, its damaged body is stored, no checksum is kept, and nobody notices."""
    here, clients = s3()
    damage(here)
    assert clients[mode].put(BUCKET, "k", BODY).ok
    got = clients["today-default"].get(BUCKET, "k")
    assert (got.ok, got.noticed_by) == (True, "")
    assert got.body != BODY


@pytest.mark.parametrize("mode", ["today-crc32", "today-sha256", "today-default"])
def test_stored_checksums_come_back_and_clients_check_them(s3, mode):
    """An object that changed at rest is noticed by the client that asked for its checksum, and read by the others."""
    here, clients = s3(GROUPS["2008"])
    assert clients[mode].put(BUCKET, "k", BODY).ok
    for node in here.requests.storage.values():
        for where, (record, _) in node.objects.items():
            node.objects[where] = record, BODY.upper()
    assert clients[mode].get(BUCKET, "k").noticed_by == "client:checksum"
    assert clients["2008-md5"].get(BUCKET, "k").body == BODY.upper()


def test_clients_send_the_same_bytes_on_every_run(s3):
    """Dates, invocation ids and signatures are not those of the moment: a whole request always has the same CRC."""
    crcs = set()
    for _ in range(2):
        here, clients = s3()
        damage(here)
        clients["today-default"].put(BUCKET, "k", BODY)
        crcs |= {receipt.crc for receipt in here.proxy.receipts()}
        here.close()
    assert len(crcs) == 1


def test_a_balancer_that_does_not_answer_is_a_read_that_timed_out(s3):
    """No answer within the deadline is what boto3 makes of one, after just that time."""
    here, clients = s3()
    here.pause("lb-1")
    began = here.driver.now()
    reply = clients["today-default"].put(BUCKET, "k", BODY)
    assert (reply.status, reply.code) == (0, "ReadTimeoutError")
    assert here.driver.now() - began == pytest.approx(here.spec.rules.deadline_s)


@pytest.mark.parametrize(("key", "code"), [("k" * 1025, "KeyTooLongError"), ("none", "NoSuchKey")])
def test_what_cannot_be_had_is_told_in_the_words_of_s3(s3, key, code):
    """A key that S3 has not, or nobody wrote, is an answer with a code and no exception."""
    _, clients = s3()
    assert clients["today-default"].get(BUCKET, key).code == code


def test_what_is_not_offered_is_refused_by_name(s3):
    """A deletion, a range or a copy is a 501 that names it, and no defence noticed anything."""
    here, clients = s3(GROUPS["2008"])
    boto3 = clients["today-default"]._client
    assert clients["today-default"].delete(BUCKET, "k").status == 501
    for word, call in (
        ("range", lambda: boto3.get_object(Bucket=BUCKET, Key="k", Range="bytes=0-1")),
        ("x-amz-copy-source", lambda: boto3.copy_object(Bucket=BUCKET, Key="k", CopySource=f"{BUCKET}/j")),
        ("ListObjectsV2", lambda: boto3.list_objects_v2(Bucket=BUCKET)),
    ):
        with pytest.raises(ClientError, match=f"NotImplemented.*{word}"):
            call()
    assert events(here, "refused") == []


def test_a_balancer_that_was_killed_counts_anew(s3):
    """Counts are in memory, so those of a restarted balancer begin at nothing."""
    here, clients = s3()
    clients["2008-md5"].put(BUCKET, "k", BODY)
    assert counted(here, "lb-1", *COUNTS) == (1, 0)
    here.restart("lb-1")
    assert counted(here, "lb-1", *COUNTS) == (0, 0)


@pytest.mark.parametrize(("defences", "outcome"), [((), Outcome.SILENT), (GROUPS["2008"], Outcome.DETECTED)])
def test_a_trial_of_a_flip_in_a_request_runs_on_it(cluster, defences, outcome):
    """A user's own flip in a body is delivered, felt and judged as on processes."""
    here = cluster(defences=defences)
    with here.trial(flip()) as trial:
        pass
    trial.expect_outcome(outcome)
    assert all(receipt.felt is not None for receipt in trial.record.receipts)


@pytest.mark.parametrize(
    "how", [{"field": "header.content-length"}, {"message": "reply", "direction": "down"}, {"field": "target"}]
)
def test_what_links_of_balancers_cannot_carry_is_refused(cluster, how):
    """A flip in a head or in a reply is no flip that never comes: it is refused before anything is armed."""
    here = cluster()
    with pytest.raises(ProxyError, match="use --backend process"):
        here.trial(flip(**how)).begin()
    assert here.prove_clean()


def test_links_without_a_toxic_hand_requests_over_as_they_are(s3):
    """A toxic on one link leaves bodies on others alone."""
    here, clients = s3()
    toxic = toxic_of(flip(), here.topology)
    here.proxy.add_toxic("lb-1:storage-1", toxic.kind, {**toxic.attributes, "every": 1}, name="t")
    bodies = {}
    for number in range(12):
        clients["2008-plain"].put(BUCKET, f"k{number}", BODY)
    for _, fields in events(here, "request"):
        if fields["target"].startswith(f"/{BUCKET}/k"):
            key = fields["target"].rpartition("/")[2]
            bodies.setdefault(fields["coordinator"], []).append(clients["2008-plain"].get(BUCKET, key).body == BODY)
    assert bodies.keys() == {"storage-1", "storage-2", "storage-3"}
    assert {name: set(right) for name, right in bodies.items()} == {
        "storage-1": {False},
        "storage-2": {True},
        "storage-3": {True},
    }
