"""What a balancer's log and counts say of one request."""

import pytest

from straybit_nodes.balancer.account import Account
from straybit_nodes.storage.errors import S3Error, error_xml

SHA256 = "x-amz-content-sha256"


def refused(code):
    """The status and body of an S3 error."""
    error = S3Error(code, "no")
    return error.status, error_xml(error, "/b/k", "1")


@pytest.mark.parametrize(
    ("headers", "body", "answer", "checksum", "rejected"),
    [
        ({"content-md5": "x"}, b"body", refused("BadDigest"), "content-md5", True),
        ({"content-md5": "x"}, b"body", refused("InvalidRequest"), "content-md5", False),
        ({"content-md5": "x"}, b"body", (200, b""), "content-md5", False),
        ({"content-md5": "x"}, b"", refused("BadDigest"), "", False),
        ({}, b"body", refused("BadDigest"), "", False),
        (
            {"x-amz-content-sha256": "0" * 64},
            b"body",
            refused("XAmzContentSHA256Mismatch"),
            "x-amz-content-sha256",
            True,
        ),
        ({"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, b"body", (503, b""), "", False),
    ],
)
def test_a_digest_that_was_refused_counts(headers, body, answer, checksum, rejected):
    """Only a body with a digest whose request got a 400 with an integrity code is one that was rejected."""
    account = Account()
    account.came(headers, body)
    account.answered(*answer)
    assert (account.checksum, account.rejected) == (checksum, rejected)


def test_the_line_says_who_answered_and_how_often_was_tried():
    """Every field of the log's line, with the time in microseconds."""
    account = Account(coordinator="storage-2", tries=2)
    account.answered(*refused("NoSuchKey"))
    assert account.line("GET", "/b/k", 0.12345678) == {
        "method": "GET",
        "target": "/b/k",
        "status": 404,
        "coordinator": "storage-2",
        "tries": 2,
        "checksum": "",
        "code": "NoSuchKey",
        "seconds": 0.123457,
    }
