"""compose.yaml, from a topology: every service in a container of its own, each link through both proxies. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

import msgspec

from straybit_nodes.contained import API, BACK, CONTROL, FRONT, LISTEN, NET, Layout
from straybit_nodes.topology import CLIENT, Kind, Service, Topology

__all__ = ["OWNER", "RUN", "S3_PORT", "compose_yaml"]

RUN, OWNER = "straybit.run", "straybit.owner"
"""Labels of everything: the run's id, and the process that it ends with."""
S3_PORT = 2008
"""Where the first balancer is reached, unless STRAYBIT_S3_PORT says otherwise."""

_NET = f"${{STRAYBIT_NET:-{NET}}}"

_HEAD = """\
# The reference cluster in containers: each directed link through real Toxiproxy, and straybit's own proxy behind it.
# Written by `straybit compose` from nodes/straybit_nodes/topology.py; change that, and write it again.
#
#   make image
#   docker compose up --wait
#   aws --endpoint-url http://127.0.0.1:{s3_port} s3 mb s3://bucket     (any key and secret will do)
#   docker compose down -v
#
# Nothing is published beyond 127.0.0.1. Every service talks on the network `cluster` alone, which leads nowhere else;
# `control` is there to publish ports: an engine does not publish those of an internal network.
# STRAYBIT_ACCESS_KEY and STRAYBIT_SECRET_KEY have clients sign with them, and with nothing else.
# STRAYBIT_S3_PORT, STRAYBIT_NET (three numbers of a /24), STRAYBIT_DEFENCES, STRAYBIT_TOKEN (of the control ports),
# STRAYBIT_IMAGE, STRAYBIT_BASE and STRAYBIT_TOXIPROXY_IMAGE replace what stands here.
name: straybit

x-labels: &labels
  {run}: ${{STRAYBIT_RUN:-by-hand}}
  {owner}: ${{STRAYBIT_OWNER:-}}

x-bounds: &bounds
  init: true # a process with the number 1 would ignore SIGTERM
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  labels: *labels
  logging:
    driver: json-file
    options: {{max-size: 64m, max-file: "2"}}

x-ours: &ours
  <<: *bounds
  image: ${{STRAYBIT_IMAGE:-straybit:{version}}}
  pull_policy: never # it is made here, by `make image`
  read_only: true
  tmpfs: [/tmp]
  mem_limit: 512m
  pids_limit: 64
  environment:
    STRAYBIT_TOPOLOGY: '{topology}'
    STRAYBIT_NET: {net}
    STRAYBIT_TOKEN: ${{STRAYBIT_TOKEN:-}}
    STRAYBIT_DEFENCES: ${{STRAYBIT_DEFENCES:-all}}
    STRAYBIT_SEED: ${{STRAYBIT_SEED:-0}}
    STRAYBIT_RULES: ${{STRAYBIT_RULES:-}}
    STRAYBIT_HELD: ${{STRAYBIT_HELD:-false}}
    STRAYBIT_TICKS: ${{STRAYBIT_TICKS:-true}}
    STRAYBIT_ACCESS_KEY: ${{STRAYBIT_ACCESS_KEY:-}}
    STRAYBIT_SECRET_KEY: ${{STRAYBIT_SECRET_KEY:-}}

x-node: &node
  <<: *ours
  depends_on: [{front}, {back}]
  volumes: ["data:/data"]
  ports: ["127.0.0.1::{control}"]
"""

_PROXIES = """
services:
  {front}:
    <<: *bounds
    image: ${{STRAYBIT_TOXIPROXY_IMAGE:-ghcr.io/shopify/toxiproxy:2.12.0}}
    command: ["-host=0.0.0.0", "-config=/links.json"]
    configs: [{{source: links, target: /links.json}}]
    user: "65534:65534"
    environment: {{LOG_LEVEL: error}} # it has up to eight lines for a connection, and each request makes a dozen
    mem_limit: 512m
    pids_limit: 256
    ports: [{front_ports}]
    networks: {{cluster: {{ipv4_address: "{front_address}"}}, control: {{}}}}

  {back}:
    <<: *ours
    build:
      context: .
      dockerfile: nodes/Dockerfile
      network: none
      args:
        BASE: ${{STRAYBIT_BASE:-python:3.11-slim-bookworm}}
        VERSION: {version}
    entrypoint: ["sh", "-c"]
    command:
      - python3 -P -m straybit_nodes links >/tmp/links.json &&
        exec python3 -P -m straybit_faults.proxy --host 0.0.0.0 --config /tmp/links.json
    ports: ["127.0.0.1::{api}"]
    networks: {{cluster: {{ipv4_address: "{back_address}"}}, control: {{}}}}
"""

_HEALTH = """\
    healthcheck: # a request through the whole cluster, from a shell: a Python would cost ten times as much
      test:
        - CMD
        - bash
        - -c
        - >-
          exec 3<>/dev/tcp/{address}/{port} &&
          printf 'GET / HTTP/1.1\\r\\nHost: probe\\r\\nConnection: close\\r\\n\\r\\n' >&3 &&
          read -r _ code _ <&3 && [[ $$code = 200 || $$code = 403 ]]
      interval: 5s
      timeout: 3s
      retries: 12
      disable: ${{STRAYBIT_NO_HEALTHCHECK:-false}} # a trial counts messages, and these would be among them
"""

_TAIL = """
networks:
  cluster:
    internal: true
    labels: *labels
    ipam: {{config: [{{subnet: "{net}.0/24"}}]}}
  control:
    labels: *labels
    driver_opts:
      com.docker.network.bridge.enable_icc: "false"
      com.docker.network.bridge.enable_ip_masquerade: "false"

volumes:
  data: # in memory, so that a busy disk does not look like a slow server; it lasts while any node runs
    labels: *labels
    driver: local
    driver_opts: {{type: tmpfs, device: tmpfs, o: "size=1g,mode=1777"}}

configs:
  links: # what Toxiproxy is told; straybit's proxy makes the same links for itself, on the same ports
    content: |
      [
{links}
      ]
"""


def compose_yaml(topology: Topology = Topology()) -> str:  # noqa: B008 - frozen
    """The file's text. Raises ValueError for a topology that containers cannot hold."""
    layout = Layout(topology, _NET)
    head = _HEAD.format(
        version=version("straybit"),
        topology=msgspec.json.encode(topology).decode(),
        net=_NET,
        run=RUN,
        owner=OWNER,
        front=FRONT,
        back=BACK,
        control=CONTROL,
        s3_port=S3_PORT,
    )
    proxies = _PROXIES.format(
        front=FRONT,
        back=BACK,
        api=API,
        front_ports=", ".join(f'"127.0.0.1:{port}"' for port in _front_ports(layout)),
        front_address=layout.address(FRONT),
        back_address=layout.address(BACK),
        version=version("straybit"),
    )
    nodes = "".join(_node(service, layout) for service in topology.services())
    return head + proxies + nodes + _TAIL.format(net=_NET, links=",\n".join(_links(layout)))


def _front_ports(layout: Layout) -> Iterator[str]:
    """Toxiproxy's API, and the clients' links; the first of them where a user can guess it."""
    yield f":{API}"
    clients = [link.name for link in layout.topology.links() if link.caller == CLIENT]
    for number, name in enumerate(clients):
        published = f"${{STRAYBIT_S3_PORT:-{S3_PORT}}}" if number == 0 else ""
        yield f"{published}:{layout.ports[name]}"


def _node(service: Service, layout: Layout) -> str:
    address = layout.address(service.name)
    lines = [
        "",
        f"  {service.name}:",
        "    <<: *node",
        f"    command: [straybit_nodes, {service.name}]",
        f'    networks: {{cluster: {{ipv4_address: "{address}"}}, control: {{}}}}',
        "",
    ]
    health = _HEALTH.format(address=address, port=LISTEN) if service.kind is Kind.BALANCER else ""
    return "\n".join(lines) + health


def _links(layout: Layout) -> Iterator[str]:
    for name, listen, upstream in layout.in_front():
        yield f'        {{"name": "{name}", "listen": "{listen}", "upstream": "{upstream}"}}'
