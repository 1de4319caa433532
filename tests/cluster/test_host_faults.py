"""Kill, pause, restart: what was asked for is done and is no crash; what was not is one."""

import os
import signal

import pytest

from straybit.control import NodeSilentError
from straybit.observe import Observation
from straybit.steady import wait_steady


def test_killed_node_refuses_and_comes_back_at_its_port(gossip):
    """After a kill the port refuses; after the restart another process answers, at the same port where it is ours."""
    control = gossip.control("gossip-2")
    pid, address = gossip.pid("gossip-2"), control.address
    gossip.kill("gossip-2")
    assert not gossip.in_service("gossip-2")
    with pytest.raises(NodeSilentError, match="refused"):
        control.healthz()
    gossip.restart("gossip-2")
    assert control.healthz().state == "running"
    assert control.address == address or gossip.backend == "docker"  # whose engine publishes it anew
    assert gossip.pid("gossip-2") != pid
    wait_steady(gossip, budget_s=20)
    assert gossip.exits() == ()


def test_restarted_node_keeps_generation_and_heartbeats(gossip):
    """A restart keeps the generation, and the count of heartbeats goes on."""
    gossip.control("gossip-1").heartbeat()
    before = gossip.control("gossip-1").view().originated
    gossip.restart("gossip-1")
    after = gossip.control("gossip-1").view().originated
    assert after.generation == before.generation
    assert after.heartbeats >= before.heartbeats > 0


def test_paused_node_is_out_of_service_until_it_goes_on(gossip):
    """A paused node keeps its connections and answers nobody; unpaused it answers again."""
    control = gossip.control("gossip-3")
    control.healthz()
    gossip.pause("gossip-3")
    assert [s.name for s in gossip.services()] == ["gossip-1", "gossip-2"]
    with pytest.raises(NodeSilentError, match="time-out"):
        control.healthz()
    gossip.unpause("gossip-3")
    assert control.healthz().state == "running"
    wait_steady(gossip, budget_s=20)


def test_paused_node_can_be_restarted(gossip):
    """A restart works from whatever state a service is in."""
    gossip.pause("gossip-3")
    gossip.restart("gossip-3")
    assert gossip.control("gossip-3").healthz().state == "running"


def test_terminated_node_says_that_it_stopped(gossip):
    """A node that is asked to end does so in order, and its log says so."""
    mark = gossip.observers.mark()
    gossip.terminate("gossip-1")
    assert gossip.observers.wait_for(lambda o: (o.source, o.kind) == ("gossip-1", "stopped"), 5, since=mark)
    assert gossip.exits() == ()


def test_unasked_exit_is_an_event(gossip):
    """A process that ends unasked is listed with its signal, observed, and makes the cluster doubtful."""
    mark = gossip.observers.mark()
    os.kill(gossip.pid("gossip-2"), signal.SIGKILL)
    seen = gossip.observers.wait_for(lambda o: o.kind == "exit", 5, since=mark)
    assert isinstance(seen, Observation)
    assert (seen.source, seen.fields) == ("gossip-2", {"status": -signal.SIGKILL})
    assert [(e.service, e.status) for e in gossip.exits()] == [("gossip-2", -signal.SIGKILL)]
    assert "gossip-2 is not in service" in gossip.doubts()
