"""An unmodified boto3 against one storage node."""

import hashlib
import io

import pytest
from botocore.exceptions import ClientError, FlexibleChecksumError

KEYS = [
    "plain",
    "with space",
    "ünïcode/ключ/鍵",
    "a%2Fb",
    "..",
    "../../etc/passwd",
    "a//b///c",
    "/lead",
    "a/",
    "x" * 1024,
]


@pytest.fixture
def s3(lone):
    client = lone.s3()
    client.create_bucket(Bucket="photos")
    yield client
    client.close()


def code_of(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]["Code"]


@pytest.mark.parametrize("key", KEYS)
def test_any_key_comes_back_as_it_was_put(s3, key):
    """A key is stored under its own name, whatever a file system would make of it."""
    body = f"body of {key}".encode()
    put = s3.put_object(Bucket="photos", Key=key, Body=body, Metadata={"colour": "red"}, ContentType="text/plain")
    got = s3.get_object(Bucket="photos", Key=key)
    assert got["Body"].read() == body
    assert got["ETag"] == put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert got["Metadata"] == {"colour": "red"}
    assert got["ContentType"] == "text/plain"
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="photos")["Contents"]] == [key]
    s3.delete_object(Bucket="photos", Key=key)
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="photos", Key=key)


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_the_checksum_a_client_sent_is_given_back(s3, algorithm):
    """PUT, GET and HEAD answer with the stored checksum, and boto3 verifies with it."""
    name = f"Checksum{algorithm}"
    put = s3.put_object(Bucket="photos", Key="k", Body=b"data", ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket="photos", Key="k", ChecksumMode="ENABLED")
    head = s3.head_object(Bucket="photos", Key="k", ChecksumMode="ENABLED")
    assert put[name] == got[name] == head[name]
    assert got["Body"].read() == b"data"
    assert head["ContentLength"] == 4
    assert head["ChecksumType"] == "FULL_OBJECT"
    part = s3.get_object(Bucket="photos", Key="k", Range="bytes=0-1", ChecksumMode="ENABLED")
    assert (part["Body"].read(), name in part) == (b"da", False)


def test_ranges_are_served(s3):
    """A GET of one range is answered with it alone."""
    s3.put_object(Bucket="photos", Key="k", Body=b"0123456789")
    got = s3.get_object(Bucket="photos", Key="k", Range="bytes=2-4")
    assert (got["Body"].read(), got["ContentRange"]) == (b"234", "bytes 2-4/10")
    assert s3.get_object(Bucket="photos", Key="k", Range="bytes=-2")["Body"].read() == b"89"
    assert code_of(s3.get_object, Bucket="photos", Key="k", Range="bytes=10-") == "InvalidRange"


def test_pages_and_prefixes_as_a_paginator_reads_them(s3):
    """A listing in small pages has every key once, and folders as common prefixes."""
    keys = [f"ü {folder}/{n}" for folder in "ab" for n in range(5)] + ["top"]
    for key in keys:
        s3.put_object(Bucket="photos", Key=key, Body=b"")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="photos", PaginationConfig={"PageSize": 2})
    assert [item["Key"] for page in pages for item in page["Contents"]] == sorted(keys)
    rolled = s3.list_objects_v2(Bucket="photos", Delimiter="/")
    assert [item["Prefix"] for item in rolled["CommonPrefixes"]] == ["ü a/", "ü b/"]
    assert [item["Key"] for item in rolled["Contents"]] == ["top"]
    assert rolled["KeyCount"] == 3


def test_buckets_are_made_listed_and_removed(s3):
    """A bucket exists from its creation to its deletion, which wants it empty."""
    s3.create_bucket(Bucket="second")
    s3.head_bucket(Bucket="second")
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["photos", "second"]
    s3.put_object(Bucket="second", Key="k", Body=b"x")
    assert code_of(s3.delete_bucket, Bucket="second") == "BucketNotEmpty"
    s3.delete_object(Bucket="second", Key="k")
    s3.delete_bucket(Bucket="second")
    assert code_of(s3.head_bucket, Bucket="second") == "404"
    assert code_of(s3.put_object, Bucket="second", Key="k", Body=b"x") == "NoSuchBucket"
    assert code_of(s3.get_object, Bucket="second", Key="k") == "NoSuchBucket"
    assert code_of(s3.list_objects_v2, Bucket="second") == "NoSuchBucket"


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_a_body_of_any_size_comes_back(s3, size):
    """Empty and large bodies are bodies too."""
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    s3.put_object(Bucket="photos", Key="k", Body=io.BytesIO(body))
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == body


def test_what_is_not_offered_is_not_done(s3):
    """Encryption, tags and access lists are refused by name, and leave nothing behind."""
    refused = [{"ServerSideEncryption": "AES256"}, {"Tagging": "a=b"}, {"WebsiteRedirectLocation": "/x"}]
    for unknown in refused:
        assert code_of(s3.put_object, Bucket="photos", Key="k", Body=b"x", **unknown) == "NotImplemented"
    assert code_of(s3.get_bucket_acl, Bucket="photos") == "NotImplemented"
    assert s3.list_objects_v2(Bucket="photos")["KeyCount"] == 0


def test_a_crc64nvme_is_verified_stored_and_given_back(s3):
    """The checksum that newer clients prefer counts as any other; botocore sends it when it is told the value."""
    right, wrong = "rosUhgp5mIg=", "rosUhgp5mIk="  # of 123456789, the catalogue's check value
    put = s3.put_object(Bucket="photos", Key="k", Body=b"123456789", ChecksumCRC64NVME=right)
    assert put["ChecksumCRC64NVME"] == right
    assert code_of(s3.put_object, Bucket="photos", Key="k", Body=b"x", ChecksumCRC64NVME=wrong) == "BadDigest"
    assert s3.head_object(Bucket="photos", Key="k", ChecksumMode="ENABLED")["ChecksumCRC64NVME"] == right


def test_damage_behind_the_node_is_found_by_the_client(bare):
    """With every defence off a rotten byte is served; a system of early 2008 keeps no checksum to notice it by."""
    s3 = bare.s3()
    s3.create_bucket(Bucket="photos")
    s3.put_object(Bucket="photos", Key="k", Body=b"data")
    bare.control("POST", "/rot", {"bucket": "photos", "key": "k", "offset": 0, "bit": 0})
    got = s3.get_object(Bucket="photos", Key="k")
    assert got["Body"].read() == b"eata"
    assert not [name for name in got if name.startswith("Checksum")]
    s3.close()


def test_rot_with_checksums_but_unverified_reads_is_found_by_boto3(lone_with):
    """Where only what comes in is checked, the client's own checksum still finds what rotted."""
    lone = lone_with({"content-checksum"})
    s3 = lone.s3()
    s3.create_bucket(Bucket="photos")
    s3.put_object(Bucket="photos", Key="k", Body=b"data")
    lone.control("POST", "/rot", {"bucket": "photos", "key": "k", "offset": 0, "bit": 0})
    with pytest.raises(FlexibleChecksumError):
        s3.get_object(Bucket="photos", Key="k")["Body"].read()
    s3.close()
