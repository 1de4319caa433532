"""A node's configuration from a container's environment."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from straybit_nodes.__main__ import main, shared_token
from straybit_nodes.contained import EnvironmentRefused, node_config
from straybit_nodes.gossip.rules import Rules
from straybit_nodes.topology import Topology


def test_an_empty_environment_is_the_default_cluster():
    """By hand: the default topology, every defence, running at once."""
    one = node_config("storage-3", {}, token="secret")
    assert one.members == Topology().members()
    assert "gossip-crc" in one.defences
    assert not one.held
    assert one.ticks
    assert one.log is None
    assert one.listen == ("10.208.0.13", 8000)


def test_the_environment_decides():
    """Every variable of compose.yaml changes what it names."""
    environment = {
        "STRAYBIT_TOPOLOGY": '{"regions":[{"name":"eu","servers":3,"balancers":0}],"storage":false}',
        "STRAYBIT_NET": "10.9.8",
        "STRAYBIT_DEFENCES": "none",
        "STRAYBIT_SEED": "7",
        "STRAYBIT_RULES": '{"slots":null}',
        "STRAYBIT_HELD": "true",
        "STRAYBIT_TICKS": "false",
        "STRAYBIT_ACCESS_KEY": "access",
        "STRAYBIT_SECRET_KEY": "key",
    }
    config = node_config("gossip-2", environment, token="secret")
    assert config.members == Topology.gossip_only(3).members()
    assert config.listen == ("10.9.8.12", 8000)
    assert {dial.host for dial in config.dials} == {"10.9.8.2"}
    assert (config.token, config.defences, config.seed, config.held, config.ticks) == ("secret", (), 7, True, False)
    assert config.rules == Rules(slots=None)
    assert (config.access_key, config.secret_key) == ("access", "key")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"STRAYBIT_SEED": "many"}, "STRAYBIT_SEED='many' cannot be read"),
        ({"STRAYBIT_TOPOLOGY": "[]"}, "STRAYBIT_TOPOLOGY='\\[\\]' cannot be read"),
        ({"STRAYBIT_DEFENCES": "luck"}, "unknown defence luck"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(environment, said):
    """One line, with the variable."""
    with pytest.raises(EnvironmentRefused, match=said):
        node_config("gossip-2", environment, token="secret")


def test_a_service_that_is_not_there_is_refused(capsys, monkeypatch):
    """The program says which services there are, and ends with 2."""
    monkeypatch.delenv("STRAYBIT_TOPOLOGY", raising=False)
    monkeypatch.setenv("STRAYBIT_TOKEN", "secret")
    assert main(["storage-99"]) == 2
    assert "there is no service 'storage-99'; this cluster has storage-1" in capsys.readouterr().err


def test_those_who_share_a_volume_agree_on_a_token(tmp_path):
    """Whoever comes first draws it, the others read it; only the owner may read the file, and no other is left."""
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: shared_token(tmp_path), range(32)))
    assert len(tokens) == 1
    assert len(tokens.pop()) == 32
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


def test_the_links_are_what_the_proxy_is_told(capsys, monkeypatch):
    """`links` prints them as POST /populate takes them."""
    monkeypatch.setenv("STRAYBIT_NET", "10.9.8")
    assert main(["links"]) == 0
    told = {link["name"]: link for link in json.loads(capsys.readouterr().out)}
    assert told.keys() == {link.name for link in Topology().links()}
    assert told["client:lb-1"] == {"name": "client:lb-1", "listen": "0.0.0.0:20000", "upstream": "10.9.8.27:8000"}
