"""The aws-chunked framing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from straybit_nodes.storage.chunked import decode
from straybit_nodes.storage.errors import S3Error


def frame(parts, trailers=(), *, signed=False):
    signature = b";chunk-signature=" + b"a" * 64 if signed else b""
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(part), signature, part) for part in parts)
    return chunks + b"0" + signature + b"\r\n" + b"".join(line + b"\r\n" for line in trailers) + b"\r\n"


@given(st.lists(st.binary(min_size=1, max_size=50)), st.booleans())
def test_the_body_comes_out_as_it_went_in(parts, signed):
    """Whatever the chunks and whether signed, decoding gives the body and the trailers."""
    body = b"".join(parts)
    framed = frame(parts, [b"x-amz-checksum-crc32:AAAAAA=="], signed=signed)
    assert decode(framed, len(body)) == (body, {"x-amz-checksum-crc32": "AAAAAA=="})
    assert decode(frame(parts, signed=signed), len(body)) == (body, {})


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1), st.data())
def test_a_body_cut_anywhere_is_refused(parts, data):
    """Framing that ends early is never taken for a whole body."""
    framed = frame(parts, [b"x-amz-checksum-crc32:AAAAAA=="])
    cut = data.draw(st.integers(0, len(framed) - 1))
    with pytest.raises(S3Error) as refused:
        decode(framed[:cut], sum(map(len, parts)))
    assert refused.value.code in {"IncompleteBody", "MalformedTrailerError"}


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1), st.data())
def test_a_flipped_bit_gives_a_body_of_the_same_length_or_an_error(parts, data):
    """Damaged framing cannot make a body longer or shorter than was said."""
    framed = bytearray(frame(parts))
    bit = data.draw(st.integers(0, 8 * len(framed) - 1))
    framed[bit // 8] ^= 1 << bit % 8
    length = sum(map(len, parts))
    try:
        body, _ = decode(bytes(framed), length)
    except S3Error:
        return
    assert len(body) == length


@pytest.mark.parametrize(
    ("framed", "length", "code"),
    [
        (b"", 0, "IncompleteBody"),
        (b"zz\r\n", 0, "IncompleteBody"),
        (b"-1\r\n\r\n", 0, "IncompleteBody"),
        (b"1" * 9 + b"\r\n", 0, "IncompleteBody"),
        (b"3\r\nabc\r\n0\r\n\r\n", 4, "IncompleteBody"),
        (b"3;x=y\r\nabc\r\n0\r\n\r\n", 3, "IncompleteBody"),
        (b"3\r\nabcd\r\n0\r\n\r\n", 3, "IncompleteBody"),
        (b"0\r\nno colon\r\n\r\n", 0, "MalformedTrailerError"),
        (b"0\r\n\r\nmore", 0, "MalformedTrailerError"),
        (b"0\r\n\r\n\r\n", 0, "MalformedTrailerError"),
        (b"0\r\n" + b"a:b\r\n" * 9 + b"\r\n", 0, "MalformedTrailerError"),
        (b"0\r\na:" + b"b" * 5000 + b"\r\n\r\n", 0, "MalformedTrailerError"),
    ],
)
def test_rubbish_is_refused(framed, length, code):
    """Each way to get the framing wrong has S3's own code."""
    with pytest.raises(S3Error) as refused:
        decode(framed, length)
    assert refused.value.code == code
