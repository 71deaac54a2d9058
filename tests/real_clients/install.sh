#!/bin/sh
# The clients of application developers, from the package index alone, into .tools/clients: Python's in an environment of
# its own, and OpenAI's for JavaScript, with Node.js where there is none.
set -eu
cd "$(dirname "$0")/../.."
tools=.tools/clients
stamp="$tools/$(cksum <tests/real_clients/install.sh | cut -d' ' -f1)"
[ -e "$stamp" ] && exit 0
rm -rf "$tools"
mkdir -p "$tools"

.venv/bin/uv venv --quiet --python .venv/bin/python "$tools/python"
.venv/bin/uv pip install --quiet --python "$tools/python/bin/python" langchain-openai==1.7.4 litellm==1.108.7
if ! command -v npm >/dev/null; then
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends nodejs npm >/dev/null
fi
npm install --prefix "$tools" --silent --no-audit --no-fund --no-package-lock --ignore-scripts openai@7.59.0
touch "$stamp"
