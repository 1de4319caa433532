"""The page that lists every metric and every event is the code's."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from straybit_nodes.metrics import Metrics

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "observability.md").read_text()
METRICS, _, EVENTS = PAGE.partition("## Logs")


def rows(part):
    return set(re.findall(r"^\| `([a-z_-]+)` \|", part, re.MULTILINE))


def test_every_metric_is_on_the_page():
    """Names as a scrape has them; none is missing, and none is made up."""
    families = Metrics().registry.collect()
    names = {f"{family.name}_total" for family in families}
    assert rows(METRICS) == names
    assert all(re.fullmatch(r"straybit_[a-z_]+_total", name) for name in names)


def test_what_is_scraped_can_be_read():
    """The text form is Prometheus' own."""
    metrics = Metrics()
    metrics.detections.labels("scrub").inc()
    samples = [s for f in text_string_to_metric_families(metrics.text().decode()) for s in f.samples]
    assert ("straybit_detections_total", {"defence": "scrub"}, 1.0) in [(s.name, s.labels, s.value) for s in samples]


def test_every_event_is_on_the_page():
    """Whatever a node writes to its log, by the words in the code."""
    written = set()
    for source in (ROOT / "nodes").rglob("*.py"):
        text = source.read_text()
        written |= set(re.findall(r"log\.write\(\s*\"([a-z-]+)\"", text)) | set(
            re.findall(r"\bLog\(\"([a-z-]+)\"", text)
        )
    assert rows(EVENTS) == written
