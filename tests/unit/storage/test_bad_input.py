"""Clients that send rubbish, stop half way, or promise what they do not keep."""

import socket

import pytest

from straybit_nodes.storage import body as body_module
from straybit_nodes.storage import server as server_module
from straybit_nodes.storage.body import Bodies

from .conftest import run_lone


def raw(node, *pieces, shut=False):
    """Send bytes as they are and give back everything that comes until the node closes."""
    with socket.create_connection(("127.0.0.1", node.port), timeout=5) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def head(method, target, *headers):
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@pytest.fixture
def node(lone):
    lone.request("PUT", "/photos")
    yield lone
    assert lone.request("GET", "/photos/k").status == 404, "what was refused is stored"
    lone.request("PUT", "/photos/after", body=b"fine")
    assert lone.request("GET", "/photos/after").data == b"fine"


@pytest.mark.parametrize(
    "rubbish", [b"\x00\xff" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"sb\x01\x02" + b"\0" * 40 + b"\r\n\r\n"]
)
def test_rubbish_is_answered_400(node, rubbish):
    """Bytes that are no HTTP are answered as such, and the node serves on."""
    assert raw(node, rubbish).startswith(b"HTTP/1.1 400") or raw(node, rubbish).startswith(b"HTTP/1.0 400")


@pytest.mark.parametrize(
    ("request_head", "body", "status", "code"),
    [
        (head("PUT", "/photos/k"), b"", 411, b"MissingContentLength"),
        (head("PUT", "/photos/k", "Transfer-Encoding: chunked"), b"1\r\nx\r\n0\r\n\r\n", 411, b"MissingContentLength"),
        (head("PUT", "/photos/k", "Content-Length: 99999999999"), b"", 400, b"EntityTooLarge"),
        (
            head("PUT", "/photos/k", "Content-Length: 3", "Content-Encoding: aws-chunked"),
            b"abc",
            411,
            b"MissingContentLength",
        ),
        (
            head(
                "PUT",
                "/photos/k",
                "Content-Length: 3",
                "Content-Encoding: aws-chunked",
                "x-amz-decoded-content-length: -3",
            ),
            b"abc",
            400,
            b"InvalidArgument",
        ),
        (
            head(
                "PUT",
                "/photos/k",
                "Content-Length: 3",
                "Content-Encoding: aws-chunked",
                "x-amz-decoded-content-length: 3",
            ),
            b"abc",
            400,
            b"IncompleteBody",
        ),
        (head("PUT", "/photos/" + "k" * 1025, "Content-Length: 1"), b"x", 400, b"KeyTooLongError"),
        (head("PUT", "/photos/%80", "Content-Length: 1"), b"x", 400, b"InvalidURI"),
        (head("PUT", "/UPPER/k", "Content-Length: 1"), b"x", 400, b"InvalidBucketName"),
        (head("GET", "/photos?list-type=2&continuation-token=x"), b"", 400, b"InvalidArgument"),
        (head("PATCH", "/photos/k"), b"", 405, b"MethodNotAllowed"),
    ],
)
def test_a_bad_request_has_s3s_own_code(node, request_head, body, status, code):
    """A request that cannot be right is refused with status, code and request id, and nothing is stored."""
    answer = raw(node, request_head, body)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"<Code>" + code + b"</Code>" in answer
    assert b"<RequestId>" in answer


def test_a_body_that_ends_early_is_not_stored(node):
    """A client that hangs up in the middle of its body leaves nothing behind."""
    raw(node, head("PUT", "/photos/k", "Content-Length: 10"), b"half", shut=True)


def test_a_client_that_stalls_is_told_so(tmp_path, monkeypatch):
    """A body that stops coming is answered RequestTimeout."""
    monkeypatch.setattr(body_module, "IDLE_S", 0.05)
    monkeypatch.setattr(Bodies.__init__, "__kwdefaults__", {"memory": body_module.MEMORY, "idle_s": 0.05})
    with run_lone(tmp_path) as lone:
        answer = raw(lone, head("PUT", "/photos/k", "Content-Length: 10"), b"half")
    assert b"<Code>RequestTimeout</Code>" in answer


def test_bodies_beyond_the_memory_bound_are_told_to_slow_down(tmp_path, monkeypatch):
    """Bodies in memory are bounded in sum; beyond that a client gets SlowDown."""
    monkeypatch.setattr(Bodies.__init__, "__kwdefaults__", {"memory": 100, "idle_s": 5.0})
    with run_lone(tmp_path) as lone:
        lone.request("PUT", "/photos")
        assert lone.request("PUT", "/photos/k", body=b"x" * 100).status == 200
        answer = lone.request("PUT", "/photos/k", body=b"x" * 101)
        assert (answer.status, b"SlowDown" in answer.data) == (503, True)
        assert lone.request("PUT", "/photos/k", body=b"x" * 100).status == 200


def test_a_body_is_asked_for_before_it_is_sent(node):
    """`Expect: 100-continue` is answered with 100 when the head is good, and with the error at once when not."""
    with socket.create_connection(("127.0.0.1", node.port), timeout=5) as connection:
        connection.sendall(head("PUT", "/photos/e", "Content-Length: 3", "Expect: 100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    answer = raw(node, head("PUT", "/photos/k", "Content-Length: 3", "Expect: 100-continue", "Content-MD5: x"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"InvalidDigest" in answer


@pytest.mark.parametrize("whole", [True, False])
def test_a_refused_body_is_not_taken_for_the_next_request(lone, whole):
    """The bytes of a body that was refused unread are never read as a request."""
    smuggled = b"PUT /photos/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
    lone.request("PUT", "/photos")
    length = len(smuggled) + (0 if whole else 1)
    first = head("PUT", "/UPPER/k", f"Content-Length: {length}")
    answer = raw(lone, first + smuggled)
    assert [line[9:12] for line in answer.split(b"\n") if line.startswith(b"HTTP/")] == [b"400"]
    assert lone.request("GET", "/photos/smuggled").status == 404


def test_a_held_node_serves_nobody(tmp_path):
    """Held and stopped nodes answer 503 ServiceUnavailable; resumed they serve."""
    with run_lone(tmp_path, held=True) as lone:
        assert lone.request("GET", "/").status == 503
        assert lone.control("POST", "/resume", {}).json() == {"state": "running"}
        assert lone.request("PUT", "/photos").status == 200
        assert lone.control("POST", "/stop", {}).json() == {"state": "stopped"}
        answer = lone.request("PUT", "/photos/k", body=b"x")
        assert (answer.status, b"ServiceUnavailable" in answer.data) == (503, True)
        assert lone.control("POST", "/clear", {}).status == 200
        assert lone.control("POST", "/resume", {}).status == 200
        assert lone.control("POST", "/clear", {}).status == 409
        assert lone.request("GET", "/photos").status == 200


def test_requests_beyond_the_bound_are_told_to_slow_down(lone, monkeypatch):
    """A node takes so many requests at a time and answers SlowDown beyond."""
    monkeypatch.setattr(server_module, "_INFLIGHT_MAX", 0)
    answer = lone.request("GET", "/")
    assert (answer.status, b"SlowDown" in answer.data) == (503, True)
    monkeypatch.undo()
    assert lone.request("GET", "/").status == 200


def test_a_stop_does_not_wait_for_a_client_that_stalls(lone, monkeypatch):
    """A stop gives requests their time, and no client can hold it up."""
    monkeypatch.setattr(server_module, "_END_S", 0.05)
    with socket.create_connection(("127.0.0.1", lone.port), timeout=5) as connection:
        connection.sendall(head("PUT", "/photos/k", "Content-Length: 10", "Expect: 100-continue"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        assert lone.control("POST", "/stop", {}).json() == {"state": "stopped"}
        (line,) = lone.events("error")
    assert line["why"].startswith("1 requests were still under way")
