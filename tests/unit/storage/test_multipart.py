"""Uploads in parts, with an unmodified boto3."""

import base64
import hashlib
import io
import zlib

import pytest
from botocore.exceptions import ClientError

from straybit_nodes.storage.multipart import MIN_PART

FIRST, LAST = b"a" * MIN_PART, b"the rest"


def code_of(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]["Code"]


def md5(body):
    return hashlib.md5(body).hexdigest()


class Upload:
    """One upload under way."""

    def __init__(self, s3, key="k", **arguments):
        self.s3 = s3
        self.name = {"Bucket": "photos", "Key": key}
        self.begun = s3.create_multipart_upload(**self.name, **arguments)
        self.name["UploadId"] = self.begun["UploadId"]
        self.parts = []

    def put(self, number, body, **arguments):
        answer = self.s3.upload_part(**self.name, PartNumber=number, Body=body, **arguments)
        sums = {name: value for name, value in answer.items() if name.startswith("Checksum")}
        self.parts.append({"PartNumber": number, "ETag": answer["ETag"], **sums})
        return answer

    def complete(self, parts=None, **arguments):
        wanted = {"Parts": self.parts if parts is None else parts}
        return self.s3.complete_multipart_upload(**self.name, MultipartUpload=wanted, **arguments)


@pytest.fixture
def s3(lone):
    client = lone.s3()
    client.create_bucket(Bucket="photos")
    yield client
    client.close()


def objects(s3):
    return [item["Key"] for item in s3.list_objects_v2(Bucket="photos").get("Contents", [])]


def test_what_boto3_uploads_in_parts_comes_back(s3):
    """20 MiB by `upload_fileobj` with its defaults: parts in parallel, the joint ETag, and the composite checksum."""
    body = bytes(range(256)) * (20 * 4096)
    s3.upload_fileobj(io.BytesIO(body), "photos", "k", ExtraArgs={"Metadata": {"colour": "red"}})
    got = s3.get_object(Bucket="photos", Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == body
    cut = [body[at : at + 8 * 2**20] for at in range(0, len(body), 8 * 2**20)]
    joint = md5(b"".join(hashlib.md5(part).digest() for part in cut))
    assert got["ETag"] == f'"{joint}-3"'
    assert got["Metadata"] == {"colour": "red"}
    crcs = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in cut)
    assert got["ChecksumCRC32"] == base64.b64encode(zlib.crc32(crcs).to_bytes(4, "big")).decode() + "-3"
    assert got["ChecksumType"] == "COMPOSITE"
    assert s3.list_multipart_uploads(Bucket="photos").get("Uploads", []) == []


def test_an_upload_is_invisible_until_it_is_complete(s3, lone):
    """Parts are listed as parts, never as objects; what is there before stays; afterwards no part is left on disk."""
    s3.put_object(Bucket="photos", Key="k", Body=b"before")
    upload = Upload(s3)
    upload.put(2, LAST)
    upload.put(1, b"first try")
    upload.put(1, FIRST)
    listed = s3.list_parts(**upload.name)
    assert [(part["PartNumber"], part["Size"], part["ETag"]) for part in listed["Parts"]] == [
        (1, len(FIRST), f'"{md5(FIRST)}"'),
        (2, len(LAST), f'"{md5(LAST)}"'),
    ]
    page = s3.list_parts(**upload.name, MaxParts=1)
    assert (page["IsTruncated"], page["NextPartNumberMarker"]) == (True, 1)
    assert [p["PartNumber"] for p in s3.list_parts(**upload.name, PartNumberMarker=1)["Parts"]] == [2]
    assert objects(s3) == ["k"]
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"before"
    upload.complete([upload.parts[2], upload.parts[0]])
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == FIRST + LAST
    kept = [record["key"] for record in lone.control("GET", "/objects").json()]
    assert kept == ["k"]


def test_uploads_under_way_are_listed_until_they_are_aborted(s3):
    """By key, in pages, and gone when aborted; of an upload that is gone nothing can be asked."""
    uploads = [Upload(s3, key) for key in ("b", "a!", "a")]
    uploads[0].put(1, b"part")
    listed = s3.list_multipart_uploads(Bucket="photos")["Uploads"]
    assert [item["Key"] for item in listed] == ["a", "a!", "b"]
    page = s3.list_multipart_uploads(Bucket="photos", MaxUploads=1)
    assert (page["IsTruncated"], page["NextKeyMarker"]) == (True, "a")
    rest = s3.list_multipart_uploads(Bucket="photos", KeyMarker="a", UploadIdMarker=page["NextUploadIdMarker"])
    assert [item["Key"] for item in rest["Uploads"]] == ["a!", "b"]
    assert [u["Key"] for u in s3.list_multipart_uploads(Bucket="photos", Prefix="b")["Uploads"]] == ["b"]
    for upload in uploads:
        s3.abort_multipart_upload(**upload.name)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="photos")
    gone = uploads[0]
    assert code_of(s3.upload_part, **gone.name, PartNumber=1, Body=b"x") == "NoSuchUpload"
    assert code_of(s3.list_parts, **gone.name) == "NoSuchUpload"
    assert code_of(s3.abort_multipart_upload, **gone.name) == "NoSuchUpload"
    assert code_of(gone.complete) == "NoSuchUpload"


def test_a_completion_names_what_was_uploaded_or_is_refused(s3):
    """A part that is not there, another ETag, a wrong order, a part too small: S3's own codes, and no object."""
    upload = Upload(s3)
    upload.put(1, b"small")
    upload.put(2, LAST)
    first, last = upload.parts
    assert code_of(upload.complete, parts=[{**first, "ETag": '"' + "0" * 32 + '"'}]) == "InvalidPart"
    assert code_of(upload.complete, parts=[first, {**last, "PartNumber": 3}]) == "InvalidPart"
    assert code_of(upload.complete, parts=[{**first, "ChecksumCRC32": "AAAAAA=="}]) == "InvalidPart"
    assert code_of(upload.complete, parts=[last, first]) == "InvalidPartOrder"
    assert code_of(upload.complete, parts=[first, last]) == "EntityTooSmall"
    assert code_of(upload.complete, parts=[first], MpuObjectSize=4) == "InvalidRequest"
    assert code_of(upload.complete, parts=[]) == "MalformedXML"
    assert objects(s3) == []
    upload.complete([first])
    assert objects(s3) == ["k"]


def test_a_completion_asked_for_twice_is_answered_twice(s3):
    """A client whose first answer was lost is told the same again."""
    upload = Upload(s3)
    upload.put(1, b"data")
    assert upload.complete()["ETag"] == upload.complete()["ETag"]


def test_a_damaged_part_is_refused(s3):
    """A part is held against its digest before it can be part of anything."""
    upload = Upload(s3)
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    assert code_of(s3.upload_part, **upload.name, PartNumber=1, Body=b"data", ContentMD5=wrong) == "BadDigest"
    assert "Parts" not in s3.list_parts(**upload.name)


@pytest.mark.parametrize("number", [0, 10_001])
def test_a_part_too_many_is_refused(s3, number):
    """Parts have numbers from 1 to 10,000."""
    upload = Upload(s3)
    assert code_of(s3.upload_part, **upload.name, PartNumber=number, Body=b"x") == "InvalidArgument"


@pytest.mark.parametrize(
    ("algorithm", "kind", "allowed"),
    [("CRC64NVME", "COMPOSITE", False), ("SHA256", "FULL_OBJECT", False), ("CRC32", "FULL_OBJECT", True)],
)
def test_checksums_are_joined_as_their_kind_allows(s3, algorithm, kind, allowed):
    """A CRC of the whole object can be made of parts, a hash cannot."""
    asked = {"Bucket": "photos", "Key": "k", "ChecksumAlgorithm": algorithm, "ChecksumType": kind}
    if not allowed:
        assert code_of(s3.create_multipart_upload, **asked) == "InvalidRequest"
        return
    upload = Upload(s3, ChecksumAlgorithm=algorithm, ChecksumType=kind)
    upload.put(1, FIRST, ChecksumAlgorithm=algorithm)
    upload.put(2, LAST, ChecksumAlgorithm=algorithm)
    whole = base64.b64encode(zlib.crc32(FIRST + LAST).to_bytes(4, "big")).decode()
    assert code_of(upload.complete, ChecksumCRC32="AAAAAA==", ChecksumType=kind) == "BadDigest"
    done = upload.complete(ChecksumCRC32=whole, ChecksumType=kind)
    assert (done["ChecksumCRC32"], done["ChecksumType"]) == (whole, kind)
    head = s3.head_object(Bucket="photos", Key="k", ChecksumMode="ENABLED")
    assert (head["ChecksumCRC32"], head["ChecksumType"]) == (whole, kind)


def test_parts_are_copied_from_objects(s3):
    """UploadPartCopy takes a whole object or a range of it."""
    s3.put_object(Bucket="photos", Key="source", Body=FIRST + LAST)
    upload = Upload(s3)
    source = {"Bucket": "photos", "Key": "source"}
    for number, span in ((1, f"bytes=0-{MIN_PART - 1}"), (2, "bytes=2-4")):
        answer = s3.upload_part_copy(**upload.name, PartNumber=number, CopySource=source, CopySourceRange=span)
        upload.parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
    upload.complete()
    assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == FIRST + b"aaa"
    for bad in ("bytes=1-", "bytes=0-99999999", "rubbish"):
        code = code_of(s3.upload_part_copy, **upload.name, PartNumber=1, CopySource=source, CopySourceRange=bad)
        assert code == "NoSuchUpload"
    again = Upload(s3)
    for bad in ("bytes=1-", "bytes=0-99999999", "rubbish"):
        code = code_of(s3.upload_part_copy, **again.name, PartNumber=1, CopySource=source, CopySourceRange=bad)
        assert code == "InvalidArgument"


@pytest.mark.parametrize("upload", ["", "x", "../../../../etc/passwd", "0" * 31, "0" * 33, "é" * 32])
def test_what_is_no_upload_names_nothing(s3, upload):
    """An upload's id is never a place on disk."""
    with pytest.raises(ClientError) as refused:
        s3.list_parts(Bucket="photos", Key="k", UploadId=upload or "-")
    assert refused.value.response["Error"]["Code"] == "NoSuchUpload"


def test_without_content_checksum_no_checksum_is_kept(bare):
    """A system of early 2008 joins parts by ETag alone."""
    s3 = bare.s3()
    s3.create_bucket(Bucket="photos")
    upload = Upload(s3, ChecksumAlgorithm="CRC32")
    upload.put(1, b"data")
    assert "ChecksumCRC32" not in upload.complete(upload.parts)
    s3.close()
