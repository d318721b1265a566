# Two commands do everything, set-up included: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test docs images notebooks bench faults deploy-check lint format types clean

demo: $(READY)
	$(BIN)/infomri demo $(ARGS)

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --durations 15

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict --quiet

# The pictures of the documentation, of a demo (ARGS='--run FOLDER': of one that is there).
images: $(READY)
	$(BIN)/python -W ignore -m benchmarks.images $(ARGS)

# The notebooks of examples/, executed in place (ARGS=segmentation: that one).
notebooks: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[notebooks]'
	$(BIN)/python -W ignore -m benchmarks.notebooks $(ARGS)

bench: $(READY)
	$(BIN)/python -W ignore -m benchmarks.bench --json bench.json $(ARGS)

faults: $(READY)
	$(BIN)/python -W ignore -m benchmarks.faults $(ARGS)

# Tools from the registry, then, as root, a federation out of the compose file without an engine.
TOOLS := $(abspath $(VENV))/deploy-tools
deploy-check: $(READY) $(TOOLS)/.ready
	INFOMRI_DEPLOY_TOOLS=$(TOOLS) $(BIN)/pytest tests/product/test_deploy_tools.py
	/usr/bin/python3 -m venv $(TOOLS)/image
	rm -rf build && $(TOOLS)/image/bin/pip install --quiet --no-compile --constraint constraints.txt '.[metrics,postgres,mlflow-auth]'
	$(BIN)/python -W ignore -m benchmarks.apart --environment $(TOOLS)/image

$(TOOLS)/.ready: deploy/tools.sh
	sh deploy/tools.sh $(TOOLS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)
	$(BIN)/mypy

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

$(VENV)/.docs: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $(VENV)/.docs

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
