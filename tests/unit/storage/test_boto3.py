"""An unmodified boto3 against one storage node."""

import hashlib

import pytest

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


@pytest.mark.parametrize("key", KEYS)
def test_any_key_comes_back_as_it_was_put(s3, key, tmp_path):
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
    assert not list(tmp_path.parent.rglob("passwd"))
