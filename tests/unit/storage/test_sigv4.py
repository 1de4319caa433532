"""Signatures: what an unmodified botocore signs is taken, whatever differs by one bit is not."""

import time

import boto3
import pytest
import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as Keys
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from straybit_nodes.storage.chunked import decode
from straybit_nodes.storage.errors import S3Error
from straybit_nodes.storage.sigv4 import SKEW_S, Credentials, verify

KEYS = Credentials("access", "secret")


def signed_by_botocore(method, target, body=b"", **headers):
    request = AWSRequest(method, f"http://127.0.0.1:1{target}", data=body, headers=headers)
    request.context["payload_signing_enabled"] = True
    S3SigV4Auth(Keys("access", "secret"), "s3", "us-east-1").add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()} | {"host": "127.0.0.1:1"}


def refusal(method, target, headers, now_s=None, keys=KEYS):
    try:
        verify(method, target, headers, credentials=keys, now_s=now_s or time.time())
    except S3Error as error:
        return error.code
    return None


TEXT = st.characters(exclude_categories=("Cs",))
KEY = st.text(st.characters(exclude_categories=("Cs",), min_codepoint=32), min_size=1, max_size=20)


@given(KEY, st.dictionaries(st.sampled_from(["prefix", "marker", "uploads", "a b"]), st.text(TEXT, max_size=8)))
@settings(max_examples=60, deadline=None)
def test_what_botocore_signs_is_taken(key, query):
    """Any key and any query, quoted as boto3 quotes them."""
    from urllib.parse import quote, urlencode

    target = f"/photos/{quote(key, safe='/~')}"
    if query:
        target += "?" + urlencode(query, quote_via=quote)
    assert refusal("GET", target, signed_by_botocore("GET", target)) is None


def test_whatever_is_signed_cannot_differ():
    """Another method, path, query, header, secret, payload or signature, by one character, is refused by S3's code."""
    target = "/photos/k?uploadId=7"
    good = signed_by_botocore("PUT", target, b"data", **{"x-amz-meta-a": "b"})
    assert refusal("PUT", target, good) is None
    for method, path in (("GET", target), ("PUT", "/photos/l?uploadId=7"), ("PUT", "/photos/k?uploadId=8")):
        assert refusal(method, path, good) == "SignatureDoesNotMatch"
    for name in ("x-amz-meta-a", "x-amz-content-sha256", "host"):
        assert refusal("PUT", target, {**good, name: good[name] + "0"}) == "SignatureDoesNotMatch"
    last = good["authorization"][-1]
    off_by_one = good["authorization"][:-1] + ("0" if last != "0" else "1")
    assert refusal("PUT", target, {**good, "authorization": off_by_one}) == "SignatureDoesNotMatch"
    assert refusal("PUT", target, good, keys=Credentials("access", "other")) == "SignatureDoesNotMatch"
    assert refusal("PUT", target, good, keys=Credentials("other", "secret")) == "InvalidAccessKeyId"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"authorization": ""}, "AccessDenied"),
        ({"authorization": "AWS access:x"}, "InvalidRequest"),
        ({"authorization": "AWS4-HMAC-SHA256 rubbish"}, "AuthorizationHeaderMalformed"),
        ({"x-amz-date": ""}, "AccessDenied"),
        ({"x-amz-date": "yesterday"}, "AuthorizationHeaderMalformed"),
        ({"x-amz-date": "19990101T000000Z"}, "AuthorizationHeaderMalformed"),
        ({"x-amz-acl": "unsigned"}, "AccessDenied"),
    ],
)
def test_a_header_that_is_no_signature_says_why(change, code):
    """What cannot be a signature has a code of its own; so has a header that came along unsigned."""
    good = signed_by_botocore("GET", "/photos/k")
    assert refusal("GET", "/photos/k", {**good, **change}) == code


@pytest.mark.parametrize(("off_s", "code"), [(SKEW_S - 60, None), (SKEW_S + 60, "RequestTimeTooSkewed")])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_request_is_good_for_a_quarter_of_an_hour(off_s, code, sign):
    """A clock that is wrong by more, on either side, is told so."""
    good = signed_by_botocore("GET", "/photos/k")
    assert refusal("GET", "/photos/k", good, now_s=time.time() + sign * off_s) == code


@pytest.fixture
def node(lone_with):
    return lone_with({"content-checksum"}, access_key="access", secret_key="secret")


def client(node, secret="secret", **config):
    settings = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        s3={"addressing_style": "path"},
        signature_version="s3v4",
        **config,
    )
    return boto3.client(
        "s3",
        endpoint_url=node.url,
        aws_access_key_id="access",
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=settings,
    )


def test_boto3_with_the_right_secret_does_everything(node):
    """Put, list, copy, multipart, delete: every request of boto3 is signed and taken."""
    s3 = client(node)
    s3.create_bucket(Bucket="photos")
    s3.put_object(Bucket="photos", Key="a ü/~+*'()", Body=b"data", Metadata={"a": "b  c"})
    assert s3.list_objects_v2(Bucket="photos", Prefix="a ü/")["KeyCount"] == 1
    s3.copy_object(Bucket="photos", Key="copy", CopySource={"Bucket": "photos", "Key": "a ü/~+*'()"})
    upload = {
        "Bucket": "photos",
        "Key": "k",
        "UploadId": s3.create_multipart_upload(Bucket="photos", Key="k")["UploadId"],
    }
    part = s3.upload_part(**upload, PartNumber=1, Body=b"part")
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    s3.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": "copy"}]})
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"part"
    s3.close()


def test_whoever_has_another_secret_does_nothing(node):
    """A wrong secret and no signature at all: refused, nothing stored, nothing told."""
    s3, thief = client(node), client(node, "secreu")
    s3.create_bucket(Bucket="photos")
    for call in (lambda: thief.put_object(Bucket="photos", Key="k", Body=b"x"), thief.list_buckets):
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            call()
    answer = node.request("PUT", "/photos/k", body=b"x")
    assert (answer.status, b"AccessDenied" in answer.data) == (403, True)
    assert s3.list_objects_v2(Bucket="photos")["KeyCount"] == 0
    s3.close()
    thief.close()


def test_a_presigned_url_is_good_until_it_is_over(node):
    """A URL that boto3 made serves whoever has it, for its key, its method and its time, and nothing else."""
    s3 = client(node)
    s3.create_bucket(Bucket="photos")
    http = urllib3.PoolManager(retries=False)
    name = {"Bucket": "photos", "Key": "a ü"}
    put = s3.generate_presigned_url("put_object", name, ExpiresIn=60)
    assert http.request("PUT", put, body=b"data").status == 200
    get = s3.generate_presigned_url("get_object", {**name, "ResponseContentType": "text/x"}, ExpiresIn=60)
    answer = http.request("GET", get)
    assert (answer.data, answer.headers["content-type"]) == (b"data", "text/x")
    assert http.request("DELETE", get).status == 403
    assert b"SignatureDoesNotMatch" in http.request("GET", get.replace("text%2Fx", "text%2Fy")).data
    assert b"SignatureDoesNotMatch" in http.request("GET", get.replace("Expires=60", "Expires=600")).data
    assert b"AuthorizationQueryParametersError" in http.request("GET", get.replace("Expires=60", "Expires=0")).data
    node.control("POST", "/clock", {"offset_s": 61})
    assert b"expired" in http.request("GET", get).data
    node.control("POST", "/clock", {"offset_s": 3600})
    with pytest.raises(ClientError, match="403"):
        s3.head_bucket(Bucket="photos")
    http.clear()
    s3.close()


class Chain:
    """Signatures that are easy to foresee."""

    signature = "0" * 64

    def chunk(self, before, body):
        return f"{(int(before, 16) + len(body) + 1):064x}"

    def trailer(self, before, lines):
        return f"{(int(before, 16) + 100 * len(lines)):064x}"


def framed(chunks, trailers=b"\r\n"):
    return (
        b"".join(b"%x;chunk-signature=%064x\r\n%b" % (len(c), n, c + b"\r\n" if c else b"") for c, n in chunks)
        + trailers
    )


def test_each_chunk_is_signed_after_the_one_before():
    """Chunks in another order, one left out, one without a signature: refused as a signature that does not match."""
    one, two, end = (b"abc", 4), (b"de", 7), (b"", 8)
    assert decode(framed([one, two, end]), 5, Chain()) == (b"abcde", {})
    unsigned = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    for bad in (framed([two, one, end]), framed([one, end]), framed([(b"abd", 5), two, end]), unsigned):
        with pytest.raises(S3Error) as refused:
            decode(bad, 5 if bad != framed([one, end]) else 3, Chain())
        assert refused.value.code == "SignatureDoesNotMatch"
    assert decode(unsigned, 5) == (b"abcde", {})


def test_trailers_are_signed_as_well():
    """A trailer is covered by a signature of its own, which is no trailer itself."""
    end = [(b"abc", 4), (b"", 5)]
    line = b"x-amz-checksum-crc32:AAAAAA=="
    right = b"x-amz-trailer-signature:%064x" % (5 + 100 * (len(line) + 1))
    good = line + b"\r\n" + right + b"\r\n\r\n"
    assert decode(framed(end, good), 3, Chain()) == (b"abc", {"x-amz-checksum-crc32": "AAAAAA=="})
    for bad in (line + b"\r\n\r\n", good.replace(b"AAAAAA", b"AAAAAAA"), good.replace(right, right[:-1] + b"!")):
        with pytest.raises(S3Error) as refused:
            decode(framed(end, bad), 3, Chain())
        assert refused.value.code == "SignatureDoesNotMatch"
