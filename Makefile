# make demo   lab of real hosts, then runbooks/deploy.py on it      make lab-up / lab-down   only the lab
# make test   lint, unit tests and lab tests                        make lint, make unit     parts of it
# make thorough   the same with each lab test: also those whose claim a faster test holds, and etcd 3.6 and 3.7
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Labs that are up side by side in `make test`: a test waits more than it computes.
LABS ?= 3
# Processes for the unit tests: some of them wait, too.
UNITS ?= 3
# Shell that is read by a linter; what runs on hosts runs in dash and in busybox.
SHELL_FILES := $(wildcard etcdfleet/remote/scripts/*.sh lab/*.sh)
export PYTHONUNBUFFERED = 1
# Tests start the runbooks hundreds of times: compiled once, not each time, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test thorough lint unit format lab-up lab-down bench setup system browser

demo: setup system
	$(BIN)/python -m lab up
	. .lab/demo/env && $(BIN)/python runbooks/deploy.py --config .lab/demo/config.yaml

# Linters and unit tests side by side, once there is the shell of hosts for both; the lab has the machine to itself.
test: setup
	@sh lab/system.sh --lint
	@$(MAKE) --no-print-directory --jobs=2 lint unit
	@$(MAKE) --no-print-directory system browser
	$(BIN)/python -m pytest tests/lab --numprocesses $(LABS) --durations=20

thorough: export ETCDFLEET_THOROUGH = 1
# One of each minor version that no distribution has, compiled once and kept.
thorough: export ETCDFLEET_BUILD_ETCD ?= 3.5.33,3.6.14,3.7.1
# Emulated hosts need a core each.
thorough: LABS = 2
thorough: test

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@sh lab/system.sh --lint
	@shellcheck $(SHELL_FILES) .ci/run runbooks/completion.bash
	@for file in $(SHELL_FILES); do busybox ash -n "$$file" || exit 1; done
	$(BIN)/mypy

unit: setup
	$(BIN)/python -m pytest tests/unit --numprocesses $(UNITS)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lab-up: setup system
	$(BIN)/python -m lab up

lab-down: setup
	$(BIN)/python -m lab down

bench: setup system
	$(BIN)/python -m tests.bench.noop
	$(BIN)/python -m tests.bench.status
	$(BIN)/python -m tests.bench.backup

setup: $(VENV)/.stamp

system:
	@sh lab/system.sh

browser:
	@sh lab/system.sh --browser

$(VENV)/.stamp: requirements/dev.txt
	@sh lab/system.sh --python "$(PYTHON)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	touch $@
