#!/bin/sh
# What the container tests need besides Python packages: an engine, and debootstrap for the stand-in base images.
set -eu
for program in dockerd containerd runc debootstrap docker-registry; do
    if ! command -v "$program" >/dev/null; then
        apt-get update --quiet=2
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends \
            docker.io debootstrap docker-registry >/dev/null
        exit
    fi
done
