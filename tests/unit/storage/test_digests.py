"""Digests that a client announced against the body that came."""

import base64
import hashlib
import zlib

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from straybit_nodes.storage.digests import Announced, announced, check, checksum_header
from straybit_nodes.storage.errors import S3Error

BODY = b"a body of some length"


def b64(data):
    return base64.b64encode(data).decode()


def digests_of(body):
    return {
        "content-md5": b64(hashlib.md5(body).digest()),
        "x-amz-checksum-crc32": b64(zlib.crc32(body).to_bytes(4, "big")),
        "x-amz-checksum-crc32c": b64(google_crc32c.value(body).to_bytes(4, "big")),
        "x-amz-checksum-sha1": b64(hashlib.sha1(body).digest()),
        "x-amz-checksum-sha256": b64(hashlib.sha256(body).digest()),
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
    }


def code_of(headers, body=BODY, trailers=None):
    with pytest.raises(S3Error) as refused:
        check(body, announced(headers), trailers or {})
    return refused.value.code


@pytest.mark.parametrize("name", digests_of(b""))
def test_a_right_digest_passes(name):
    """Each kind of digest accepts the body it was made of."""
    kept = check(BODY, announced({name: digests_of(BODY)[name]}), {})
    algorithm = name.removeprefix("x-amz-checksum-")
    assert kept == ({algorithm: digests_of(BODY)[name]} if algorithm != name else {})


@pytest.mark.parametrize("name", digests_of(b""))
@given(body=st.binary(min_size=1, max_size=200), data=st.data())
def test_no_flipped_bit_passes(name, body, data):
    """A body with one bit changed is refused by each kind of digest."""
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    flipped = bytearray(body)
    flipped[bit // 8] ^= 1 << bit % 8
    expected = "XAmzContentSHA256Mismatch" if name == "x-amz-content-sha256" else "BadDigest"
    assert code_of({name: digests_of(body)[name]}, bytes(flipped)) == expected


def test_the_checksum_of_a_trailer_is_held_against_the_body():
    """A digest that comes behind the body counts as one that came before it."""
    headers = {"x-amz-trailer": "x-amz-checksum-crc32"}
    right = digests_of(BODY)["x-amz-checksum-crc32"]
    assert check(BODY, announced(headers), {"x-amz-checksum-crc32": right}) == {"crc32": right}
    assert code_of(headers, trailers={"x-amz-checksum-crc32": b64(b"1234")}) == "BadDigest"
    assert code_of(headers) == "MalformedTrailerError"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content-md5": "not base64!"}, "InvalidDigest"),
        ({"content-md5": b64(b"short")}, "InvalidDigest"),
        ({"content-md5": ""}, "InvalidDigest"),
        ({"x-amz-checksum-crc32": "?"}, "InvalidRequest"),
        ({"x-amz-checksum-crc32": b64(b"12345")}, "InvalidRequest"),
        ({"x-amz-checksum-md4": b64(b"1234")}, "InvalidRequest"),
        ({"x-amz-checksum-crc64nvme": b64(b"1234")}, "InvalidRequest"),
        ({"x-amz-trailer": "x-amz-checksum-crc64"}, "InvalidRequest"),
        ({"x-amz-trailer": "x-other"}, "InvalidRequest"),
        ({"x-amz-checksum-crc32": b64(b"1234"), "x-amz-checksum-sha1": b64(b"1" * 20)}, "InvalidRequest"),
        ({"x-amz-checksum-crc32": b64(b"1234"), "x-amz-trailer": "x-amz-checksum-crc32"}, "InvalidRequest"),
        ({"x-amz-content-sha256": "abc"}, "InvalidArgument"),
    ],
)
def test_a_malformed_digest_is_refused_with_its_own_code(headers, code):
    """What cannot be a digest is refused before the body is looked at."""
    assert code_of(headers) == code


def test_nothing_announced_is_nothing_stored():
    """A request without digests passes, and no checksum is kept for it."""
    harmless = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-checksum-mode": "ENABLED"}
    assert announced(harmless) == Announced()
    assert check(BODY, Announced(), {}) == {}


@pytest.mark.parametrize(
    ("headers", "payload", "name"),
    [
        ([], "", ""),
        ([], "UNSIGNED-PAYLOAD", ""),
        ([], "0" * 64, "x-amz-content-sha256"),
        (["X-Amz-Checksum-CRC32"], "0" * 64, "x-amz-checksum-crc32"),
        (["x-amz-trailer"], "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-trailer"),
        (["Content-MD5", "x-amz-checksum-crc32"], "", "content-md5"),
        (["x-amz-checksum-mode"], "", ""),
    ],
)
def test_the_header_that_carries_a_digest_is_named(headers, payload, name):
    """A balancer's log says which header of a request carries a digest."""
    assert checksum_header(headers, payload) == name
