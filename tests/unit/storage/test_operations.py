"""Copies, deletions of many, older lists, versions and conditions, with an unmodified boto3."""

import datetime

import pytest
from botocore.exceptions import ClientError


def code_of(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]["Code"]


@pytest.fixture
def s3(lone):
    client = lone.s3()
    client.create_bucket(Bucket="photos")
    yield client
    client.close()


def put(s3, *keys, body=b"data"):
    for key in keys:
        s3.put_object(Bucket="photos", Key=key, Body=body)


def read(s3, key):
    return s3.get_object(Bucket="photos", Key=key)["Body"].read()


def test_a_copy_has_data_metadata_and_checksum_of_its_source(s3):
    """A copy keeps metadata unless it is told to replace it."""
    s3.put_object(Bucket="photos", Key="a ü/1", Body=b"data", Metadata={"a": "b"}, ContentType="text/plain")
    source = {"Bucket": "photos", "Key": "a ü/1"}
    result = s3.copy_object(Bucket="photos", Key="copy", CopySource=source)["CopyObjectResult"]
    got = s3.get_object(Bucket="photos", Key="copy", ChecksumMode="ENABLED")
    assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (b"data", {"a": "b"}, "text/plain")
    assert result["ChecksumCRC32"] == got["ChecksumCRC32"]
    assert result["ETag"] == got["ETag"]
    changed = {"MetadataDirective": "REPLACE", "Metadata": {"c": "d"}, "ChecksumAlgorithm": "SHA256"}
    s3.copy_object(Bucket="photos", Key="a ü/1", CopySource=source, **changed)
    got = s3.get_object(Bucket="photos", Key="a ü/1", ChecksumMode="ENABLED")
    assert (got["Body"].read(), got["Metadata"], "ChecksumSHA256" in got) == (b"data", {"c": "d"}, True)


def test_a_copy_that_cannot_be_is_refused(s3):
    """No source, a source that fails its condition, a copy to itself that changes nothing: S3's own codes."""
    put(s3, "k")
    source = {"Bucket": "photos", "Key": "k"}
    assert code_of(s3.copy_object, Bucket="photos", Key="k", CopySource=source) == "InvalidRequest"
    assert code_of(s3.copy_object, Bucket="photos", Key="c", CopySource="photos/none") == "NoSuchKey"
    assert code_of(s3.copy_object, Bucket="photos", Key="c", CopySource="nowhere/k") == "NoSuchBucket"
    assert code_of(s3.copy_object, Bucket="photos", Key="c", CopySource="photos") == "InvalidArgument"
    assert code_of(s3.copy_object, Bucket="photos", Key="c", CopySource="photos/k?versionId=3") == "NoSuchVersion"
    refused = code_of(s3.copy_object, Bucket="photos", Key="c", CopySource=source, CopySourceIfMatch="other")
    assert refused == "PreconditionFailed"
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="photos")["Contents"]] == ["k"]


def test_many_are_deleted_at_once(s3):
    """Each key for itself: what was not there is gone as well, another version is an error of its own."""
    keys = [f"k {n}/<&>" for n in range(30)]
    put(s3, *keys, "stays")
    named = [{"Key": key} for key in [*keys, "never was"]] + [{"Key": "stays", "VersionId": "7"}]
    answer = s3.delete_objects(Bucket="photos", Delete={"Objects": named})
    assert [item["Key"] for item in answer["Deleted"]] == [*keys, "never was"]
    assert [(item["Key"], item["Code"]) for item in answer["Errors"]] == [("stays", "NoSuchVersion")]
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="photos")["Contents"]] == ["stays"]
    quiet = s3.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": "stays"}], "Quiet": True})
    assert "Deleted" not in quiet
    assert code_of(s3.get_object, Bucket="photos", Key="stays") == "NoSuchKey"


def test_older_clients_list_with_markers(s3):
    """ListObjects goes on behind a key or a common prefix until everything was named once."""
    put(s3, "a/1", "a/2", "b", "c/1", "d")
    found, marker = [], ""
    while True:
        page = s3.list_objects(Bucket="photos", Delimiter="/", MaxKeys=1, Marker=marker)
        found += [item["Key"] for item in page.get("Contents", [])]
        found += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
        if not page["IsTruncated"]:
            break
        marker = page["NextMarker"]
    assert found == ["a/", "b", "c/", "d"]
    assert [item["Key"] for item in s3.list_objects(Bucket="photos", Prefix="a/")["Contents"]] == ["a/1", "a/2"]


def test_every_object_is_its_one_version(s3):
    """A bucket without versions lists what is there under the version `null`, and gives it by that name."""
    put(s3, "a", "b/1", "b/2")
    s3.delete_object(Bucket="photos", Key="a")
    pages = list(s3.get_paginator("list_object_versions").paginate(Bucket="photos", PaginationConfig={"PageSize": 1}))
    versions = [item for page in pages for item in page.get("Versions", [])]
    assert [(v["Key"], v["VersionId"], v["IsLatest"]) for v in versions] == [
        ("b/1", "null", True),
        ("b/2", "null", True),
    ]
    assert "Status" not in s3.get_bucket_versioning(Bucket="photos")
    assert s3.get_object(Bucket="photos", Key="b/1", VersionId="null")["Body"].read() == b"data"
    assert code_of(s3.get_object, Bucket="photos", Key="b/1", VersionId="3") == "NoSuchVersion"
    s3.delete_object(Bucket="photos", Key="b/1", VersionId="null")
    assert code_of(s3.get_object, Bucket="photos", Key="b/1") == "NoSuchKey"


def test_a_read_has_conditions(s3):
    """If-Match and If-Unmodified-Since refuse, If-None-Match and If-Modified-Since say that nothing is new."""
    put(s3, "k")
    head = s3.head_object(Bucket="photos", Key="k")
    etag, made = head["ETag"], head["LastModified"]
    before, after = made - datetime.timedelta(hours=1), made + datetime.timedelta(hours=1)

    def outcome(**conditions):
        codes = []
        for call in (s3.get_object, s3.head_object):
            try:
                answer = call(Bucket="photos", Key="k", **conditions)
                codes.append(200)
                assert "Body" not in answer or answer["Body"].read() == b"data"
            except ClientError as error:
                codes.append(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return codes

    assert outcome(IfMatch=etag) == outcome(IfNoneMatch='"other"') == [200, 200]
    assert outcome(IfMatch='"other"') == outcome(IfUnmodifiedSince=before) == [412, 412]
    assert outcome(IfNoneMatch=etag) == outcome(IfNoneMatch="*") == outcome(IfModifiedSince=after) == [304, 304]
    assert outcome(IfUnmodifiedSince=after) == outcome(IfModifiedSince=before) == [200, 200]
    assert outcome(IfMatch=etag, IfUnmodifiedSince=before) == [200, 200]
    assert outcome(IfNoneMatch='"other"', IfModifiedSince=after) == [200, 200]


def test_a_write_has_conditions(s3):
    """A write may want the key to be absent, or to be what its client knows."""
    first = s3.put_object(Bucket="photos", Key="k", Body=b"1", IfNoneMatch="*")
    assert code_of(s3.put_object, Bucket="photos", Key="k", Body=b"2", IfNoneMatch="*") == "PreconditionFailed"
    assert code_of(s3.put_object, Bucket="photos", Key="k", Body=b"2", IfMatch='"other"') == "PreconditionFailed"
    assert code_of(s3.put_object, Bucket="photos", Key="none", Body=b"2", IfMatch='"other"') == "NoSuchKey"
    assert read(s3, "k") == b"1"
    s3.put_object(Bucket="photos", Key="k", Body=b"2", IfMatch=first["ETag"])
    assert read(s3, "k") == b"2"


def test_a_head_of_a_range_and_overridden_headers(s3):
    """A HEAD counts a range as a GET does, and a query may say what a reply's headers are."""
    put(s3, "k", body=b"0123456789")
    head = s3.head_object(Bucket="photos", Key="k", Range="bytes=2-4")
    assert (head["ContentLength"], head["ContentRange"]) == (3, "bytes 2-4/10")
    got = s3.get_object(Bucket="photos", Key="k", ResponseContentType="text/x", ResponseContentDisposition="inline")
    assert (got["ContentType"], got["ContentDisposition"]) == ("text/x", "inline")
    assert got["Body"].read() == b"0123456789"
    assert code_of(s3.get_object, Bucket="photos", Key="k", ResponseContentType="a\nb") == "InvalidArgument"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<Delete>",
        b"<Other/>",
        b"<Delete></Delete>",
        b"<Delete><Object><Key></Key></Object></Delete>",
        b"<Delete><Object><Key>k</Key><Key>l</Key></Object></Delete>",
        b'<!DOCTYPE x [<!ENTITY a "k">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        "<Delete><Object><Key>k</Key></Object></Delete>".encode("utf-16"),
        b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>",
        b"\xff\xfe",
    ],
)
def test_a_deletion_that_cannot_be_read_deletes_nothing(lone, s3, body):
    """XML that is none, says something else, names too much or brings entities along is MalformedXML."""
    put(s3, "k")
    answer = lone.request("POST", "/photos?delete", body=body)
    assert (answer.status, b"MalformedXML" in answer.data) == (400, True)
    assert read(s3, "k") == b"data"


@pytest.mark.parametrize(
    "body",
    [
        b"<CompleteMultipartUpload/>",
        b"<CompleteMultipartUpload><Part><ETag>x</ETag></Part></CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
        b"<CompleteMultipartUpload><Part><PartNumber>99999999999</PartNumber><ETag>x</ETag></Part>"
        b"</CompleteMultipartUpload>",
    ],
)
def test_a_completion_that_cannot_be_read_is_refused(lone, s3, body):
    """A completion names parts by number and ETag."""
    upload = s3.create_multipart_upload(Bucket="photos", Key="k")["UploadId"]
    answer = lone.request("POST", f"/photos/k?uploadId={upload}", body=body)
    assert (answer.status, b"MalformedXML" in answer.data) == (400, True)


def test_a_bucket_is_made_wherever_it_is_asked_for(lone, s3):
    """Any region will do; to make it again is an error where S3 has it so; rubbish is refused."""
    elsewhere = {"LocationConstraint": "eu-west-1"}
    s3.create_bucket(Bucket="second", CreateBucketConfiguration=elsewhere)
    s3.create_bucket(Bucket="second")
    code = code_of(s3.create_bucket, Bucket="second", CreateBucketConfiguration=elsewhere)
    assert code == "BucketAlreadyOwnedByYou"
    answer = lone.request("PUT", "/third", body=b"<rubbish")
    assert (answer.status, b"MalformedXML" in answer.data) == (400, True)
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["photos", "second"]
