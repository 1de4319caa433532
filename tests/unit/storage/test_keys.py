"""Every key that S3 allows, and nothing but keys."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import run_lone

BUCKETS = (f"keys-{number}" for number in itertools.count())
ANY = st.characters(exclude_categories=("Cs",))
"""Every character there is, control characters among them."""


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with run_lone(tmp_path_factory.mktemp("keys")) as lone:
        client = lone.s3()
        yield client
        client.close()


@given(st.sets(st.text(ANY, min_size=1, max_size=12), min_size=1, max_size=4))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_keys_are_put_listed_read_and_deleted_by_their_own_names(s3, keys):
    """Whatever characters a key has: it comes back under its name, in order of its bytes, and goes by it."""
    keys = {key for key in keys if key not in {".", ".."} and not key.startswith(("./", "../", "/"))}
    bucket = next(BUCKETS)
    s3.create_bucket(Bucket=bucket)
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    listed = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    assert listed == sorted(keys, key=lambda key: key.encode())
    for key in keys:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    if keys:
        pages = s3.get_paginator("list_objects").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1})
        assert [item["Key"] for page in pages for item in page["Contents"]] == listed
    for key in keys:
        s3.delete_object(Bucket=bucket, Key=key)
    s3.delete_bucket(Bucket=bucket)
