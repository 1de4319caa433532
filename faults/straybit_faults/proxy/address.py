"""Host and port, as Toxiproxy's API writes them."""

from __future__ import annotations

import ipaddress
import socket

from straybit_faults.proxy.errors import ApiError

__all__ = ["UnknownHostError", "family_of", "format_address", "is_numeric", "look_up", "parse_address"]


class UnknownHostError(Exception):
    """A host to listen on has no address yet: ask a name server, in a thread that may wait, and try again."""

    def __init__(self, host: str) -> None:
        super().__init__(f"the address of {host} was not looked up")
        self.host = host


def look_up(host: str) -> str:
    """The numeric address of a host to listen on; may take as long as its name server. Raises ApiError."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no name server could have
        why = error.strerror if isinstance(error, OSError) else error
        raise ApiError(500, f"listen: lookup {host}: {why}") from error


def parse_address(text: str) -> tuple[str, int]:
    """`host:port`, `[::1]:port` or `:port`; `localhost` and an empty host are 127.0.0.1. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ValueError(f"address {text!r} is not HOST:PORT")
    host = host.removeprefix("[").removesuffix("]")
    return ("127.0.0.1" if host in ("", "localhost") else host), int(port)


def format_address(host: str, port: int) -> str:
    """The text that `parse_address` reads."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_numeric(host: str) -> bool:
    """Whether `host` needs no name server."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def family_of(host: str) -> socket.AddressFamily:
    """The address family of a numeric host."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET
