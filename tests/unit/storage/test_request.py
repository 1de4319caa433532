"""Request lines, ranges, and the headers that are kept."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from straybit_nodes.storage.errors import S3Error, error_code, error_xml
from straybit_nodes.storage.metadata import stored_headers
from straybit_nodes.storage.request import ByteRange, Operation, parse_range, parse_request

KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300).filter(lambda key: len(key.encode()) <= 1024)


@given(KEYS)
def test_any_key_survives_its_quoting(key):
    """A key of any characters is read from the target as it was quoted."""
    assert parse_request("PUT", f"/photos/{quote(key, safe='/')}").key == key


@pytest.mark.parametrize(
    ("method", "target", "operation", "bucket", "key"),
    [
        ("GET", "/", Operation.LIST_BUCKETS, "", ""),
        ("GET", "/?x-id=ListBuckets", Operation.LIST_BUCKETS, "", ""),
        ("PUT", "/photos", Operation.PUT_BUCKET, "photos", ""),
        ("PUT", "/photos/", Operation.PUT_BUCKET, "photos", ""),
        ("GET", "/photos", Operation.LIST_OBJECTS, "photos", ""),
        ("GET", "/photos?list-type=2", Operation.LIST_OBJECTS_V2, "photos", ""),
        ("GET", "/photos?versions", Operation.LIST_VERSIONS, "photos", ""),
        ("POST", "/photos?delete=", Operation.DELETE_OBJECTS, "photos", ""),
        ("POST", "/photos/k?uploads", Operation.CREATE_UPLOAD, "photos", "k"),
        ("PUT", "/photos/k?partNumber=1&uploadId=2", Operation.PUT_PART, "photos", "k"),
        ("POST", "/photos/k?uploadId=2", Operation.COMPLETE_UPLOAD, "photos", "k"),
        ("GET", "/photos/k?versionId=null", Operation.GET_OBJECT, "photos", "k"),
        ("GET", "/photos?location", Operation.LOCATION, "photos", ""),
        ("GET", "/photos/a//b/", Operation.GET_OBJECT, "photos", "a//b/"),
        ("GET", "/photos//a", Operation.GET_OBJECT, "photos", "/a"),
        ("GET", "/photos/..%2F..", Operation.GET_OBJECT, "photos", "../.."),
        ("GET", "/photos/a%252Fb", Operation.GET_OBJECT, "photos", "a%2Fb"),
        ("GET", "/photos/a+b", Operation.GET_OBJECT, "photos", "a+b"),
        ("GET", "http://storage-1/photos/a", Operation.GET_OBJECT, "photos", "a"),
        ("DELETE", "/photos/k?x-id=DeleteObject", Operation.DELETE_OBJECT, "photos", "k"),
    ],
)
def test_a_request_line_is_read(method, target, operation, bucket, key):
    """Method and target say operation, bucket and key."""
    request = parse_request(method, target)
    assert (request.operation, request.bucket, request.key) == (operation, bucket, key)


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        ("PUT", "/photos/" + "x" * 1025, "KeyTooLongError"),
        ("PUT", "/photos/" + "%C3%BC" * 513, "KeyTooLongError"),
        ("PUT", "/photos/%FF", "InvalidURI"),
        ("PUT", "photos/k", "InvalidURI"),
        ("OPTIONS", "*", "InvalidURI"),
        ("PUT", "/No_Bucket/k", "InvalidBucketName"),
        ("PUT", "/ab", "InvalidBucketName"),
        ("PUT", "/a..b/k", "InvalidBucketName"),
        ("PUT", "/%2e%2e/k", "InvalidBucketName"),
        ("PUT", "//k", "InvalidBucketName"),
        ("PATCH", "/photos/k", "MethodNotAllowed"),
        ("PUT", "/", "MethodNotAllowed"),
        ("GET", "/photos?acl", "NotImplemented"),
        ("PUT", "/photos/k?tagging", "NotImplemented"),
        ("GET", "/photos/k?partNumber=1", "NotImplemented"),
        ("GET", "/photos/k?versionId=3", "NoSuchVersion"),
        ("POST", "/photos/k", "MethodNotAllowed"),
        ("PUT", "/photos?delete", "MethodNotAllowed"),
        ("GET", "/photos?list-type=7", "InvalidArgument"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(method, target, code):
    """A request that cannot be served has S3's own code for why."""
    with pytest.raises(S3Error) as refused:
        parse_request(method, target)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", ByteRange(0, 0)),
        ("bytes=2-", ByteRange(2, 9)),
        ("bytes=2-99", ByteRange(2, 9)),
        ("bytes=-3", ByteRange(7, 9)),
        ("bytes=-99", ByteRange(0, 9)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
    ],
)
def test_a_range_is_read(header, expected):
    """One range of bytes is a range of ten; anything else means the whole."""
    assert parse_range(header, 10) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)])
def test_a_range_outside_is_refused(header, size):
    """A range that holds no byte is an error, not an empty answer."""
    with pytest.raises(S3Error, match="range") as refused:
        parse_range(header, size)
    assert refused.value.status == 416


def test_kept_headers_are_those_of_the_object():
    """Content headers and metadata are kept, framing and credentials are not."""
    headers = {
        "Content-Type": "text/plain",
        "Content-Encoding": "aws-chunked,gzip",
        "x-amz-meta-Colour": "red",
        "Authorization": "secret",
        "Content-MD5": "x",
    }
    kept = {"content-type": "text/plain", "content-encoding": "gzip", "x-amz-meta-colour": "red"}
    assert stored_headers(headers) == kept
    assert stored_headers({"content-encoding": "aws-chunked"}) == {}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-meta-a": "x" * 2048}, "MetadataTooLarge"),
        ({"content-type": "x" * 6145}, "MetadataTooLarge"),
        ({"x-amz-meta-a": "\udcff"}, "InvalidArgument"),
        ({"x-amz-tagging": "a=b"}, "NotImplemented"),
        ({"x-amz-server-side-encryption": "AES256"}, "NotImplemented"),
    ],
)
def test_a_put_that_asks_for_more_is_refused(headers, code):
    """A header that would have to be ignored or cannot be kept is an error."""
    with pytest.raises(S3Error) as refused:
        stored_headers(headers)
    assert refused.value.code == code


def test_the_code_of_an_error_can_be_read_from_its_body():
    """A balancer finds in a reply the code that a storage node put there."""
    body = error_xml(S3Error("BadDigest", "<&>"), "/b/<k>", "1")
    assert error_code(body) == "BadDigest"
    assert b"&lt;&amp;&gt;" in body
    assert error_code(b"not xml") == ""
