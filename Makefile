# The entry points. `make help` lists them.
SHELL := /bin/bash
VENV ?= .venv
PY := $(VENV)/bin/python
BIN := $(VENV)/bin
JOBS ?= 2
# System tests wait more than they work. More than two for each core begin only while a core is idle (tests/system/places.py).
SYSTEM_JOBS ?= $(shell expr $(JOBS) '*' 4)
STAMP := $(VENV)/.installed
# Whoever forbids byte code has each of the suite's hundreds of processes compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
SECONDS_EACH ?= 300
SEEDS ?= 10000
READS ?= 10000
FROM ?= 0
SCHEDULES ?= 3000
DAYS ?= 7
POINTS ?= 100
CUTS ?= 50

.PHONY: help install apt demo test lint check contracts unit system sim sim-debug twins fuzz soak bus broker kills week bench faults matrix copies docs format clean

help: ## list the entry points
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	@test -x $(PY) || python3 -c 'import ensurepip' 2>/dev/null || tests/system/install_packages.sh python3-venv
	@test -x $(PY) || python3 -m venv $(VENV)
	@echo "installing Skerry and its tools into $(VENV) (a few minutes the first time)"
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[cloud,edge,dev]'
	@touch $@

install: $(STAMP) ## a virtual environment with everything

apt: ## Debian packages that the system tests and the demo use, when this machine may install them
	@tests/system/install_packages.sh

demo: $(STAMP) apt ## a cloud, two gateways, a PLC and a sensor, a cut link and a power cut (KEEP=1 leaves it running)
	@$(PY) examples/01-one-fleet/demo.py $(if $(KEEP),--keep)

lint: $(STAMP) ## format, lint and directions of imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

check: lint ## lint, types, repo rules, and 200 seeds of simulated disconnection
	@types=$$(mktemp); $(BIN)/basedpyright >"$$types" 2>&1 & checking=$$!; \
	  $(BIN)/pytest -q tests/repo tests/sim -n $(JOBS); code=$$?; \
	  wait $$checking || code=1; cat "$$types"; rm -f "$$types"; exit $$code

# Types are checked in whatever the tests leave of the processors: that has no deadline. Files of system tests are
# rewritten for pytest by one process first, or each worker would do it.
test: lint apt ## everything: check, unit and contract tests, system tests
	@types=$$(mktemp); nice -n 19 $(BIN)/basedpyright >"$$types" 2>&1 & checking=$$!; \
	  nice -n 5 $(BIN)/pytest -q -m system --collect-only >/dev/null & collecting=$$!; \
	  $(BIN)/pytest -q -m 'not system' -n $(JOBS) && { wait $$collecting; true; } && \
	  $(BIN)/pytest -q -m system -n $(SYSTEM_JOBS) --dist loadfile --no-loadscope-reorder; code=$$?; \
	  wait $$checking || code=1; cat "$$types"; rm -f "$$types"; exit $$code

contracts: $(STAMP) ## unit and contract tests, without what `make check` has
	@$(BIN)/pytest -q --ignore=tests/repo --ignore=tests/sim -m 'not system' -n $(JOBS)

unit: $(STAMP) ## the fast tests alone
	@$(BIN)/pytest -q -m 'not system' -n $(JOBS)

system: $(STAMP) apt ## tests with real processes, sockets, brokers and clients
	@$(BIN)/pytest -q -m system -n $(SYSTEM_JOBS) --dist loadfile --no-loadscope-reorder

sim: $(STAMP) ## SEEDS=10000 of simulated disconnection on all cores, FROM=0; what fails is shrunk and kept
	@$(PY) -m tests.sim.run --seeds $(SEEDS) --from $(FROM) $(if $(filter command\ line environment,$(origin JOBS)),--jobs $(JOBS))

sim-debug: $(STAMP) ## step through one simulated world: SEED=17, or a file that a failing seed left (PLANT=no_fencing: with a bug)
	@$(PY) -m tests.sim.debug $(if $(SEED),$(SEED),$(error which world? SEED=17, or SEED=a file that a failing seed left)) $(if $(PLANT),--plant $(PLANT))

twins: $(STAMP) ## SCHEDULES=3000 of writes on both sides, for each policy: cut links, wrong clocks, restarts, restored clouds
	@SKERRY_TWIN_SCHEDULES=$(SCHEDULES) $(BIN)/pytest -q tests/edgecore/twins/test_schedules.py -n $(JOBS)

fuzz: $(STAMP) ## look for new hostile inputs, SECONDS_EACH=300 for each target and way, guided by coverage where atheris can be had
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[fuzz]' || echo "atheris can't be installed here"
	@for target in codec report edge cloud; do \
	  $(PY) -m tests.fuzz.guided $$target $(SECONDS_EACH) || exit 1; \
	  $(PY) -m tests.fuzz.search $$target --seconds $(SECONDS_EACH) || exit 1; \
	done

soak: $(STAMP) apt ## the whole disconnect suite on real processes, every fault of the catalogue (20 minutes)
	@SKERRY_SOAK=1 $(BIN)/pytest -q -m system tests/system/test_testkit_suite.py

bus: $(STAMP) apt ## READS=10000 on every kind of Modbus line with late, damaged, doubled and cut answers: none may be wrong (an hour)
	@SKERRY_BUS_READS=$(READS) $(BIN)/pytest -q --timeout 7200 tests/devices/modbus/test_wire_lines.py tests/devices/modbus/test_driver.py -k 'late or wrong'

broker: $(STAMP) apt ## the embedded broker under a hundred kills, and under users who mean ill: 10,000 connections, a million filters
	@SKERRY_BROKER_KILLS=100 SKERRY_BROKER_HOSTILE=1 $(BIN)/pytest -q -s -n 0 tests/system/test_broker.py tests/system/test_broker_hostile.py -k 'kills or whatever'

kills: $(STAMP) ## kill -9 a gateway's store at a hundred random points of taking readings: none that it acknowledged is lost
	@SKERRY_KILLS=100 $(BIN)/pytest -q -m system tests/system/test_edge_store_crash.py

week: $(STAMP) ## DAYS=7 without a link at POINTS=100 a second, in virtual time on real stores, and the way back (hours)
	@SKERRY_WEEK_DAYS=$(DAYS) SKERRY_WEEK_POINTS=$(POINTS) $(BIN)/pytest -q -s tests/sim/test_week.py -k a_week -n 0

bench: $(STAMP) ## measure against the budgets; results in benchmarks/results
	@$(PY) -m benchmarks

faults: $(STAMP) apt ## fault cases on real links and processes, a figure each, into docs/reference/faults.md; CASES="half-open 12" runs some
	@$(PY) -m benchmarks.faults --page $(CASES)

matrix: $(STAMP) apt ## a gateway left alone in each way, while it does each thing: a figure each, into docs/reference/offline-matrix.md; CUTS=50 of power in each column
	@$(PY) -m benchmarks.matrix --page --points $(CUTS)

copies: $(STAMP) apt ## a gigabyte through `kubectl cp` each way, over WebSocket and QUIC, while setpoints and twins go past it
	@SKERRY_LARGE_COPY=1 $(PY) -m pytest -q -n 0 -s tests/system/test_copies_beside_state.py

docs: $(STAMP) ## draw the diagrams and reference pages that are made from the code
	@$(PY) docs/generate.py

format: $(STAMP) ## put the code into its one form
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean:
	@rm -rf .venv build .pytest_cache .ruff_cache .demo
