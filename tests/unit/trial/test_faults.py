"""What can be asked for: a flip is checked against the cluster, and told to the proxy in the API's words."""

import pytest

from straybit import BitFlip
from straybit.faults import check_flip, toxic_of
from straybit_faults.flip import Flip, FlipIdError
from straybit_nodes.topology import Topology

TOPOLOGY = Topology()


@pytest.mark.parametrize(
    "text",
    [
        "1/gossip-1:gossip-2/up/state/0/version/62",
        "1/gossip-1:gossip-2/up/state/3/gossip-3.address/31+2/repair/control",
        "1/gossip-1:lb-1/down/state/0/load/0",
        "1/storage-1:gossip-1/up/place/0/peer/4",
        "1/lb-1:storage-2/up/request/0/body/99999",
        "1/lb-1:storage-2/down/reply/0/header.etag/3",
        "1/client:lb-3/up/at/0/44/7",
        "1/lb-1:storage-2/down/reply/2/drop_header:ETag",
    ],
)
def test_what_can_be_is_let_through(text):
    """Fields of gossip and of HTTP, owners, offsets and whole-message faults."""
    check_flip(Flip.parse(text), TOPOLOGY)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "1/gossip-1:gossip-9/up/state/0/version/1",
            "there is no link gossip-1:gossip-9; gossip-1 has gossip-1:",
        ),
        (
            "1/nobody:gossip-1/up/state/0/version/1",
            "there is no link nobody:gossip-1; `straybit list links` names",
        ),
        ("1/gossip-1:gossip-2/up/stat/0/version/1", "gossip has no message 'stat'; it has digest, state"),
        ("1/gossip-1:gossip-2/up/state/0/colour/1", "message state has no field 'colour'; it has magic"),
        ("1/gossip-1:gossip-2/up/state/0/gossip-9.version/1", "message state has no field 'gossip-9.version'"),
        ("1/gossip-1:gossip-2/up/state/0/version/64", "field version has bits 0..63, not 64"),
        ("1/gossip-1:gossip-2/up/state/0/version/3+64", "field version has bits 0..63, not 64"),
        (
            "1/gossip-1:gossip-2/up/state/0/swap",
            "swap is a fault of requests and replies; gossip-1:gossip-2 carries",
        ),
        ("1/lb-1:storage-2/up/request/0/body/1/repair", "message request of http1 has no checksum of its own"),
    ],
)
def test_what_cannot_be_is_refused_with_what_there_is(text, says):
    """One line that names the part that is wrong and what would be right."""
    with pytest.raises(FlipIdError) as refused:
        check_flip(Flip.parse(text), TOPOLOGY)
    assert str(refused.value).startswith(says)


def test_a_bit_flip_is_a_flip():
    """The noun that tests use gives the flip that its id names."""
    flip = BitFlip("a:b", message="state", field="version", bit=[3, 4], ordinal=2, direction="down", repair=True)
    assert str(flip) == "1/a:b/down/state/2/version/3+4/repair"
    assert flip == Flip.parse(str(flip))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"direction": "sideways"}, "neither up .* nor down"),
        ({"bit": []}, "not a number"),
        ({"bit": range(9)}, "1 to 8 different bits"),
        ({"bit": [3, 3]}, "1 to 8 different bits"),
        ({"bit": -1}, "not a number"),
        ({"ordinal": -1}, "not a number"),
        ({"message": "a b"}, "not a name"),
    ],
)
def test_a_bit_flip_that_cannot_be_written_is_refused(changes, says):
    """What has no flip id is no flip."""
    with pytest.raises(FlipIdError, match=says):
        BitFlip("a:b", **{"message": "state", "field": "version", "bit": 1, **changes})


def test_a_number_of_thousands_of_digits_is_refused():
    """In one line that does not repeat it."""
    with pytest.raises(FlipIdError, match="a number of 5000 digits in a flip id is too long: at most 20") as refused:
        Flip.parse(f"1/gossip-1:gossip-2/up/state/0/version/{'9' * 5000}")
    assert len(str(refused.value)) < 100


@pytest.mark.parametrize(
    ("text", "kind", "stream", "attributes"),
    [
        (
            "1/gossip-1:gossip-2/up/state/1/version/62/repair",
            "bitflip",
            "upstream",
            {"wire": "gossip", "message": "state", "ordinal": 1, "field": "version", "bits": [62], "repair": True},
        ),
        (
            "1/lb-1:storage-2/down/at/3/44/7/control",
            "bitflip",
            "downstream",
            {"connection": 3, "offset": 44, "bit": 7, "control": True},
        ),
        (
            "1/lb-1:storage-2/down/reply/2/drop_header:ETag",
            "drop_header",
            "downstream",
            {"wire": "http1", "message": "reply", "ordinal": 2, "name": "ETag"},
        ),
        (
            "1/lb-1:storage-2/down/reply/0/truncate:10",
            "truncate",
            "downstream",
            {"wire": "http1", "message": "reply", "ordinal": 0, "bytes": 10},
        ),
    ],
)
def test_the_proxy_is_told_in_its_own_words(text, kind, stream, attributes):
    """A flip becomes one toxic on its link's proxy."""
    toxic = toxic_of(Flip.parse(text), TOPOLOGY)
    assert (toxic.link, toxic.kind, toxic.stream) == (text.split("/")[1], kind, stream)
    assert toxic.attributes == attributes
