"""Toxiproxy's API, call by call, against our server and, where it is installed, against Toxiproxy 2.12.0.

What differs is in DIFFERENCES, with the reason; nothing is skipped.
"""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

DIFFERENCES: dict[str, tuple[Any, Any, str]] = {
    "listen left out": ("127.0.0.1", "[::]", "a proxy listens on loopback unless told otherwise"),
    "Logger": ({}, {"Logger": {}}, "a field that Toxiproxy lets slip"),
    "toxics in create": (["latency_downstream"], [], "no connection slips through between two calls (#447, #148)"),
    "toxics in populate": (["latency_downstream"], [], "the same (#447)"),
    "counters of a live connection": (True, False, "counters move while a connection lives"),
    "listen without a port": (400, 500, "a mistake of the caller's, not of the server"),
    "bad listen, disabled": (400, 201, "a mistake is told at once"),
    "upstream without a port": (400, 201, "the same"),
    "bytes behind the body": (400, 201, "the same"),
    "no proxies": ([], None, "a list is a list"),
    "a slash in a name": (200, 404, "what was made can be found"),
    "two slashes": (404, 301, "a path is what it says"),
    "reply after a half-close": (b"answer", b"", "a half-close lets the reply through"),
}
"""What -> (ours, Toxiproxy's, why)."""


def expected_of(api: Any, what: str) -> Any:
    """This server's side of a difference."""
    return DIFFERENCES[what][api.name != "ours"]


def proxy_of(name: str = "t-one", **fields: Any) -> dict[str, Any]:
    """A proxy that nobody will use."""
    return {"name": name, "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9", **fields}


def error(reply: Any) -> tuple[int, str]:
    """Status and text of an error in Toxiproxy's form."""
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.text.endswith("\n")
    assert reply.json["status"] == reply.status
    return reply.status, reply.json["error"]


def test_version(api: Any) -> None:
    """A version that clients can compare."""
    reply = api.call("GET", "/version")
    assert (reply.status, reply.json) == (200, {"version": "2.12.0"})
    assert reply.headers["X-Toxiproxy-Request-Id"]
    assert reply.headers["Content-Type"].startswith("application/json")


def test_a_proxy_comes_and_goes(api: Any) -> None:
    """Created, listed, shown, deleted, with the defaults filled in."""
    reply = api.call("POST", "/proxies", proxy_of())
    assert reply.status == 201
    listen = reply.json["listen"]
    assert listen.startswith("127.0.0.1:")
    assert not listen.endswith(":0")
    whole = {"name": "t-one", "listen": listen, "upstream": "127.0.0.1:9", "enabled": True, "toxics": []}
    whole |= expected_of(api, "Logger")
    assert reply.json == whole
    assert api.call("GET", "/proxies/t-one").json == whole
    assert api.call("GET", "/proxies").json["t-one"] == whole
    gone = api.call("DELETE", "/proxies/t-one")
    assert (gone.status, gone.text) == (204, "")
    assert error(api.call("GET", "/proxies/t-one")) == (404, "proxy not found")


def test_proxies_are_listed_by_name(api: Any) -> None:
    """Keys are sorted."""
    for name in ("t-by-c", "t-by-a", "t-by-b"):
        api.call("POST", "/proxies", proxy_of(name))
    names = [name for name in api.call("GET", "/proxies").json if name.startswith("t-by-")]
    assert names == ["t-by-a", "t-by-b", "t-by-c"]


def test_localhost_is_answered_as_an_address(api: Any) -> None:
    """`localhost` becomes 127.0.0.1."""
    listen = api.call("POST", "/proxies", proxy_of(listen="localhost:0")).json["listen"]
    assert listen.startswith("127.0.0.1:")


def test_addresses_are_answered_as_they_were_written(api: Any) -> None:
    """The upstream always, `listen` until the proxy listens; and an update takes the same text for the same."""
    written = {"listen": "localhost:43999", "upstream": "localhost:3306"}
    made = api.call("POST", "/proxies", proxy_of(enabled=False, **written)).json
    assert {key: made[key] for key in written} == written
    changed = api.call("POST", "/proxies/t-one", {"listen": "localhost:0"}).json
    assert (changed["listen"], changed["enabled"]) == ("localhost:0", False)
    on = api.call("POST", "/proxies/t-one", {"enabled": True}).json
    assert on["listen"].startswith("127.0.0.1:")
    assert on["upstream"] == "localhost:3306"
    port = on["listen"].rpartition(":")[2]
    api.call("POST", "/proxies/t-one/toxics", {"type": "latency"})
    same = {"name": "t-one", "listen": f"localhost:{port}", "upstream": "localhost:3306"}
    assert len(api.call("POST", "/populate", [same]).json["proxies"][0]["toxics"]) == 1


def test_keys_and_streams_in_any_case(api: Any) -> None:
    """As Go reads JSON; the stream is answered as it was spelled."""
    body = {"Name": "t-one", "LISTEN": "127.0.0.1:0", "UpStream": "127.0.0.1:9"}
    assert api.call("POST", "/proxies", body).status == 201
    made = api.call("POST", "/proxies/t-one/toxics", {"Type": "latency", "stream": "UpStream"})
    assert (made.status, made.json["name"], made.json["stream"]) == (200, "latency_UpStream", "UpStream")
    path = "/proxies/t-one/toxics/latency_UpStream"
    changed = api.call("PATCH", path, {"Toxicity": 0.5, "attributes": {"LATENCY": 7}}).json
    assert (changed["toxicity"], changed["attributes"]["latency"]) == (0.5, 7)
    assert api.call("POST", "/proxies/t-one/toxics", {"type": "Latency"}).status == 400


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("listen without a port", proxy_of(listen="nonsense")),
        ("bad listen, disabled", proxy_of(listen="nonsense", enabled=False)),
        ("upstream without a port", proxy_of(upstream="nonsense")),
        ("bytes behind the body", json.dumps(proxy_of()) + "more"),
    ],
)
def test_what_ours_takes_for_a_mistake(api: Any, what: str, body: Any) -> None:
    """Each is told in the answer to the call that made it."""
    assert api.call("POST", "/proxies", body).status == expected_of(api, what)


def test_a_host_that_nobody_knows_is_a_500(api: Any) -> None:
    """With what the name server said about it."""
    status, text = error(api.call("POST", "/proxies", proxy_of(listen="no-such-host.invalid:0")))
    assert status == 500
    assert "lookup no-such-host.invalid" in text


def test_null_is_an_empty_body(api: Any) -> None:
    """Required fields are missing, and a populate of nothing makes nothing."""
    assert error(api.call("POST", "/proxies", "null")) == (400, "missing required field: name")
    for body in ("null", "[]"):
        reply = api.call("POST", "/populate", body)
        assert (reply.status, reply.json) == (201, {"proxies": expected_of(api, "no proxies")})


def test_slashes_in_paths(api: Any) -> None:
    """In a name, and twice."""
    api.call("POST", "/proxies", proxy_of("t-a/b"))
    assert api.call("GET", "/proxies/t-a%2Fb").status == expected_of(api, "a slash in a name")
    assert api.call("GET", "//proxies").status == expected_of(api, "two slashes")


def test_listen_left_out(api: Any) -> None:
    """The default differs, for safety."""
    body = {"name": "t-one", "upstream": "127.0.0.1:9"}
    listen = api.call("POST", "/proxies", body).json["listen"]
    assert listen.rpartition(":")[0] == expected_of(api, "listen left out")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"upstream": "127.0.0.1:9"}, "missing required field: name"),
        ({"name": "", "upstream": "127.0.0.1:9"}, "missing required field: name"),
        ({"name": "t-one"}, "missing required field: upstream"),
    ],
)
def test_a_missing_field_is_refused(api: Any, body: Any, text: str) -> None:
    """400, and which."""
    assert error(api.call("POST", "/proxies", body)) == (400, text)


@pytest.mark.parametrize("path", ["/proxies", "/proxies/t-one", "/proxies/t-one/toxics"])
@pytest.mark.parametrize("body", ["{", "nonsense", '{"name": 3}', ""])
def test_a_bad_body_is_refused(api: Any, path: str, body: str) -> None:
    """400 with the reason behind a fixed beginning."""
    api.call("POST", "/proxies", proxy_of())
    if body == '{"name": 3}' and path == "/proxies/t-one":
        body = '{"listen": 3}'
    status, text = error(api.call("POST", path, body))
    assert status == 400
    assert text.startswith("bad request body: ")


def test_a_name_is_taken_once(api: Any) -> None:
    """409 for the second."""
    api.call("POST", "/proxies", proxy_of())
    assert error(api.call("POST", "/proxies", proxy_of())) == (409, "proxy already exists")


def test_a_taken_port_is_a_500(api: Any) -> None:
    """With the system's reason, and no proxy."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        status, text = error(api.call("POST", "/proxies", proxy_of(listen=f"127.0.0.1:{port}")))
    assert (status, text) == (500, f"listen tcp 127.0.0.1:{port}: bind: address already in use")
    assert api.call("GET", "/proxies/t-one").status == 404


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_proxy_is_updated(api: Any, method: str) -> None:
    """Absent fields keep their value; disabling closes the listener, enabling opens the same port."""
    listen = api.call("POST", "/proxies", proxy_of()).json["listen"]
    off = api.call(method, "/proxies/t-one", {"enabled": False})
    assert (off.status, off.json["enabled"], off.json["listen"]) == (200, False, listen)
    host, _, port = listen.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    on = api.call(method, "/proxies/t-one", {"enabled": True, "upstream": "127.0.0.1:10"}).json
    assert (on["enabled"], on["listen"], on["upstream"]) == (True, listen, "127.0.0.1:10")
    socket.create_connection((host, int(port))).close()


def test_a_toxic_comes_changes_and_goes(api: Any) -> None:
    """Defaults on creation (200, not 201), attributes merged key by key, 204 at the end."""
    api.call("POST", "/proxies", proxy_of())
    made = api.call("POST", "/proxies/t-one/toxics", {"type": "latency", "attributes": {"latency": 10, "odd": 1}})
    expected = {
        "attributes": {"latency": 10, "jitter": 0},
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1,
    }
    assert (made.status, made.json) == (200, expected)
    path = "/proxies/t-one/toxics/latency_downstream"
    assert api.call("GET", path).json == expected
    for method, jitter in (("POST", 5), ("PATCH", 6)):
        changed = api.call(method, path, {"attributes": {"jitter": jitter}, "toxicity": 0.5, "stream": "upstream"})
        assert changed.status == 200
        assert changed.json == {**expected, "attributes": {"latency": 10, "jitter": jitter}, "toxicity": 0.5}
    assert api.call("DELETE", path).status == 204
    assert api.call("GET", "/proxies/t-one/toxics").json == []
    assert error(api.call("DELETE", path)) == (404, "toxic not found")


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("latency", {"latency": 0, "jitter": 0}),
        ("bandwidth", {"rate": 0}),
        ("slow_close", {"delay": 0}),
        ("timeout", {"timeout": 0}),
        ("reset_peer", {"timeout": 0}),
        ("slicer", {"average_size": 0, "size_variation": 0, "delay": 0}),
        ("limit_data", {"bytes": 0}),
    ],
)
def test_every_toxic_has_its_attributes(api: Any, kind: str, attributes: Any) -> None:
    """All seven, with zeros for what was left out."""
    api.call("POST", "/proxies", proxy_of())
    reply = api.call("POST", "/proxies/t-one/toxics", {"type": kind, "stream": "upstream"})
    assert (reply.status, reply.json["attributes"], reply.json["name"]) == (200, attributes, f"{kind}_upstream")


def test_toxics_are_listed_upstream_first(api: Any) -> None:
    """Then downstream, each in insertion order."""
    api.call("POST", "/proxies", proxy_of())
    for name, stream in (("a", "downstream"), ("b", "upstream"), ("c", "downstream"), ("d", "upstream")):
        api.call("POST", "/proxies/t-one/toxics", {"type": "latency", "name": name, "stream": stream})
    assert [toxic["name"] for toxic in api.call("GET", "/proxies/t-one/toxics").json] == ["b", "d", "a", "c"]
    assert [toxic["name"] for toxic in api.call("GET", "/proxies/t-one").json["toxics"]] == ["b", "d", "a", "c"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"type": "gremlin"}, (400, "invalid toxic type")),
        ({}, (400, "invalid toxic type")),
        (
            {"type": "latency", "stream": "sideways"},
            (400, "stream was invalid, can be either upstream or downstream"),
        ),
    ],
)
def test_a_toxic_that_is_none_is_refused(api: Any, body: Any, expected: Any) -> None:
    """Type and stream are checked."""
    api.call("POST", "/proxies", proxy_of())
    assert error(api.call("POST", "/proxies/t-one/toxics", body)) == expected


@pytest.mark.parametrize("latency", [1.5, "10", True, [1]])
def test_an_integer_must_be_one(api: Any, latency: Any) -> None:
    """Numbers that are integers must be JSON integers."""
    api.call("POST", "/proxies", proxy_of())
    reply = api.call("POST", "/proxies/t-one/toxics", {"type": "latency", "attributes": {"latency": latency}})
    status, text = error(reply)
    assert status == 400
    assert text.startswith("bad request body: ")


@pytest.mark.parametrize(("latency", "status"), [(2**63 - 1, 200), (2**63, 400), (-(2**63) - 1, 400), (10**330, 400)])
def test_an_integer_has_64_bits(api: Any, latency: int, status: int) -> None:
    """No more."""
    api.call("POST", "/proxies", proxy_of())
    body = {"type": "latency", "attributes": {"latency": latency}}
    assert api.call("POST", "/proxies/t-one/toxics", body).status == status


def test_a_toxics_name_is_unique_over_both_streams(api: Any) -> None:
    """409 for the second."""
    api.call("POST", "/proxies", proxy_of())
    for stream, expected in (("upstream", 200), ("downstream", 409)):
        body = {"type": "latency", "name": "same", "stream": stream}
        reply = api.call("POST", "/proxies/t-one/toxics", body)
        assert reply.status == expected
    assert error(reply) == (409, "toxic already exists")


def test_unknown_proxies_have_no_toxics(api: Any) -> None:
    """404 on each call below a proxy that is not there."""
    for method, path in (
        ("GET", "/proxies/t-x/toxics"),
        ("POST", "/proxies/t-x/toxics"),
        ("GET", "/proxies/t-x/toxics/t"),
        ("POST", "/proxies/t-x"),
        ("PATCH", "/proxies/t-x/toxics/t"),
        ("DELETE", "/proxies/t-x"),
    ):
        assert error(api.call(method, path, {"type": "latency"})) == (404, "proxy not found")


def test_populate_creates_keeps_and_replaces(api: Any) -> None:
    """Equal proxies stay untouched, toxics included; others are made anew."""
    first = api.call("POST", "/populate", [proxy_of("t-a"), proxy_of("t-b", enabled=False)])
    assert first.status == 201
    assert [(p["name"], p["enabled"]) for p in first.json["proxies"]] == [("t-a", True), ("t-b", False)]
    listen = first.json["proxies"][0]["listen"]
    api.call("POST", "/proxies/t-a/toxics", {"type": "latency"})
    again = api.call("POST", "/populate", [proxy_of("t-a", listen=listen)]).json["proxies"]
    assert [toxic["type"] for toxic in again[0]["toxics"]] == ["latency"]
    other = api.call("POST", "/populate", [proxy_of("t-a", listen=listen, upstream="127.0.0.1:10")]).json["proxies"]
    assert (other[0]["upstream"], other[0]["toxics"]) == ("127.0.0.1:10", [])


@pytest.mark.parametrize(
    ("bodies", "text"),
    [
        ([proxy_of("t-a"), {"upstream": "127.0.0.1:9"}], "missing required field: name at proxy 2"),
        ([{"name": "t-a"}], "missing required field: upstream at proxy 1"),
    ],
)
def test_populate_checks_before_it_creates(api: Any, bodies: Any, text: str) -> None:
    """JSON with the error, and nothing made."""
    reply = api.call("POST", "/populate", bodies)
    assert reply.headers["Content-Type"].startswith("application/json")
    assert (reply.status, reply.json["error"], reply.json["status"]) == (400, text, 400)
    assert reply.json["proxies"] is None
    assert api.call("GET", "/proxies/t-a").status == 404


def test_populate_answers_what_it_made_before_an_error(api: Any) -> None:
    """A port that is taken: those before it exist."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = f"127.0.0.1:{busy.getsockname()[1]}"
        reply = api.call("POST", "/populate", [proxy_of("t-a"), proxy_of("t-b", listen=taken)])
    assert reply.status == 500
    assert reply.json["error"] == f"listen tcp {taken}: bind: address already in use"
    assert [proxy["name"] for proxy in reply.json["proxies"]] == ["t-a"]


def test_toxics_in_create_and_populate(api: Any) -> None:
    """Ours arms them before the first connection."""
    toxics = [{"type": "latency"}]
    made = api.call("POST", "/proxies", proxy_of("t-a", toxics=toxics)).json
    assert [toxic["name"] for toxic in made["toxics"]] == expected_of(api, "toxics in create")
    populated = api.call("POST", "/populate", [proxy_of("t-b", toxics=toxics)]).json["proxies"][0]
    assert [toxic["name"] for toxic in populated["toxics"]] == expected_of(api, "toxics in populate")


def test_reset_enables_all_and_removes_toxics(api: Any) -> None:
    """204; proxies stay."""
    api.call("POST", "/proxies", proxy_of(enabled=False))
    api.call("POST", "/proxies/t-one/toxics", {"type": "latency"})
    assert api.call("POST", "/reset").status == 204
    after = api.call("GET", "/proxies/t-one").json
    assert (after["enabled"], after["toxics"]) == (True, [])


@pytest.mark.parametrize("path", ["/nothing", "/proxies/", "/proxies/t-one/", "/"])
def test_unknown_paths(api: Any, path: str) -> None:
    """Plain text, as Go's servers have it; a trailing slash is another path."""
    reply = api.call("GET", path)
    assert (reply.status, reply.text) == (404, "404 page not found\n")


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/version"), ("PUT", "/proxies"), ("GET", "/reset")])
def test_wrong_methods(api: Any, method: str, path: str) -> None:
    """405 without a body."""
    reply = api.call(method, path)
    assert (reply.status, reply.text) == (405, "")


@pytest.mark.parametrize("path", ["/version", "/proxies"])
def test_browsers_are_refused(api: Any, path: str) -> None:
    """403: a web page must not reach the API by rebinding DNS."""
    reply = api.call("GET", path, User_Agent="Mozilla/5.0 (X11)")
    assert (reply.status, reply.text) == (403, "User agent not allowed\n")


def test_metrics_count_bytes(api: Any) -> None:
    """Prometheus' text, and when the counters move."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = f"127.0.0.1:{listener.getsockname()[1]}"
        made = api.call("POST", "/proxies", proxy_of("t-metrics", upstream=upstream)).json
        host, _, port = made["listen"].rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            server, _ = listener.accept()
            with server:
                client.sendall(b"12345")
                assert read_exactly(server, 5) == b"12345"
                reply = api.call("GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    labels = f'direction="upstream",listener="{made["listen"]}",proxy="t-metrics",upstream="{upstream}"'
    lines = {normal(line) for line in reply.text.splitlines()}
    moved = {f"toxiproxy_proxy_{kind}_bytes_total{{{labels}}} 5" for kind in ("received", "sent")} <= lines
    assert moved is expected_of(api, "counters of a live connection")


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """That many bytes, or fewer at the end."""
    got = b""
    while len(got) < count and (piece := sock.recv(count - len(got))):
        got += piece
    return got


def normal(line: str) -> str:
    """A sample with its labels sorted and its number short."""
    name, brace, rest = line.partition("{")
    if not brace:
        return line
    labels, _, value = rest.rpartition("} ")
    return f"{name}{{{','.join(sorted(labels.split(',')))}}} {float(value):g}"


def test_a_reply_after_a_half_close(api: Any) -> None:
    """The client closes its half and waits for the answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = f"127.0.0.1:{listener.getsockname()[1]}"
        listen = api.call("POST", "/proxies", proxy_of(upstream=upstream)).json["listen"]
        host, _, port = listen.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5) as client:
            server, _ = listener.accept()
            client.shutdown(socket.SHUT_WR)
            threading.Thread(target=answer, args=(server,)).start()
            assert b"".join(iter(lambda: client.recv(100), b"")) == expected_of(api, "reply after a half-close")


def answer(server: socket.socket) -> None:
    """Reply once the other half is closed."""
    with server:
        assert server.recv(1) == b""
        server.sendall(b"answer")
