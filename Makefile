# Every target sets up what it needs: a virtual environment with the locked packages, then the exported models.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY    := $(VENV)/.ready
TORCH    := $(VENV)/.torch
HELM     := $(VENV)/.helm
MODELS   := $(VENV)/.models
COMPILED := $(VENV)/.compiled
# Wheels are not compiled whole: Python compiles the modules that it imports.
PIP    := --quiet --disable-pip-version-check --no-compile
VIDEO  ?=
AUDIO  ?=
WEB    ?=
CHAOS  ?=
SCALE  ?=
LIVE   ?=
comma  := ,
# Test processes, 0 for one alone; each starts its own servers and takes whole files, those of unit tests last, so that
# none works alone on a long one at the end.
WORKERS  ?= 0
PARALLEL := $(if $(filter-out 0,$(WORKERS)),-n $(WORKERS) --dist loadfile --no-loadscope-reorder)
# ONNX Runtime would report its use to Microsoft.
export ORT_DISABLE_TELEMETRY := 1
# Containers often set it; each of the many processes would then compile all that it imports, which doubles their start.
export PYTHONDONTWRITEBYTECODE :=

# $(call check_python,CONDITION,WANTED,TARGET) fails in one line where Python's version v does not fit.
check_python = $(PYTHON) -c 'import sys; v = sys.version_info[:2]; $(1) or sys.exit("make: expected Python $(2), got %d.%d. Name another: make $(3) PYTHON=python3.12" % v)'

.PHONY: setup models docs demo test test-client test-long check-platforms lint serve web bench regression live-long chaos scale lock clean
.DELETE_ON_ERROR:

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(call check_python,(3$(comma) 11) <= v <= (3$(comma) 12),3.11 or 3.12,setup)
	@echo 'installing packages into $(VENV), which takes a minute or two'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP) -c constraints.txt -e '.[server,export,web,perf,dev]'
	touch $@

# torch is heavy: only the export of torch checkpoints and the checks need it.
$(TORCH): $(READY)
	$(BIN)/python -m pip install $(PIP) -c constraints.txt -e '.[server,export,torch,web,perf,dev]'
	touch $@

# Helm's library for the tests of the chart, which skip without it. Only its wrapper, unused here, needs Python 3.12.
$(HELM): $(READY)
	-$(BIN)/python -m pip install $(PIP) --no-deps --ignore-requires-python helm-sdkpy==0.1.32
	touch $@

models: $(MODELS)

$(MODELS): $(READY) $(wildcard export/*/*.py export/*.py)
	$(BIN)/python -m export faces
	$(BIN)/python -m export voice
	touch $@

demo: $(MODELS)
	$(BIN)/python -m client.demo $(if $(VIDEO),--video '$(VIDEO)') $(if $(AUDIO),--audio '$(AUDIO)')

test: $(MODELS) $(TORCH) $(HELM)
	$(MAKE) --no-print-directory --jobs 2 lint $(COMPILED)
	REQUIRE_SERVER=1 $(if $(PARALLEL),OMP_NUM_THREADS=1) $(BIN)/python -m pytest $(PARALLEL)

# Lets Python compile what the tests import, while the other core checks types: several processes would each do it.
$(COMPILED): $(TORCH)
	-$(BIN)/python -m pytest --collect-only --quiet > /dev/null
	touch $@

# The client alone, with the newest packages: make test-client PYTHON=python3.13
CLIENT_TESTS := $(addprefix tests/unit/test_,batch.py command_line.py extras.py flow.py job.py latentsync_length.py media_*.py musetalk_client.py portability.py report.py server*.py signals.py silence.py speaking.py speech_*.py terminal.py tracking.py wav2lip_client.py work_folder.py)
test-client:
	@$(call check_python,v >= (3$(comma) 11),3.11 or later,test-client)
	$(PYTHON) -m venv $(VENV)-client
	$(VENV)-client/bin/python -m pip install $(PIP) -e . 'pytest>=9,<10' 'cryptography>=46,<51'
	$(VENV)-client/bin/python -m pytest $(CLIENT_TESTS)

# Whether the client's packages have wheels for other systems; asks the package index.
check-platforms: $(READY)
	$(BIN)/python tests/check_platforms.py

# What is too long for every change: networks at full size, in half precision, compiled, and as torch programs.
test-long: $(MODELS) $(TORCH)
	REQUIRE_SERVER=1 $(BIN)/python -m pytest -m long

lint: $(TORCH)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/check_types.py

docs: $(READY)
	$(BIN)/python -m client.cli.reference README.md docs/*.md docs/scene.schema.json docker/chart/files/dashboard.json

serve: $(MODELS)
	$(BIN)/lipsync serve

# make web WEB='--port 9000 --workers 2'
web: $(MODELS)
	$(BIN)/python -m client.web $(WEB)

# Times every pipeline from file to file and every model under load, and reports both. make bench VIDEO=in.mp4 AUDIO=speech.wav
bench: $(MODELS)
	$(BIN)/python -m perf install-perf-analyzer
	$(BIN)/python -m perf benchmark $(if $(VIDEO),--sample 'own=$(VIDEO)$(comma)$(AUDIO)')
	$(BIN)/python -m perf sweep
	$(BIN)/python -m perf report build/perf/benchmark build/perf/sweep

# Compares a few ratios of times with their limits, to notice when something became much slower.
regression: $(MODELS)
	$(BIN)/python -m perf regression

# Watches a server's memory over an hour of live streams at the fastest pace. Shorter: make live-long LIVE='--seconds 600'
live-long: $(MODELS)
	$(BIN)/python -m perf live --pace fast --sessions 2 --seconds 3600 --output build/perf/live-long $(LIVE)

# Damages media and breaks servers, clients, disks and clocks. make chaos CHAOS='--only client --json chaos.json'
chaos: $(MODELS)
	$(BIN)/python -m tests.chaos $(CHAOS)
	$(BIN)/python -m pytest -m server tests/server/test_live_faults.py tests/server/test_live_chaos.py

# Measures a batch on a Ray cluster of three nodes on this machine. make scale SCALE='--only accidents --jobs 50'
scale: $(READY)
	$(BIN)/python -m tests.scale $(SCALE)

# Rewrite constraints.txt from the ranges in pyproject.toml.
lock:
	@$(call check_python,(3$(comma) 11) <= v <= (3$(comma) 12),3.11 or 3.12,lock)
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install $(PIP) '.[server,export,torch,web,perf,dev]'
	$(VENV)-lock/bin/python -m pip freeze --exclude lipsync-triton | sed 's/+cpu$$//' > constraints.txt
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) build demo
