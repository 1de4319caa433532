# Every target makes the virtual environment it needs; nothing else has to be installed first.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
STRAYBIT_INSTALL ?= $(BIN)/pip install --quiet --disable-pip-version-check
OUT ?= straybit-out
BACKEND ?= process
SEEDS ?= 20
TWICE_FOR ?=
PYTEST_ARGS ?=
DEMO ?=
IMAGE_FOR_BACKEND := $(if $(filter docker,$(BACKEND)),image)

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "straybit needs Python 3.11 or newer, and none was found: install one, or say make PYTHON=/path/to/python3" >&2; exit 2; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(STRAYBIT_INSTALL) -c constraints.txt -e '.[all,dev]'
	@touch $@

.PHONY: demo test test-proofs test-docker unit check bench bench-sim sim verdicts clean
demo: $(VENV)/.ready $(IMAGE_FOR_BACKEND) ## both events of 2008, undefended then defended, and the report
	$(BIN)/straybit demo --backend $(BACKEND) $(DEMO)

NOT_HERE := and not docker and not fetched
test: $(VENV)/.ready ## what every change is tried against: both events and all that they rest on, minutes
	$(BIN)/pytest -n 2 -m 'not proof and not alone $(NOT_HERE)' $(PYTEST_ARGS)
	$(BIN)/pytest -m 'not proof and alone $(NOT_HERE)' $(PYTEST_ARGS)
	@docker info >/dev/null 2>&1 || echo "no test of containers can run here: no Docker engine answers (straybit doctor --backend docker says what to do)"
	@echo "more: make test-proofs, test-docker, conformance, s3-clients"

test-proofs: $(VENV)/.ready ## the long ones: every defence off and on, July's mechanisms, the damage table, storms, kills, weak nodes
	$(BIN)/pytest -n 2 -m 'proof and not alone $(NOT_HERE)' $(PYTEST_ARGS)
	$(BIN)/pytest -m 'proof and alone $(NOT_HERE)' $(PYTEST_ARGS)

test-docker: image ## the same suite on containers, and what only containers have; needs a Docker engine
	STRAYBIT_REQUIRE_DOCKER=1 $(BIN)/pytest -m docker $(PYTEST_ARGS)

unit: $(VENV)/.ready ## the tests that need no cluster
	$(BIN)/pytest -n 2 tests/unit -m 'not proof $(NOT_HERE)' $(PYTEST_ARGS)

check: $(VENV)/.ready ## ruff, mypy strict, import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/unit/test_arrows.py

bench: $(VENV)/.ready ## start of the cluster and one trial, measured here and now
	$(BIN)/python benchmarks/trial.py

bench-sim: $(VENV)/.ready ## the simulator's goals, measured here and now: 10,000 controls, July with 1,000 nodes; minutes
	$(BIN)/python benchmarks/sim.py

sim: $(VENV)/.ready ## the same with fewer trials and nodes
	$(BIN)/python benchmarks/sim.py --small

verdicts: $(VENV)/.ready $(IMAGE_FOR_BACKEND) ## each scenario, undefended and defended, SEEDS seeds: do all verdicts hold?
	$(BIN)/python benchmarks/verdicts.py --seeds $(SEEDS) --backend $(BACKEND) --out $(OUT)/verdicts $(if $(TWICE_FOR),--twice-for $(TWICE_FOR))

AGREE ?= sim,process
SAMPLE ?= 1000
LANES ?= 2
.PHONY: agree census
agree: $(VENV)/.ready $(if $(findstring docker,$(AGREE)),image) ## SAMPLE flips on the backends AGREE: do they end alike? each disagreement with both journals
	$(BIN)/straybit agree --backends $(AGREE) --sample $(SAMPLE) --lanes $(LANES)

census: $(VENV)/.ready ## every bit of a state message, undefended and defended, simulated and on processes; and controls
	$(BIN)/python benchmarks/census.py --backends sim --lanes 1 $(LANES) --controls 10000 --out $(OUT)/census
	$(BIN)/python benchmarks/census.py --backends process --lanes $(LANES) --controls 500 --out $(OUT)/census

.PHONY: controls july-24
controls: $(VENV)/.ready ## a thousand trials that change nothing, on processes with every defence on: nothing may be raised
	STRAYBIT_TRIALS=1000 $(BIN)/pytest --timeout 3600 tests/cluster/test_controls.py $(PYTEST_ARGS)

july-24: $(VENV)/.ready ## July 2008 with 24 storage nodes, undefended and defended, on processes, at a quarter of the speed; takes the whole machine
	$(BIN)/python benchmarks/verdicts.py --seeds 1 --backend process --out $(OUT)/july-24 --servers 8 16 --balancers 2 4 --only july-2008 --pace 4

CACHE ?= $(HOME)/.cache/straybit
TOXIPROXY := $(CACHE)/bin/server
export PATH := $(PATH):/usr/local/go/bin

$(TOXIPROXY):
	@command -v go >/dev/null || { echo "real Toxiproxy is built with Go, and there is none on the path: install Go 1.23 or newer" >&2; exit 2; }
	GOBIN=$(CACHE)/bin CGO_ENABLED=0 go install -ldflags '-s -w -X github.com/Shopify/toxiproxy/v2.Version=2.12.0' github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0

.PHONY: conformance bench-proxy proxy-long
conformance: $(VENV)/.ready $(TOXIPROXY) ## our proxy and real Toxiproxy side by side, and the clients for Node and Go
	@command -v npm >/dev/null || { echo "the client for Node is fetched with npm, and there is none on the path: install Node.js" >&2; exit 2; }
	STRAYBIT_CLIENTS=$(CACHE)/clients STRAYBIT_TOXIPROXY=$(TOXIPROXY) $(BIN)/pytest tests/unit/faults/test_clients.py tests/unit/faults/test_conformance.py tests/unit/faults/test_toxics.py $(PYTEST_ARGS)

bench-proxy: $(VENV)/.ready $(TOXIPROXY) ## our proxy beside Toxiproxy, as ratios; takes the whole machine for minutes
	STRAYBIT_TOXIPROXY=$(TOXIPROXY) $(BIN)/python benchmarks/proxy.py --json $(OUT)/bench-proxy.json

proxy-long: $(VENV)/.ready ## 105,000 flips over random cuts, and 10 GB compared byte by byte
	STRAYBIT_EXAMPLES=30000 $(BIN)/pytest --timeout 7200 --durations=4 tests/unit/faults/test_aim.py -k "no_other or repair or sockets"
	STRAYBIT_BULK_MB=10000 $(BIN)/pytest --timeout 7200 tests/unit/faults/test_toxics.py -k no_byte

.PHONY: s3-clients storage-long bench-s3
S3_CLIENTS := $(CACHE)/s3-clients
MOTO := 5.2.5
S3RVER := 3.7.1

$(S3_CLIENTS)/.ready: tests/unit/storage/clients/requirements.txt $(wildcard tests/unit/storage/clients/*/*)
	@command -v go >/dev/null || { echo "rclone is built with Go, and there is none on the path: install Go 1.23 or newer" >&2; exit 2; }
	$(S3_CLIENTS)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(S3_CLIENTS)
	$(S3_CLIENTS)/bin/pip install --quiet --disable-pip-version-check -r tests/unit/storage/clients/requirements.txt
	mkdir -p $(S3_CLIENTS)/rclone && cp tests/unit/storage/clients/rclone/* $(S3_CLIENTS)/rclone/
	cd $(S3_CLIENTS)/rclone && go mod tidy && CGO_ENABLED=0 go build -ldflags '-s -w' -o ../bin/rclone .
	mkdir -p $(S3_CLIENTS)/functional && cp tests/unit/storage/clients/functional/* $(S3_CLIENTS)/functional/
	cd $(S3_CLIENTS)/functional && cp -f "$$(go mod download -json github.com/minio/minio-go/v7 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')/functional_tests.go" . \
		&& go mod tidy && CGO_ENABLED=0 go build -o ../bin/functional functional_tests.go select.go
	@touch $@

s3-clients: $(VENV)/.ready $(S3_CLIENTS)/.ready ## aws cli, s3cmd, rclone and the MinIO client against a storage node
	STRAYBIT_S3_CLIENTS=$(S3_CLIENTS)/bin $(BIN)/pytest tests/unit/storage/test_clients.py $(PYTEST_ARGS)

$(CACHE)/bench-s3/.ready:
	@command -v npm >/dev/null || { echo "s3rver is fetched with npm, and there is none on the path: install Node.js" >&2; exit 2; }
	$(CACHE)/bench-s3/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(CACHE)/bench-s3
	$(CACHE)/bench-s3/bin/pip install --quiet --disable-pip-version-check 'moto[s3,server]==$(MOTO)'
	npm install --silent --no-audit --no-fund --prefix $(CACHE)/bench-s3 s3rver@$(S3RVER)
	@touch $@

bench-s3: $(VENV)/.ready $(CACHE)/bench-s3/.ready ## PUT and GET of 1 MiB beside moto's server and s3rver; wants the machine for itself
	$(BIN)/python benchmarks/s3.py --moto $(CACHE)/bench-s3/bin/moto_server --s3rver $(CACHE)/bench-s3/node_modules/.bin/s3rver --json $(OUT)/bench-s3.json

storage-long: $(VENV)/.ready ## 10,000 operations under kills and rot, and a long run of the store's model
	STRAYBIT_OPERATIONS=10000 STRAYBIT_ROT_EVERY=10 $(BIN)/pytest --timeout 7200 tests/cluster/test_storm.py
	STRAYBIT_MODEL_EXAMPLES=2000 $(BIN)/pytest --timeout 7200 tests/unit/storage/test_model.py

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
STRAYBIT_IMAGE ?= straybit:$(VERSION)
STRAYBIT_BASE ?= python:3.11-slim-bookworm
IMAGE_PYTHON ?= 3.11
STRAYBIT_TOXIPROXY_IMAGE ?= ghcr.io/shopify/toxiproxy:2.12.0
MACHINE := $(subst arm64,aarch64,$(shell uname -m))
WHEEL_PLATFORMS := $(foreach tag,manylinux_2_28 manylinux_2_17 manylinux2014,--platform $(tag)_$(MACHINE))

build/wheels/needed: nodes/requirements.txt constraints.txt | $(VENV)/.ready
	rm -rf $@ $@.new
	$(BIN)/pip download --quiet --disable-pip-version-check --only-binary :all: --python-version $(IMAGE_PYTHON) $(WHEEL_PLATFORMS) -c constraints.txt -r nodes/requirements.txt -d $@.new
	mv $@.new $@

.PHONY: wheels image
wheels: build/wheels/needed ## straybit, and what its nodes need, as wheels for the image's Python
	rm -rf build/wheels/own
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps -w build/wheels/own .

image: wheels ## the container image of nodes and proxy, and Toxiproxy's where it is missing
	@command -v docker >/dev/null || { echo "there is no docker client on the path: install Docker, or use the backend process" >&2; exit 2; }
	docker build --quiet --network none --build-arg BASE=$(STRAYBIT_BASE) --build-arg VERSION=$(VERSION) -t $(STRAYBIT_IMAGE) -f nodes/Dockerfile .
	@docker image inspect $(STRAYBIT_TOXIPROXY_IMAGE) >/dev/null 2>&1 || docker pull --quiet $(STRAYBIT_TOXIPROXY_IMAGE)

clean: ## removes what the targets made
	rm -rf $(VENV) $(OUT) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
