"""Unmodified clients with their own defaults: upload, list, download, 20 MiB in parts, delete.

boto3 is always here; aws cli, s3cmd, rclone and the MinIO client are fetched by `make s3-clients`,
which says with STRAYBIT_S3_CLIENTS in which folder their programs are.
All of them sign, and the node verifies.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tempfile
from pathlib import Path

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from .conftest import run_lone

FOLDER = os.environ.get("STRAYBIT_S3_CLIENTS")
HERE = Path(__file__).parent / "clients"
there = pytest.mark.skipif(FOLDER is None, reason="say make s3-clients to fetch and run four more clients")

KEYS = {"access_key": "straybit-access", "secret_key": "straybit-secret"}
LARGE = bytes(range(256)) * (20 * 4096)


@pytest.fixture
def node():
    """A node with every defence that a lone one can have, which knows one access key.

    Its files are in memory where there is room for that: thousands of syncs of a busy disk are no client's fault.
    """
    memory = Path("/dev/shm")
    defences = {"content-checksum", "read-verify", "scrub", "replica-compare"}
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        with run_lone(Path(folder), defences=defences, **KEYS) as lone:
            yield lone


@pytest.fixture
def files(tmp_path):
    """A small file in a folder and a large one."""
    folder = tmp_path / "files"
    (folder / "in a folder").mkdir(parents=True)
    (folder / "in a folder" / "small ü").write_bytes(b"some bytes")
    (folder / "large").write_bytes(LARGE)
    return folder


class Program:
    """A client's program; each call ends well within `timeout_s` or is a failure, with what it said."""

    def __init__(self, folder, environment, *head, timeout_s=60):
        self._folder = folder
        self._timeout_s = timeout_s
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8", **environment}
        self._head = head

    def __call__(self, *arguments):
        done = subprocess.run(
            [*self._head, *map(str, arguments)],
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=self._timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def same(one, other):
    """Two folders hold the same files."""
    found = [
        {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (one, other)
    ]
    return found[0] == found[1]


def stored(node):
    """Keys and sizes, as the node itself has them."""
    return sorted((item["key"], item["size"]) for item in node.control("GET", "/objects").json())


SMALL_AND_LARGE = [("in a folder/small ü", 10), ("large", len(LARGE))]


def test_boto3(node):
    """Real defaults: retries, checksums and transfers as an application has them."""
    s3 = boto3.client(
        "s3",
        endpoint_url=node.url,
        aws_access_key_id=KEYS["access_key"],
        aws_secret_access_key=KEYS["secret_key"],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    s3.create_bucket(Bucket="bucket")
    s3.upload_fileobj(io.BytesIO(b"some bytes"), "bucket", "in a folder/small ü")
    s3.upload_fileobj(io.BytesIO(LARGE), "bucket", "large")
    assert stored(node) == SMALL_AND_LARGE
    assert [item["Key"] for item in s3.list_objects_v2(Bucket="bucket")["Contents"]] == ["in a folder/small ü", "large"]
    got = io.BytesIO()
    s3.download_fileobj("bucket", "large", got, Config=TransferConfig(multipart_threshold=4 * 2**20))
    assert got.getvalue() == LARGE
    s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key} for key, _ in SMALL_AND_LARGE]})
    s3.delete_bucket(Bucket="bucket")
    assert stored(node) == []
    s3.close()


@pytest.mark.fetched
@there
def test_aws_cli(node, files, tmp_path):
    """`aws s3` with cp, sync, ls, mv and rm, and `aws s3api`."""
    environment = {
        "AWS_ACCESS_KEY_ID": KEYS["access_key"],
        "AWS_SECRET_ACCESS_KEY": KEYS["secret_key"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": node.url,
    }
    aws = Program(tmp_path, environment, Path(FOLDER) / "aws")
    aws("s3", "mb", "s3://bucket")
    aws("s3", "cp", "--recursive", files, "s3://bucket/")
    assert stored(node) == SMALL_AND_LARGE
    assert "PRE in a folder/" in aws("s3", "ls", "s3://bucket/")
    aws("s3", "sync", "s3://bucket/", tmp_path / "back")
    assert same(files, tmp_path / "back")
    aws("s3", "mv", "s3://bucket/large", "s3://bucket/moved")
    assert ("moved", len(LARGE)) in stored(node)
    assert '"VersionId": "null"' in aws("s3api", "list-object-versions", "--bucket", "bucket")
    aws("s3", "rb", "--force", "s3://bucket")
    assert stored(node) == []


@pytest.mark.fetched
@there
def test_s3cmd(node, files, tmp_path):
    """s3cmd lists as clients did before 2016, and sends MD5s."""
    config = tmp_path / "s3cmd"
    place = f"127.0.0.1:{node.port}"
    lines = [f"{name} = {value}" for name, value in KEYS.items()]
    lines += [f"host_base = {place}", f"host_bucket = {place}", "use_https = False", "multipart_chunk_size_mb = 5"]
    config.write_text("[default]\n" + "\n".join(lines))
    s3cmd = Program(tmp_path, {}, Path(FOLDER) / "s3cmd", "-c", config)
    s3cmd("mb", "s3://bucket")
    s3cmd("sync", f"{files}/", "s3://bucket/")
    assert stored(node) == SMALL_AND_LARGE
    assert "in a folder/small ü" in s3cmd("ls", "--recursive", "s3://bucket")
    (tmp_path / "back").mkdir()
    s3cmd("sync", "s3://bucket/", f"{tmp_path}/back/")
    assert same(files, tmp_path / "back")
    s3cmd("cp", "s3://bucket/large", "s3://bucket/copy")
    s3cmd("del", "--recursive", "--force", "s3://bucket")
    s3cmd("rb", "s3://bucket")
    assert stored(node) == []


@pytest.mark.fetched
@there
def test_rclone(node, files, tmp_path):
    """rclone copies, compares by hash, moves and removes; a Go program with the SDK of another language."""
    environment = {
        "RCLONE_CONFIG_NODE_TYPE": "s3",
        "RCLONE_CONFIG_NODE_PROVIDER": "Other",
        "RCLONE_CONFIG_NODE_ENDPOINT": node.url,
        "RCLONE_CONFIG_NODE_ACCESS_KEY_ID": KEYS["access_key"],
        "RCLONE_CONFIG_NODE_SECRET_ACCESS_KEY": KEYS["secret_key"],
        "RCLONE_S3_UPLOAD_CUTOFF": "5M",
    }
    rclone = Program(tmp_path, environment, Path(FOLDER) / "rclone", "--config", "/dev/null")
    rclone("mkdir", "node:bucket")
    rclone("copy", files, "node:bucket")
    assert stored(node) == SMALL_AND_LARGE
    rclone("check", "--download", files, "node:bucket")
    rclone("copy", "node:bucket", tmp_path / "back")
    assert same(files, tmp_path / "back")
    rclone("moveto", "node:bucket/large", "node:bucket/moved")
    assert ("moved", len(LARGE)) in stored(node)
    rclone("purge", "node:bucket")
    assert stored(node) == []


@pytest.mark.fetched
@there
def test_the_minio_client(node, tmp_path):
    """MinIO's own client for Python, in a program of its own."""
    python = Program(tmp_path, {}, Path(FOLDER) / "python", HERE / "with_minio.py")
    assert python(f"127.0.0.1:{node.port}", *KEYS.values()) == "ok\n"


@pytest.mark.fetched
@there
def test_the_functional_tests_of_another_client(node, tmp_path):
    """Tests that others wrote for S3: what MinIO's client for Go expects of ETags, checksums, ranges and lists."""
    environment = {
        "SERVER_ENDPOINT": f"127.0.0.1:{node.port}",
        "ACCESS_KEY": KEYS["access_key"],
        "SECRET_KEY": KEYS["secret_key"],
        "ENABLE_HTTPS": "0",
        "MINT_MODE": "full",
        "RUN_ON_FAIL": "1",
        "MINT_DATA_DIR": "",
    }
    said = Program(tmp_path, environment, Path(FOLDER) / "functional", timeout_s=240)()
    results = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    failed = [result for result in results if result.get("status") == "FAIL"]
    assert not failed, "\n".join(map(str, failed))
    passed = {result["name"] for result in results if result.get("status") == "PASS"}
    assert len(passed) >= 18, sorted(passed)
