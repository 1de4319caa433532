"""Wires: one protocol per file, found by the entry point group `straybit.wires` when a toxic asks for one."""

from straybit_faults.wires.registry import UnknownWireError, add_wire, find_wire, wire_names

__all__ = ["UnknownWireError", "add_wire", "find_wire", "wire_names"]
