"""What a view has against what the members originated, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from straybit.control import View
from straybit.oracle import Originated, wrong_values

__all__ = ["disagreements"]


def disagreements(view: View, originated: Mapping[str, Originated], *, versions: bool = False) -> tuple[str, ...]:
    """One line for each member that `view` lacks and for each value its owner did not originate.

    Versions count only when asked, since `originated` must then be younger than `view`.
    """
    lines = [f"{view.name}'s view lacks {owner}" for owner in sorted(originated.keys() - view.entries.keys())]
    for wrong in wrong_values({view.name: view.entries}, originated):
        if versions or wrong.field != "version":
            lines.append(f"{view.name}'s view has {wrong.owner}.{wrong.field} = {wrong.value}, which nobody originated")
    return tuple(lines)
