"""Write the Kustomize base and overlays from the chart: `make manifests`. Needs helm on the PATH.

The base holds what all overlays have in common, an overlay the rest of what the chart makes of one values file. The
chart's hooks (the check before an install, `helm test`) are left out: kubectl has no hooks, and the same check is
`opencharacter cluster preflight`.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "opencharacter"
OVERLAYS = {"local": "values-trial.yaml", "gpu": "values-gpu.yaml", "production": "values-production.yaml"}
NAMESPACE = "kubeflow-user"

Manifest = dict[str, Any]

_HEADER = "# Made from charts/opencharacter by `make manifests`; do not edit.\n"


def render(values: str, namespace: str = NAMESPACE, options: Sequence[str] = ()) -> list[Manifest]:
    """What the chart makes of one of its values files and of helm's further options, without hooks."""
    if shutil.which("helm") is None:
        sys.exit("error: helm is not on the PATH; nothing was written")
    command = ["helm", "template", "opencharacter", str(CHART), "--no-hooks", "--namespace", namespace]
    done = subprocess.run([*command, "--values", str(CHART / values), *options], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"error: helm refuses {values} {' '.join(options)}; nothing was written")
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def generate(folder: Path, namespace: str = NAMESPACE, options: Sequence[str] = ()) -> None:
    """Write `base` and `overlays` under a folder, replacing those that are there."""
    rendered = {name: render(values, namespace, options) for name, values in OVERLAYS.items()}
    first, *others = rendered.values()
    common = [each for each in first if all(each in documents for documents in others)]
    for name in ("base", "overlays"):
        shutil.rmtree(folder / name, ignore_errors=True)
    _write(folder / "base", common, [])
    for name, documents in rendered.items():
        _write(folder / "overlays" / name, [each for each in documents if each not in common], ["../../base"])


def _write(folder: Path, documents: list[Manifest], resources: list[str]) -> None:
    folder.mkdir(parents=True)
    for document in documents:
        name = f"{document['kind']}-{document['metadata']['name']}.yaml".lower()
        assert name not in resources, f"two objects would be written to {name}"
        resources = [*resources, name]
        (folder / name).write_text(_HEADER + _dump(document), encoding="utf-8")
    kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources}
    (folder / "kustomization.yaml").write_text(_HEADER + _dump(kustomization), encoding="utf-8")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _dump(document: Any) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--namespace", default=NAMESPACE)
    parser.add_argument("--output", type=Path, default=ROOT / "manifests")
    for name, what in (("--values", "FILE"), ("--set", "KEY=VALUE")):
        parser.add_argument(
            name,
            dest="options",
            action="append",
            default=[],
            type=f"{name}={{}}".format,
            metavar=what,
            help="as of helm",
        )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    arguments = parse()
    generate(arguments.output, arguments.namespace, arguments.options)
