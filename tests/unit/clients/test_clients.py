"""Each mode of client on the wire, and what a client makes of every kind of reply."""

import base64
import hashlib
import threading
import zlib
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.parsers import ResponseParserError, RestXMLParser

from straybit.clients import MODES, PARSE, S3
from straybit.outcome import by_luck

BODY = b"four score and seven"
CRC32 = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
SHA256 = hashlib.sha256(BODY)
ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>no</Message></Error>"
COVERS = {"content-md5", "x-amz-checksum-crc32", "x-amz-checksum-sha256"}
"""Headers that carry a digest of the body; `x-amz-content-sha256` may, or says that it does not."""


class Server(ThreadingHTTPServer):
    """Answers every request with `status`, `headers` and `body`, and keeps what was sent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.headers, self.body = 200, {}, b""
        self.sent = []

    def reply(self, status=200, body=b"", **headers):
        """What is answered from now on; `_` in a header's name stands for `-`."""
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do(self):
        """Any method: keep it, and answer as the server was told."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sent = {name.lower(): value for name, value in self.headers.items()}
        self.server.sent.append((self.command, self.path, sent, body))
        self.send_response(self.server.status)
        for name, value in ({"Content-Length": str(len(self.server.body))} | self.server.headers).items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        self.wfile.write(self.server.body)

    do_PUT = do_GET = do  # noqa: N815 - names that http.server calls

    def log_message(self, *_):
        """Nothing on standard error."""


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(server):
    """Makes a client in a mode."""
    with_mode = {}

    def make(mode="today-default"):
        s3 = with_mode[mode] = S3(f"http://127.0.0.1:{server.server_port}", MODES[mode])
        return s3

    yield make
    for s3 in with_mode.values():
        s3.close()


WIRE = {
    "2008-plain": {},
    "2008-md5": {"content-md5": base64.b64encode(hashlib.md5(BODY).digest()).decode()},
    "today-off": {},
    "today-signed": {"x-amz-content-sha256": SHA256.hexdigest()},
    "today-crc32": {"x-amz-checksum-crc32": CRC32},
    "today-sha256": {"x-amz-checksum-sha256": base64.b64encode(SHA256.digest()).decode()},
    "today-default": {"x-amz-checksum-crc32": CRC32, "x-amz-content-sha256": SHA256.hexdigest()},
}


@pytest.mark.parametrize("name", MODES)
def test_each_mode_on_the_wire(server, client, name):
    """A mode sends the digests it is named for, over the very body, and no other."""
    assert client(name).put("bucket", "key", BODY).ok
    ((method, path, sent, body),) = server.sent
    assert (method, path, body) == ("PUT", "/bucket/key", BODY)
    digests = {n: v for n, v in sent.items() if n in COVERS}
    if sent["x-amz-content-sha256"] != "UNSIGNED-PAYLOAD":
        digests["x-amz-content-sha256"] = sent["x-amz-content-sha256"]
    assert digests == WIRE[name]
    assert set(filter(None, MODES[name].checksum.lower().split(", "))) == set(digests)


def test_reply_of_a_put_and_a_get(server, client):
    """The ETag comes without its quotes, the body whole."""
    server.reply(ETag='"abc"', body=BODY)
    assert client().get("bucket", "key").body == BODY
    server.reply(ETag='"abc"')
    assert client().put("bucket", "key", BODY).etag == "abc"


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchKey"), (400, "BadDigest"), (503, "SlowDown")])
def test_errors_have_their_status_and_code(server, client, status, code):
    """An error is what the server says it is, asked once: a client that tries again would hide the fault."""
    server.reply(status, ERROR % code.encode(), Content_Type="application/xml")
    for call in (lambda s3: s3.get("bucket", "key"), lambda s3: s3.put("bucket", "key", BODY)):
        server.sent.clear()
        reply = call(client())
        assert (reply.ok, reply.status, reply.code, reply.noticed_by) == (False, status, code, "")
        assert len(server.sent) == 1


def test_short_body_is_no_reply(server, client):
    """A body that ends before its length is no value."""
    server.reply(body=BODY, Content_Length=str(len(BODY) + 5))
    reply = client().get("bucket", "key")
    assert (reply.ok, reply.status, reply.body, reply.noticed_by) == (False, 0, b"", "")
    assert reply.code


def test_refused_connection_is_no_reply(server):
    """Nobody there: status 0, and the kind of error."""
    port = server.server_port
    server.shutdown()  # a thread that still waits in poll() would keep the closed socket listening
    server.server_close()
    with closing(S3(f"http://127.0.0.1:{port}")) as s3:
        reply = s3.get("bucket", "key")
    assert (reply.ok, reply.status, reply.code) == (False, 0, "EndpointConnectionError")


def test_the_environments_proxy_is_passed_by(server, client, dead_http_proxy):
    """HTTP_PROXY is for other machines: an endpoint of a cluster is on this one."""
    server.reply(body=BODY)
    assert client().get("bucket", "key").body == BODY


@pytest.mark.parametrize(("mode", "noticed"), [("today-default", "client:checksum"), ("2008-plain", "")])
def test_damaged_body_of_a_get(server, client, mode, noticed):
    """Today's client holds a body against its checksum and is not fooled; one of 2008 takes it."""
    server.reply(body=b"F" + BODY[1:], x_amz_checksum_crc32=CRC32)
    reply = client(mode).get("bucket", "key")
    assert (reply.ok, reply.noticed_by) == (not noticed, noticed)


@pytest.mark.parametrize("header", [{"Last_Modified": "Sun, 22 Nov 2x26 05:00:00 GMT"}, {"x_amz_missing_meta": "1x"}])
def test_unreadable_header_is_noticed_by_luck(server, client, header):
    """A date or a number that is none: noticed, by luck, and no value."""
    server.reply(body=BODY, **header)
    got = client().get("bucket", "key")
    assert (got.ok, got.status, got.noticed_by) == (False, 0, PARSE)
    assert by_luck([got.noticed_by])


@pytest.mark.parametrize(("status", "seen"), [(300, (False, 300, "")), (600, (False, 0, PARSE))])
def test_status_that_is_none(server, client, status, seen):
    """One bit makes 200 a status that S3 never gives: the client gets no value of it, and does not fall over."""
    server.reply(status, BODY, x_amz_checksum_crc32=CRC32)
    got = client().get("bucket", "key")
    assert (got.ok, got.status, got.noticed_by) == seen


def test_reply_that_the_client_gives_up_on_is_noticed_by_luck(server, client, monkeypatch):
    """What botocore's parser calls unreadable is no value either, and no crash of the workload."""

    def give_up(*_):
        raise ResponseParserError("invalid XML received")

    s3 = client()
    monkeypatch.setattr(RestXMLParser, "_do_parse", give_up)
    got = s3.put("bucket", "key", BODY)
    assert (got.ok, got.status, got.code, got.noticed_by) == (False, 0, "ResponseParserError", PARSE)


@pytest.mark.parametrize("body", [b"<Error><Code>Slow", ERROR.replace(b"</Code>", b"</Kode>")])
def test_error_stands_though_its_text_is_unreadable(server, client, body):
    """A status says enough: an error whose XML is none is still that error."""
    server.reply(500, body, Content_Type="application/xml")
    got = client().get("bucket", "key")
    assert (got.ok, got.status, got.noticed_by) == (False, 500, "")
