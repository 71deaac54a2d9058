# Fine-tuning: torch, TRL, peft, and DeepSpeed with its extensions compiled ahead. gcc stays, for Triton.
ARG CUDA_BUILD_IMAGE=nvidia/cuda:13.0.2-devel-ubuntu24.04
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-base-ubuntu24.04

FROM ${CUDA_BUILD_IMAGE} AS dependencies
ARG INDEX_URL
ARG EXTRA_INDEX_URL
ARG FLAVOUR=cuda
# Ampere to Blackwell.
ARG TORCH_CUDA_ARCH_LIST="8.0;8.6;8.9;9.0;10.0;12.0"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY docker docker
COPY requirements/build.lock requirements/training.lock requirements/
RUN --mount=type=cache,target=/var/cache/uv docker/install.sh dependencies requirements/training.lock

FROM dependencies AS library
COPY . .
RUN docker/install.sh library

FROM ${CUDA_IMAGE}
LABEL org.opencontainers.image.title="opencharacter training" \
      org.opencontainers.image.description="Pipeline step: supervised fine-tuning" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev libgomp1 python3-dev \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 65532 opencharacter \
    && useradd --uid 65532 --gid 65532 --no-log-init --create-home --home-dir /var/opencharacter opencharacter
ENV PATH=/opt/opencharacter/bin:$PATH \
    HOME=/var/opencharacter \
    OPENCHARACTER_CACHE=/var/opencharacter/cache \
    GIT_PYTHON_REFRESH=quiet \
    PYTHONUNBUFFERED=1
COPY --from=dependencies /opt/opencharacter /opt/opencharacter
COPY --from=library /install /opt/opencharacter
USER 65532:65532
WORKDIR /var/opencharacter
# A pod of this image does one step and ends: the pipeline gives the command, and nothing is to be probed.
HEALTHCHECK NONE
CMD ["opencharacter", "--help"]
