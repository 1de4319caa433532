"""Does the proxy's benchmark say whether each goal is met?"""

import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("bench_proxy", Path(__file__).parents[2] / "benchmarks" / "proxy.py")
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)

GOOD = {
    "idle_kb": {"ours": 1.3, "toxiproxy": 28.0},
    "stalled_kb": {"ours": 0.8, "toxiproxy": 202.0},
    "crowd": {"held": True, "alone": [10.0, 11.0, 12.0], "beside": [10.0, 11.0, 13.0]},
    "disturbed": {"alone": [50.0], "beside": [80.0, 90.0, 99.0]},
    "toxics": {
        "ours": {"p50_ms": 0.9, "p99_ms": 43.0, "rate_percent": 0.08},
        "toxiproxy": {"p50_ms": 1.0, "p99_ms": 80.0, "rate_percent": 0.93},
    },
}


def test_every_goal_has_its_row(capsys):
    """With goal, spread where there are samples, and met."""
    rows = {row["work"]: row for row in bench.report_small(GOOD)}
    assert list(rows) == list(bench.SMALL)
    assert {row["met"] for row in rows.values()} == {True}
    assert (rows["disturbed"]["least"], rows["disturbed"]["median"], rows["disturbed"]["most"]) == (1.6, 1.8, 1.98)
    assert rows["p99_ms"]["goal"] == 80.0
    assert "MISSED" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("idle_kb", {"ours": 2.1}),
        ("stalled_kb", {"ours": 101.0}),
        ("crowd", {"held": True, "alone": [10.0], "beside": [11.5]}),
        ("crowd", {"held": False, "alone": [10.0], "beside": [10.0]}),
        ("disturbed", {"alone": [10.0], "beside": [21.0]}),
    ],
)
def test_a_goal_that_is_missed_is_said(capsys, key, bad):
    """In its row, and in no other."""
    rows = bench.report_small({**GOOD, key: bad})
    assert [row["work"] for row in rows if not row["met"]] == [key]
    assert capsys.readouterr().out.count("MISSED") == 1


def test_without_toxiproxy_nothing_is_claimed_about_it(capsys):
    """A goal that is measured against it is neither met nor missed."""
    rows = bench.report_small({**GOOD, "toxics": {"ours": GOOD["toxics"]["ours"]}})
    assert [row["work"] for row in rows if row["met"] is None] == ["p50_ms", "p99_ms", "rate_percent"]
    assert "MISSED" not in capsys.readouterr().out
