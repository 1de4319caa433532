"""The backends there are, by name; a new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from straybit.backends import Backend, BackendError

__all__ = ["BACKENDS", "open_backend"]

BACKENDS = {
    "process": "straybit.backends.process:ProcessBackend",
    "sim": "straybit.backends.sim:SimBackend",
    "docker": "straybit.backends.docker:DockerBackend",
}


@contextmanager
def open_backend(name: str) -> Iterator[Backend]:
    """The backend of that name, ended with every cluster it started. Raises BackendError for an unknown one."""
    if name not in BACKENDS:
        raise BackendError(f"there is no backend {name!r}; choose from {', '.join(BACKENDS)}")
    module, _, attribute = BACKENDS[name].partition(":")
    backend: Backend = getattr(import_module(module), attribute)()
    try:
        yield backend
    finally:
        backend.close()
