"""Unmodified boto3 clients on virtual time: what one would send goes to a simulated balancer instead.

Everything before the network and behind it is boto3's own: each mode's headers and digests, what it checks, its errors.
Only headers that say when, by whom and on which machine a request was made are other ones, always the same,
so that two runs of a seed send the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError
from urllib3 import HTTPResponse

from straybit.sim.requests import Requests
from straybit.sim.tasks import Tasks
from straybit_nodes.balancer.relay import Request
from straybit_nodes.http1 import Framing
from straybit_nodes.storage.calls import Answer

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest

__all__ = ["Transport", "request_of"]

SETTLED = {
    "user-agent": "Boto3",
    "x-amz-date": "20080720T000000Z",
    "authorization": "AWS4-HMAC-SHA256 Credential=straybit/20080720/us-east-1/s3/aws4_request, "
    "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=" + "0" * 64,
    "amz-sdk-invocation-id": "00000000-0000-4000-8000-000000000000",
}
"""What stands in for a header that differs from run to run, by its name in lower case; nobody looks at them here."""


class Transport:
    """What `S3` takes as its `answer`: the network between it and a balancer."""

    def __init__(self, tasks: Tasks, requests: Requests, balancer: str) -> None:
        self._tasks = tasks
        self._requests = requests
        self._balancer = balancer

    def __call__(self, prepared: AWSPreparedRequest) -> AWSResponse:
        """The balancer's reply. Raises ReadTimeoutError where none comes before the net's deadline."""
        request = request_of(prepared)

        def begin(done: Callable[[Answer | None], None]) -> None:
            self._requests.send(self._balancer, request, done)

        answer = self._tasks.wait_for(begin)
        if answer is None:
            raise ReadTimeoutError(endpoint_url=prepared.url)
        headers = {"Server": "straybit", "Content-Length": str(len(answer.body)), **answer.headers}
        raw = HTTPResponse(BytesIO(answer.body), headers=headers, status=answer.status, preload_content=False)
        return AWSResponse(prepared.url, answer.status, headers, raw)  # type: ignore[arg-type]  # any mapping will do


def request_of(prepared: AWSPreparedRequest) -> Request:
    """What would go to the network, with headers that are the same on every run."""
    url = urlsplit(prepared.url)
    headers = (("Host", url.netloc), ("Accept-Encoding", "identity"), *_headers(prepared))
    target = f"{url.path}?{url.query}" if url.query else url.path
    framing: Framing = "length" if "Content-Length" in prepared.headers else "none"
    return Request(prepared.method, target, headers, _body(prepared), framing)


def _body(prepared: AWSPreparedRequest) -> bytes:
    body: Any = prepared.body or b""
    data = body.read() if hasattr(body, "read") else body
    return data.encode() if isinstance(data, str) else bytes(data)


def _headers(prepared: AWSPreparedRequest) -> Iterator[tuple[str, str]]:
    for name, value in prepared.headers.items():
        text = value.decode() if isinstance(value, bytes) else str(value)
        yield name, SETTLED.get(name.lower(), text)
