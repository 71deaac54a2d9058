#!/bin/sh
# Fills an image's virtual environment, /opt/opencharacter.
#   install.sh dependencies LOCK   everything but this project, as locked
#   install.sh library             this project, from /src into /install, a layer of its own above the dependencies
# Environment: FLAVOUR (cuda or cpu), VLLM_IN_BASE (1: what the base image holds is used, and left alone), INDEX_URL and
# EXTRA_INDEX_URL (package indexes; PyPI if empty).
set -eu

venv=/opt/opencharacter
uv=/opt/build/bin/uv
export UV_CACHE_DIR=/var/cache/uv UV_LINK_MODE=copy

uv_install() {
    "$uv" pip install --python "$venv/bin/python3" --no-deps \
        ${INDEX_URL:+--default-index "$INDEX_URL"} ${EXTRA_INDEX_URL:+--index "$EXTRA_INDEX_URL"} \
        --index-strategy unsafe-best-match "$@"
}

case "$1" in
dependencies)
    python3 -m venv /opt/build
    /opt/build/bin/pip install --quiet --no-cache-dir ${INDEX_URL:+--index-url "$INDEX_URL"} \
        ${EXTRA_INDEX_URL:+--extra-index-url "$EXTRA_INDEX_URL"} --requirement requirements/build.lock
    in_base=
    if [ "${VLLM_IN_BASE:-0}" = 1 ]; then in_base=--system-site-packages; fi
    python3 -m venv --without-pip $in_base "$venv"
    libraries=${FLAVOUR:-cuda}
    torch=$(grep -o '^torch==[^ ;]*' "$2" || true)
    if [ "$libraries" = cpu ] && [ -n "$torch" ] && ! uv_install --dry-run "$torch" 2>&1 | grep -q '+cpu'; then
        echo "no index here has a CPU build of $torch: its CUDA build is taken, which needs CUDA's libraries" >&2
        libraries=cuda
    fi
    "$venv/bin/python3" docker/missing.py "$2" "$libraries" >/tmp/missing.txt
    # DeepSpeed is built on top of the rest: its extensions are compiled against the torch that they run with.
    grep -v '^deepspeed==' /tmp/missing.txt >/tmp/wheels.txt
    uv_install --compile-bytecode --requirement /tmp/wheels.txt
    if deepspeed=$(grep -o '^deepspeed==[^ ;]*' /tmp/missing.txt); then
        if [ "${FLAVOUR:-cuda}" = cpu ]; then
            export DS_ACCELERATOR=cpu DS_BUILD_SHM_COMM=1
        else
            export DS_BUILD_FUSED_ADAM=1
        fi
        PATH="$venv/bin:$PATH" uv_install --no-build-isolation --no-cache --compile-bytecode "$deepspeed"
    fi
    ;;
library)
    "$uv" build --quiet --wheel --no-cache --build-constraints requirements/build.lock --out-dir /tmp/wheel \
        ${INDEX_URL:+--default-index "$INDEX_URL"} ${EXTRA_INDEX_URL:+--index "$EXTRA_INDEX_URL"} /src
    uv_install --no-cache --compile-bytecode --prefix /install /tmp/wheel/*.whl
    ;;
esac
