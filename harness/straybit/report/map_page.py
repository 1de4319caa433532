"""map.html: one file without scripts or network, from a map alone; and the files of a campaign's folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from straybit.campaign.map import Map
from straybit.outcome import DANGEROUS, Outcome
from straybit.report import map_draw, map_words

__all__ = ["map_html", "write_map"]

_NOT_TESTED = (
    "other messages of this link, and other links",
    "this message with other contents: its values are those of the recording",
    "more than one bit at a time",
    "what timers, rumours and retries would do afterwards: rounds were stepped",
)


def map_html(found: Map, *, replay: str = "") -> str:
    """The page. The same map gives the same bytes. `replay` is the command for a trial, with `ID` in its place."""
    return _template().render(
        map=found,
        words=map_words,
        drawing=map_draw.layout(found),
        outcomes=[outcome for outcome in Outcome if outcome is not Outcome.INVALID],
        dangerous=DANGEROUS,
        not_tested=_NOT_TESTED,
        replay=replay,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("straybit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"slug": str.lower}
    return environment.get_template("map.html.j2")


def write_map(found: Map, folder: Path) -> Path:
    """Write map.html, map.json and map.txt; answers with the page's path. Raises OSError."""
    (folder / "map.json").write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    (folder / "map.txt").write_text(map_words.map_text(found))
    page = folder / "map.html"
    page.write_text(map_html(found, replay=f"straybit replay ID --run {folder}"))
    return page
