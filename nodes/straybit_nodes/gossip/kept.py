"""What a member keeps on disk: its generation, its first start, how often it left, and its count of own heartbeats.

The count is a mapped file of eight bytes, so it survives SIGKILL without a write per heartbeat;
it does not survive a power cut, and nothing here claims so.
A generation file that cannot be read counts as absent: the configured generation is what a first start would have.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from struct import Struct

import msgspec

__all__ = ["Kept"]

_COUNT = Struct("<Q")


class _Birth(msgspec.Struct):
    generation: int
    began: float
    left: int = 0


_BIRTH = msgspec.json.Decoder(_Birth)


class Kept:
    """The files `generation.json` and `heartbeats` in `folder`, which is made when missing. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "generation.json"
        birth = self._read()
        self.generation = birth.generation if birth is not None else None
        self._began = birth.began if birth is not None else time.time()
        self.left = birth.left if birth is not None else 0
        file = os.open(folder / "heartbeats", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(file, _COUNT.size)
            self._map = mmap.mmap(file, _COUNT.size)
        finally:
            os.close(file)

    @property
    def heartbeats(self) -> int:
        """Own heartbeats so far, over restarts."""
        return int(_COUNT.unpack_from(self._map)[0])

    @property
    def age_s(self) -> float:
        """Seconds since the first start by the wall clock; never negative."""
        return max(time.time() - self._began, 0.0)

    def beat(self, heartbeats: int) -> None:
        """Keep this count."""
        _COUNT.pack_into(self._map, 0, heartbeats)

    def keep(self, generation: int) -> None:
        """Keep this generation; the time of the first start stays."""
        self.generation = generation
        self._write()

    def leave(self) -> None:
        """Keep that the member left once more."""
        self.left += 1
        self._write()

    def close(self) -> None:
        """Give the mapping back."""
        self._map.close()

    def _write(self) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(_Birth(self.generation or 0, self._began, self.left)))
        fresh.replace(self._path)

    def _read(self) -> _Birth | None:
        try:
            return _BIRTH.decode(self._path.read_bytes())
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
