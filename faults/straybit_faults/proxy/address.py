"""Host and port, as Toxiproxy's API writes them."""

from __future__ import annotations

import ipaddress
import socket

__all__ = ["family_of", "format_address", "is_numeric", "parse_address"]


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
