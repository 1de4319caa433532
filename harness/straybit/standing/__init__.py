"""A cluster that outlives the command that started it: kept by a process of its own, found again by its folder."""

from straybit.standing.card import Card, NoClusterError, read_card
from straybit.standing.remote import attach, end
from straybit.standing.start import start

__all__ = ["Card", "NoClusterError", "attach", "end", "read_card", "start"]
