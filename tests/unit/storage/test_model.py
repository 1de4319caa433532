"""The property of ShardStore (SOSP 2021): a read gives the model's value or an error, never another value.

A Hypothesis state machine over a store on real files: puts, deletes, reads, lists, scrubs and restarts,
a SIGKILL of the process before any step of a write, and bits that rot at rest in data and record.
"""

import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from straybit_nodes.storage.record import Damaged, Record, crc, make_stamp
from straybit_nodes.storage.store import Store

STEPS = ("write", "sync", "rename", "sync folder", "quarantine")
KEYS = st.sampled_from(["a", "b", "../c"])
EXAMPLES = int(os.environ.get("STRAYBIT_MODEL_EXAMPLES", "25"))


def die_at(step):
    def on_step(reached):
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return on_step


def in_a_process(work):
    """Run `work` in a process of its own; True when it was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def record(key, number, *, deleted=False):
    return Record(bucket="photos", key=key, stamp=make_stamp(number, "storage-1"), deleted=deleted)


class Model(RuleBasedStateMachine):
    """`may` holds for each key every value that a read may give: more than one only after a crash in a write."""

    @initialize()
    def begin(self):
        self.root = Path(tempfile.mkdtemp(dir=self.base))
        self.number = 0
        self.may = {}
        self.hurt = set()
        self.open()

    def open(self):
        self.store = Store(self.root)
        self.store.open()

    def write(self, key, body):
        self.number += 1
        return record(key, self.number, deleted=body is None), body or b""

    @rule(key=KEYS, body=st.none() | st.binary(max_size=40))
    def put(self, key, body):
        assert self.store.put(*self.write(key, body))
        self.may[key] = {body}
        self.hurt.discard(key)

    @rule(key=KEYS, body=st.none() | st.binary(max_size=40), step=st.sampled_from(STEPS))
    def put_and_die(self, key, body, step):
        written = self.write(key, body)

        def work():
            store = Store(self.root, on_step=die_at(step))
            store.open()
            store.put(*written)

        died = in_a_process(work)
        before = self.may.get(key, {None})
        certain = not died or step == "sync folder"
        self.may[key] = {body} if certain else before
        if certain:
            self.hurt.discard(key)
        self.open()

    @rule()
    def restart(self):
        self.open()

    @precondition(lambda self: self.may)
    @rule(data=st.data())
    def rot(self, data):
        """A bit of a file changes, anywhere in it."""
        files = [path for path in (self.root / "objects").rglob("*") if path.is_file()]
        if not files:
            return
        path = data.draw(st.sampled_from(sorted(files)))
        content = bytearray(path.read_bytes())
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        for key in self.may:
            if self.store._path("photos", key) == path:
                self.hurt.add(key)

    @rule()
    def scrub(self):
        for bucket, key, stamp, _ in self.store.files():
            try:
                self.store.read(bucket, key, verify=True)
            except Damaged:
                self.store.quarantine(bucket, key, stamp)
                assert key in self.hurt

    @rule(key=KEYS)
    def heal(self, key):
        """The same version comes again from a replica."""
        known = None if not self.store.is_sound("photos", key) else self.store.find("photos", key)
        if key in self.hurt and known is None and key in self.may and self.number:
            (body,) = self.may[key]
            try:
                stamp = self.store.find("photos", key).stamp
            except Damaged:
                return
            healed = Record(bucket="photos", key=key, stamp=stamp, deleted=body is None)
            assert self.store.put(healed, body or b"")
            self.hurt.discard(key)

    @invariant()
    def every_read_is_the_models_or_an_error(self):
        for key, may in getattr(self, "may", {}).items():
            try:
                found = self.store.find("photos", key)
                value = None if found is None or found.deleted else self.store.read("photos", key, verify=True)[1]
            except Damaged:
                assert key in self.hurt
            else:
                assert value in may

    @invariant()
    def every_list_is_the_models_or_an_error(self):
        if not hasattr(self, "may"):
            return
        try:
            listed = {item.key: item.size for item in self.store.list("photos", "", "", 99).items if not item.deleted}
        except Damaged:
            assert self.hurt
        else:
            wanted = {key: len(body) for key, (body,) in self.may.items() if body is not None}
            assert listed == wanted


@pytest.fixture
def model(tmp_path):
    return type("ModelHere", (Model,), {"base": str(tmp_path)})


def test_a_read_gives_the_models_value_or_an_error(model):
    """Whatever happens in whatever order: never another value, and an error only where a bit rotted."""
    machine = model.TestCase
    machine.settings = settings(max_examples=EXAMPLES, stateful_step_count=20, deadline=None)
    machine("runTest").runTest()


@pytest.mark.proof
def test_the_model_finds_a_store_that_does_not_look(model, monkeypatch):
    """The planted fault: a store that reads without verifying gives another value, and the machine says so."""
    read = Store.read
    monkeypatch.setattr(Store, "read", lambda self, bucket, key, *, verify: read(self, bucket, key, verify=False))
    machine = model.TestCase
    machine.settings = settings(
        max_examples=200, stateful_step_count=20, deadline=None, database=None, phases=[Phase.generate]
    )
    with pytest.raises(AssertionError):
        machine("runTest").runTest()


@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_kill_at_any_step_leaves_old_or_new(tmp_path, step):
    """After a SIGKILL before each step of a write, the key has its old version or its new one, whole."""
    store = Store(tmp_path)
    store.open()
    store.put(record("k", 1), b"old")

    def work():
        again = Store(tmp_path, on_step=die_at(step))
        again.open()
        again.put(record("k", 2), b"new")

    assert in_a_process(work)
    store = Store(tmp_path)
    store.open()
    assert store.read("photos", "k", verify=True)[1] == (b"new" if step == "sync folder" else b"old")
    assert not list((tmp_path / "tmp").iterdir())


def test_a_kill_in_the_middle_of_a_quarantine_leaves_the_key_damaged(tmp_path):
    """A damaged key is an error before, during and after it is moved aside."""
    store = Store(tmp_path)
    store.open()
    store.put(record("k", 1), b"data")
    store.rot("photos", "k", 0, 0)

    def work():
        again = Store(tmp_path, on_step=die_at("quarantine"))
        again.open()
        again.quarantine("photos", "k", record("k", 1).stamp)

    assert in_a_process(work)
    for _ in range(2):
        store = Store(tmp_path)
        store.open()
        with pytest.raises(Damaged):
            store.read("photos", "k", verify=True)
        store.quarantine("photos", "k", record("k", 1).stamp)


def test_a_damaged_key_is_known_over_restarts_and_healed_by_its_own_version(tmp_path):
    """What is in quarantine is not absent: its record is known, and only as new a version takes its place."""
    store = Store(tmp_path)
    store.open()
    store.put(record("k", 2), b"data")
    store.rot("photos", "k", 0, 0)
    assert store.quarantine("photos", "k", record("k", 2).stamp)
    assert not store.quarantine("photos", "k", record("k", 2).stamp), "it is counted once"
    store = Store(tmp_path)
    store.open()
    assert store.damaged() == (("photos", "k"),)
    assert store.find("photos", "k").crc == crc(b"data")
    assert [item.key for item in store.list("photos", "", "", 9).items] == ["k"]
    assert not store.put(record("k", 1), b"older")
    with pytest.raises(Damaged):
        store.read("photos", "k", verify=True)
    assert store.put(record("k", 2), b"data")
    assert store.read("photos", "k", verify=True)[1] == b"data"
    assert (store.damaged(), store.is_sound("photos", "k")) == ((), True)


def test_evidence_is_kept_up_to_a_limit(tmp_path):
    """Damaged files stay for whoever wants to look, but not without end."""
    store = Store(tmp_path)
    store.open()
    for number in range(1, 71):
        store.put(record("k", number), b"data")
        key = f"k{number}"
        store.put(record(key, 1), b"data")
        store.rot("photos", key, 0, 0)
        assert store.quarantine("photos", key, record(key, 1).stamp)
        store.put(record(key, 2), b"healed")
    assert len([path for path in (tmp_path / "quarantine").rglob("*") if path.is_file()]) == 64
