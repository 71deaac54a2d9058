# The KServe transformer: a chat request with a character in, the model server's answer out.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS dependencies
ARG INDEX_URL
ARG EXTRA_INDEX_URL
WORKDIR /src
COPY docker docker
COPY requirements/build.lock requirements/serving.lock requirements/
RUN --mount=type=cache,target=/var/cache/uv docker/install.sh dependencies requirements/serving.lock

FROM dependencies AS library
COPY . .
RUN docker/install.sh library

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="opencharacter serving" \
      org.opencontainers.image.description="KServe transformer that plays any character from its profile" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 65532 opencharacter \
    && useradd --uid 65532 --gid 65532 --no-log-init --create-home --home-dir /var/opencharacter opencharacter
ENV PATH=/opt/opencharacter/bin:$PATH \
    HOME=/var/opencharacter \
    OPENCHARACTER_CACHE=/var/opencharacter/cache \
    PYTHONUNBUFFERED=1
COPY --from=dependencies /opt/opencharacter /opt/opencharacter
COPY --from=library /install /opt/opencharacter
USER 65532:65532
WORKDIR /var/opencharacter
EXPOSE 8080
HEALTHCHECK --start-period=60s --interval=15s --timeout=5s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/v2/health/live')"]
ENTRYPOINT ["python3", "-m", "opencharacter.serving.transformer"]
