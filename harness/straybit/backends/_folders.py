"""Where a cluster's logs and data are."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from straybit.backends import BackendError

__all__ = ["DATA_VARIABLE", "cluster_folder", "data_folder"]

DATA_VARIABLE = "STRAYBIT_DATA"
"""Environment variable that names the folder in which data folders are made."""
MEMORY = Path("/dev/shm")
ENOUGH = 1 << 30
"""Bytes that must be free there; the reference scenarios write some ten MiB."""


def cluster_folder(folder: Path | None) -> Path:
    """The cluster's folder, with a place for logs in it; None makes a temporary one. Raises BackendError."""
    try:
        home = Path(tempfile.mkdtemp(prefix="straybit-")) if folder is None else folder.resolve()
        (home / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(f"the cluster's folder cannot be made: {error}; name another one") from None
    return home


def data_folder(home: Path, *, keep: bool) -> Path:
    """A folder for what services store: the cluster's own to `keep`, otherwise where DATA_VARIABLE says or in memory.

    Raises BackendError.

    Every write is synced, and on a disk that others use as well a sync can take longer than any time-out here:
    a measured 1.0 s, in which all servers of both regions stood still. SIGKILL loses nothing in memory either.
    """
    root = os.environ.get(DATA_VARIABLE) or None
    try:
        if keep or (root is None and not _has_room(MEMORY)):
            data = home / "data"
            data.mkdir(exist_ok=True)
            return data
        return Path(tempfile.mkdtemp(prefix="straybit-data-", dir=root or MEMORY))
    except OSError as error:
        raise BackendError(f"the folder for data cannot be made: {error}; name another in {DATA_VARIABLE}") from None


def _has_room(folder: Path) -> bool:
    try:
        return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= ENOUGH
    except OSError:
        return False
