"""What an idle node costs."""

import psutil

LIMIT_MB = 45


def test_an_idle_node_is_small(cluster):
    """Every node of an idle cluster has at most 45 MB resident, with pages that it shares counted in full."""
    resident = {s.name: psutil.Process(cluster.pid(s.name)).memory_info().rss / 1e6 for s in cluster.services()}
    assert max(resident.values()) <= LIMIT_MB, resident
