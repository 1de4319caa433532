"""Published incidents, one a file; a new one is a file and a line in `SCENARIOS`."""

from __future__ import annotations

from straybit.scenarios.scenario import STORY, Scenario

__all__ = ["SCENARIOS", "STORY", "Scenario", "find_scenario", "load_scenario"]

SCENARIOS = {
    "june-2008": "straybit.scenarios.june_2008:JUNE_2008",
    "june-2008-bits": "straybit.scenarios.june_2008:JUNE_2008_BITS",
    "july-2008": "straybit.scenarios.july_2008:JULY_2008",
    "flip-under-latency": "straybit.scenarios.bad_links:FLIP_UNDER_LATENCY",
    "flip-during-reset": "straybit.scenarios.bad_links:FLIP_DURING_RESET",
    "restore-over-slow-links": "straybit.scenarios.bad_links:RESTORE_OVER_SLOW_LINKS",
}
"""Where each scenario lives; it is imported when it is asked for."""


def find_scenario(name: str) -> Scenario:
    """The scenario of that name. Raises ValueError, naming those there are."""
    from importlib import import_module  # noqa: PLC0415 - scenarios are loaded when asked for

    if name not in SCENARIOS:
        raise ValueError(f"there is no scenario {name!r}; choose from {', '.join(SCENARIOS)}")
    module, _, attribute = SCENARIOS[name].partition(":")
    scenario: Scenario = getattr(import_module(module), attribute)
    return scenario


def load_scenario(text: str) -> Scenario:
    """A scenario by name, or the one that a Python file defines. Raises ValueError."""
    if not text.endswith(".py"):
        return find_scenario(text)
    import runpy  # noqa: PLC0415 - only for a user's own file

    try:
        found = [value for value in runpy.run_path(text).values() if isinstance(value, Scenario)]
    except OSError as error:
        raise ValueError(f"cannot read {text}: {error.strerror}") from None
    except Exception as error:
        raise ValueError(f"{text} does not load: {type(error).__name__}: {error}") from None
    if len(found) != 1:
        raise ValueError(f"{text} defines {len(found)} scenarios; decorate exactly one function with @scenario")
    return found[0]
