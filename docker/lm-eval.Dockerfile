# lm-evaluation-harness and our adapter, against an endpoint; no torch. No step of the pipeline runs in it.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS dependencies
ARG INDEX_URL
ARG EXTRA_INDEX_URL
WORKDIR /src
COPY docker docker
COPY requirements/build.lock requirements/lm-eval.lock requirements/
RUN --mount=type=cache,target=/var/cache/uv docker/install.sh dependencies requirements/lm-eval.lock

FROM dependencies AS library
COPY . .
RUN docker/install.sh library

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="opencharacter lm-eval" \
      org.opencontainers.image.description="Standard benchmarks of an endpoint, with lm-evaluation-harness" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 65532 opencharacter \
    && useradd --uid 65532 --gid 65532 --no-log-init --create-home --home-dir /var/opencharacter opencharacter
ENV PATH=/opt/opencharacter/bin:$PATH \
    HOME=/var/opencharacter \
    OPENCHARACTER_CACHE=/var/opencharacter/cache \
    HF_HUB_DISABLE_TELEMETRY=1 \
    PYTHONUNBUFFERED=1
COPY --from=dependencies /opt/opencharacter /opt/opencharacter
COPY --from=library /install /opt/opencharacter
USER 65532:65532
WORKDIR /var/opencharacter
# It does one run and ends; nothing is to be probed.
HEALTHCHECK NONE
CMD ["opencharacter", "evaluate", "lm-eval", "--help"]
