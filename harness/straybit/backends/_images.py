"""The images that a cluster in containers is started from: named by variables, checked before anything starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from straybit.backends import BackendError
from straybit.backends._engine import Engine, EngineError

__all__ = ["VERSION_LABEL", "image_doubts", "images", "require_images"]

VERSION_LABEL = "straybit.version"
TOXIPROXY = "ghcr.io/shopify/toxiproxy:2.12.0"


def images() -> dict[str, str]:
    """The variable of compose.yaml to the image that it names now."""
    return {
        "STRAYBIT_IMAGE": os.environ.get("STRAYBIT_IMAGE") or f"straybit:{version('straybit')}",
        "STRAYBIT_TOXIPROXY_IMAGE": os.environ.get("STRAYBIT_TOXIPROXY_IMAGE") or TOXIPROXY,
    }


def image_doubts(engine: Engine) -> dict[str, str]:
    """What is amiss with each image: it is missing, or holds another version than this one. Raises EngineError."""
    ours, toxiproxy = images().values()
    doubts: dict[str, str] = {}
    labels = _labels(engine, ours)
    if labels is None:
        doubts[ours] = f"there is no image {ours}: make it with `make image`, or name another in STRAYBIT_IMAGE"
    elif labels.get(VERSION_LABEL) != version("straybit"):
        holds = labels.get(VERSION_LABEL, "something else")
        doubts[ours] = f"the image {ours} holds {holds}, and this is straybit {version('straybit')}: `make image`"
    if _labels(engine, toxiproxy) is None:
        doubts[toxiproxy] = (
            f"there is no image {toxiproxy}: `docker pull {toxiproxy}`, or name another in STRAYBIT_TOXIPROXY_IMAGE"
        )
    return doubts


def require_images(engine: Engine) -> None:
    """Raise BackendError with one line when an image is missing or of another version."""
    if doubts := image_doubts(engine):
        raise BackendError("; ".join(doubts.values()))


def _labels(engine: Engine, name: str) -> dict[str, str] | None:
    try:
        found: dict[str, Any] = engine.ask(_inspect(name), f"the image {name} cannot be looked at")
    except EngineError as error:
        if error.said == "not found":
            return None
        raise
    return (found.get("Config") or {}).get("Labels") or {}


def _inspect(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda api: api.inspect_image(name)
