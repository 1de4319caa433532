"""What is wrong in a view: a value that the owner never originated. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from straybit.control import Entry, Originated, View

__all__ = ["Wrong", "wrong_values"]


class Wrong(msgspec.Struct, frozen=True):
    """`holder`'s view has `value` in `field` of `owner`'s entry, where the owner originated `expected`.

    Field `entry`: the whole entry is missing (`value` None) or of somebody unknown (`expected` None).
    A `version` is wrong above `expected`, the owner's own count of heartbeats; below it is only old.
    """

    holder: str
    owner: str
    field: str
    value: int | None
    expected: int | None

    def __str__(self) -> str:
        if self.field == "entry":
            what = f"lacks {self.owner}" if self.value is None else f"has a stranger {self.owner}"
            return f"{self.holder}'s view {what}"
        return f"{self.holder}'s view has {self.owner}.{self.field} = {self.value}, originated {self.expected}"


def wrong_values(view: View, originated: Mapping[str, Originated], *, versions: bool = False) -> tuple[Wrong, ...]:
    """Every value of `view` that differs from what its owner originated, and every missing entry.

    Load is never compared; versions only when asked, and then `originated` must be younger than `view`.
    """
    return tuple(_wrong(view, originated, versions))


def _wrong(view: View, originated: Mapping[str, Originated], versions: bool) -> Iterator[Wrong]:
    for owner, truth in originated.items():
        entry = view.entries.get(owner)
        if entry is None:
            yield Wrong(view.name, owner, "entry", None, 1)
        else:
            yield from _wrong_fields(view.name, owner, entry, truth)
            if versions and entry.version > truth.heartbeats:
                yield Wrong(view.name, owner, "version", entry.version, truth.heartbeats)
    for owner in view.entries.keys() - originated.keys():
        yield Wrong(view.name, owner, "entry", 1, None)


def _wrong_fields(holder: str, owner: str, entry: Entry, truth: Originated) -> Iterator[Wrong]:
    for field in ("address", "status", "generation"):
        value, expected = getattr(entry, field), getattr(truth, field)
        if value != expected:
            yield Wrong(holder, owner, field, value, expected)
