# Mixing, registry, gate, deployment and report: the steps that need neither a GPU nor torch.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS dependencies
ARG INDEX_URL
ARG EXTRA_INDEX_URL
WORKDIR /src
COPY docker docker
COPY requirements/build.lock requirements/tools.lock requirements/
RUN --mount=type=cache,target=/var/cache/uv docker/install.sh dependencies requirements/tools.lock

FROM dependencies AS library
COPY . .
RUN docker/install.sh library

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="opencharacter tools" \
      org.opencontainers.image.description="Pipeline steps: mixing, registry, gate, deployment, report" \
      org.opencontainers.image.licenses="Apache-2.0"
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
