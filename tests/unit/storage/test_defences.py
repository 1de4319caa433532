"""The storage node's defences, each on and off, over real sockets."""

import base64
import hashlib
import zlib

import google_crc32c
import pytest

from straybit_nodes.storage.legs import CRC_HEADER, RECORD_HEADER, TOKEN_HEADER, leg_crc, pack_record, unpack_record
from straybit_nodes.storage.record import Record, make_stamp

BODY = b"what the client sent"
DAMAGED = b"what the client senu"


def b64(data):
    return base64.b64encode(data).decode()


def digests_of(body):
    """By header: its value, and S3's code for a body that is another."""
    return {
        "Content-MD5": (b64(hashlib.md5(body).digest()), "BadDigest"),
        "x-amz-checksum-crc32": (b64(zlib.crc32(body).to_bytes(4, "big")), "BadDigest"),
        "x-amz-checksum-crc32c": (b64(google_crc32c.value(body).to_bytes(4, "big")), "BadDigest"),
        "x-amz-checksum-sha1": (b64(hashlib.sha1(body).digest()), "BadDigest"),
        "x-amz-checksum-sha256": (b64(hashlib.sha256(body).digest()), "BadDigest"),
        "x-amz-content-sha256": (hashlib.sha256(body).hexdigest(), "XAmzContentSHA256Mismatch"),
    }


DIGESTS = digests_of(BODY)
LARGE = 10_000
"""Times the body: large ones are hashed beside the event loop."""


def put(node, body, headers):
    node.request("PUT", "/photos")
    return node.http.request("PUT", node.url + "/photos/k", body=body, headers=headers)


def chunked(body, crc):
    framed = b"%x\r\n%b\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % (len(body), body, crc)
    headers = {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Trailer": "x-amz-checksum-crc32",
        "X-Amz-Decoded-Content-Length": str(len(body)),
        "X-Amz-Content-SHA256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    }
    return framed, headers


@pytest.mark.parametrize("times", [1, LARGE])
@pytest.mark.parametrize("name", DIGESTS)
def test_a_damaged_body_is_refused_and_the_old_version_stays(lone, name, times):
    """Every kind of digest finds damage before the object becomes visible, and it is counted once and logged."""
    put(lone, b"before", {})
    value, code = digests_of(BODY * times)[name]
    answer = put(lone, BODY * (times - 1) + DAMAGED, {name: value})
    assert answer.status == 400
    assert f"<Code>{code}</Code>".encode() in answer.data
    assert lone.request("GET", "/photos/k").data == b"before"
    assert lone.detections("content-checksum") == 1
    (line,) = lone.events("refused")
    assert (line["defence"], line["method"], line["target"], line["code"]) == (
        "content-checksum",
        "PUT",
        "/photos/k",
        code,
    )


@pytest.mark.parametrize("times", [1, LARGE])
@pytest.mark.parametrize("name", DIGESTS)
def test_without_the_defence_damage_is_stored_under_a_matching_etag(bare, name, times):
    """A system of early 2008 ignores digests: damaged bytes look healthy for ever, and nothing is counted."""
    damaged = BODY * (times - 1) + DAMAGED
    answer = put(bare, damaged, {name: DIGESTS[name][0]})
    assert answer.status == 200
    assert answer.headers["ETag"] == f'"{hashlib.md5(damaged).hexdigest()}"'
    got = bare.http.request("GET", bare.url + "/photos/k", headers={"x-amz-checksum-mode": "ENABLED"})
    assert got.data == damaged
    assert not [header for header in got.headers if header.lower().startswith("x-amz-checksum")]
    assert bare.detections("content-checksum") == 0


def test_a_malformed_digest_is_refused_with_the_defence(lone):
    """What is no digest at all is an error of its own, unless digests are ignored."""
    answer = put(lone, BODY, {"Content-MD5": "rubbish"})
    assert (answer.status, b"InvalidDigest" in answer.data) == (400, True)
    assert lone.detections("content-checksum") == 1


def test_a_malformed_digest_is_ignored_without_the_defence(bare):
    """With the defence off not even the form of a digest matters."""
    assert put(bare, BODY, {"Content-MD5": "rubbish", "x-amz-content-sha256": "abc"}).status == 200


def test_a_trailing_checksum_is_held_against_the_decoded_body(lone):
    """aws-chunked framing is taken off, and its trailer is verified."""
    framed, headers = chunked(BODY, b64(zlib.crc32(BODY).to_bytes(4, "big")).encode())
    answer = put(lone, framed, headers)
    assert (answer.status, answer.headers["x-amz-checksum-crc32"]) == (200, DIGESTS["x-amz-checksum-crc32"][0])
    got = lone.request("GET", "/photos/k")
    assert got.data == BODY
    assert "content-encoding" not in got.headers
    framed, headers = chunked(DAMAGED, DIGESTS["x-amz-checksum-crc32"][0].encode())
    answer = put(lone, framed, headers)
    assert (answer.status, b"BadDigest" in answer.data) == (400, True)
    assert lone.request("GET", "/photos/k").data == BODY


def test_framing_is_taken_off_without_the_defence_as_well(bare):
    """Decoding is no defence: nobody wants the framing inside an object."""
    framed, headers = chunked(DAMAGED, DIGESTS["x-amz-checksum-crc32"][0].encode())
    assert put(bare, framed, headers).status == 200
    assert bare.request("GET", "/photos/k").data == DAMAGED


def test_a_rotten_copy_is_never_served(lone):
    """With `read-verify` a read of damaged bytes is an error, counted and logged."""
    put(lone, BODY, {})
    answer = lone.control("POST", "/rot", {"bucket": "photos", "key": "k", "offset": 3, "bit": 5})
    assert answer.json() == {"before": BODY[3], "after": BODY[3] ^ 32}
    got = lone.request("GET", "/photos/k")
    assert got.status == 503
    assert b"what" not in got.data
    assert lone.detections("read-verify") == 1
    assert [line["defence"] for line in lone.events("refused")] == ["read-verify"]
    put(lone, b"written again", {})
    assert lone.request("GET", "/photos/k").data == b"written again"


def test_a_rotten_copy_is_served_without_the_defence(bare):
    """Without `read-verify` the damaged bytes go out, and nobody says a word."""
    put(bare, BODY, {})
    bare.control("POST", "/rot", {"bucket": "photos", "key": "k", "offset": 3, "bit": 5})
    got = bare.request("GET", "/photos/k")
    assert (got.status, got.data[3]) == (200, BODY[3] ^ 32)
    assert bare.detections("read-verify") == 0


def leg(node, method, body=b"", *, record=None, crc=None, token="token-of-the-test"):
    text = pack_record(record) if record else ""
    headers = {TOKEN_HEADER: token, CRC_HEADER: leg_crc(f"{method} /photos/k", text, body) if crc is None else crc}
    if text:
        headers[RECORD_HEADER] = text
    return node.http.request(method, node.url + "/photos/k", body=body or None, headers=headers)


def version(stamp, **fields):
    return Record(bucket="photos", key="k", stamp=make_stamp(stamp, "storage-2"), etag="e", **fields)


def test_a_leg_carries_record_and_body(lone):
    """A replica keeps what a coordinator sends, newest first, and gives it back with its record."""
    assert leg(lone, "GET").status == 404
    assert leg(lone, "PUT", b"new", record=version(2)).status == 200
    stale = leg(lone, "PUT", b"old", record=version(1))
    assert (stale.status, unpack_record(stale.headers[RECORD_HEADER], "photos", "k").stamp) == (409, version(2).stamp)
    got = leg(lone, "GET")
    assert got.data == b"new"
    assert unpack_record(got.headers[RECORD_HEADER], "photos", "k").stamp == version(2).stamp
    assert got.headers[CRC_HEADER] == leg_crc("200 GET /photos/k", got.headers[RECORD_HEADER], b"new")
    assert leg(lone, "DELETE", record=version(3, deleted=True)).status == 200
    assert unpack_record(leg(lone, "HEAD").headers[RECORD_HEADER], "photos", "k").deleted


def test_a_damaged_leg_is_refused(lone):
    """With `content-checksum` a leg whose body changed on the way is not stored; nor is one without a checksum."""
    good = leg_crc("PUT /photos/k", pack_record(version(1)), BODY)
    for crc in (good, ""):
        answer = leg(lone, "PUT", DAMAGED, record=version(1), crc=crc)
        assert (answer.status, b"BadDigest" in answer.data) == (400, True)
    assert leg(lone, "GET").status == 404
    assert lone.detections("content-checksum") == 2


def test_a_damaged_leg_is_stored_without_the_defence(bare):
    """Without it replicas believe each other."""
    assert leg(bare, "PUT", DAMAGED, record=version(1), crc="").status == 200
    assert leg(bare, "GET").data == DAMAGED


@pytest.mark.parametrize(
    ("record", "target"),
    [
        (None, "/photos/k"),
        (version(1), "/photos/other"),
        (Record(bucket="photos", key="k", stamp="soon"), "/photos/k"),
    ],
)
def test_a_leg_without_a_sound_record_is_refused(bare, record, target):
    """A record must be there and name what the request names."""
    headers = {TOKEN_HEADER: "token-of-the-test", RECORD_HEADER: pack_record(record) if record else "?"}
    answer = bare.http.request("PUT", bare.url + target, body=b"x", headers=headers)
    assert (answer.status, b"InvalidRequest" in answer.data) == (400, True)


def test_a_leg_wants_the_token(lone):
    """Whoever lacks the run's token cannot write behind a client's back."""
    answer = leg(lone, "PUT", b"x", record=version(1), token="guess")
    assert (answer.status, b"AccessDenied" in answer.data) == (403, True)
