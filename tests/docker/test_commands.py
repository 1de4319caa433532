"""The command line with `--backend docker`, as a user meets it."""

import json

import pytest

pytestmark = pytest.mark.docker


def test_a_scenario_runs_in_containers_and_leaves_nothing(straybit, things, tmp_path):
    """It exits 0, its result names the backend and real Toxiproxy's own list of toxics, and all is taken down."""
    before = things()
    done = straybit("run", "flip-under-latency", "--defences", "2008", "--backend", "docker", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["verdict"], result["backend"]) == ("met", "docker")
    (table,) = result["tables"]
    assert table["name"] == "toxics of Toxiproxy 2.12.0"
    assert table["rows"] == [["gossip-1:gossip-2", "latency", "upstream", "jitter=0, latency=200"]]
    assert set(things()) <= set(before)
