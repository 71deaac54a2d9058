# Synthesis and evaluation: vLLM, as the base image holds it (VLLM_IN_BASE=1) or as locked (VLLM_IN_BASE=0; FLAVOUR
# cuda or cpu). gcc stays, for Triton.
ARG VLLM_IMAGE=vllm/vllm-openai:v0.32.0

FROM ${VLLM_IMAGE} AS dependencies
ARG INDEX_URL
ARG EXTRA_INDEX_URL
ARG VLLM_IN_BASE=1
ARG FLAVOUR=cuda
WORKDIR /src
COPY docker docker
COPY requirements/build.lock requirements/synthesis.lock requirements/synthesis-cuda.lock \
     requirements/synthesis-cpu.lock requirements/
RUN --mount=type=cache,target=/var/cache/uv \
    if [ "$VLLM_IN_BASE" = 1 ]; then lock=synthesis; else lock="synthesis-$FLAVOUR"; fi \
    && docker/install.sh dependencies "requirements/$lock.lock" \
    && /opt/opencharacter/bin/python3 -c "import importlib.util, sys; sys.exit(not importlib.util.find_spec('vllm'))"

FROM dependencies AS library
COPY . .
RUN docker/install.sh library

FROM ${VLLM_IMAGE}
LABEL org.opencontainers.image.title="opencharacter synthesis" \
      org.opencontainers.image.description="Pipeline steps: synthesis and evaluation, with vLLM" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 0
# The official image has what vLLM needs. libnuma is the CPU build's.
ARG VLLM_IN_BASE=1
RUN if [ "$VLLM_IN_BASE" != 1 ]; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends gcc libc6-dev libgomp1 libnuma1 python3-dev \
        && rm -rf /var/lib/apt/lists/*; \
    fi
RUN groupadd --gid 65532 opencharacter \
    && useradd --uid 65532 --gid 65532 --no-log-init --create-home --home-dir /var/opencharacter opencharacter
ENV PATH=/opt/opencharacter/bin:$PATH \
    HOME=/var/opencharacter \
    OPENCHARACTER_CACHE=/var/opencharacter/cache \
    HF_HUB_DISABLE_TELEMETRY=1 \
    VLLM_NO_USAGE_STATS=1 \
    PYTHONUNBUFFERED=1
COPY --from=dependencies /opt/opencharacter /opt/opencharacter
COPY --from=library /install /opt/opencharacter
USER 65532:65532
WORKDIR /var/opencharacter
ENTRYPOINT []
# A pod of this image does one step and ends: the pipeline gives the command, and nothing is to be probed.
HEALTHCHECK NONE
CMD ["opencharacter", "--help"]
