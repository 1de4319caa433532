"""Which ports processes listen on, and which of them are open."""

import contextlib
import socket

import psutil


def listening(pids):
    """Ports that these processes listen on."""
    ports = set()
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            ports |= {c.laddr.port for c in psutil.Process(pid).net_connections("tcp") if c.status == "LISTEN"}
    return ports


def open_ports(ports):
    """Those of the ports that something still listens on."""
    found = set()
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                found.add(port)
    return found
