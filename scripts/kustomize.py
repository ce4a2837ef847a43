"""Write the parts of `deploy/kustomize` that say the same as the Helm chart.

    scripts/kustomize.py generate     write them, from the chart's default values
    scripts/kustomize.py check        fail if the committed files are not what the chart renders

The other components are patches, which a test compares with the chart under the same values.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
HELM = ROOT / ".tools" / "bin" / "helm"
CHART = ROOT / "deploy" / "helm" / "memgpt"
TARGET = ROOT / "deploy" / "kustomize"
SECRET = "memgpt-credentials"

_HEADER = "# Generated from the Helm chart by scripts/kustomize.py. Do not edit.\n"
_VALUES = {
    "credentials.existingSecret": SECRET,
    "metrics.serviceMonitor.enabled": "true",
    "metrics.prometheusRule.enabled": "true",
}
_OF_HELM = ("app.kubernetes.io/managed-by", "helm.sh/chart", "helm.sh/resource-policy")
_PARTS = {
    "NetworkPolicy": "components/network-policies/policies.yaml",
    "ServiceMonitor": "components/monitoring/servicemonitor.yaml",
    "PrometheusRule": "components/monitoring/prometheusrule.yaml",
    "ServiceAccount": "base/serviceaccount.yaml",
}

Manifest = dict[str, Any]


def render(values: dict[str, str]) -> list[Manifest]:
    """Return what the chart renders, without what only Helm needs.

    Raises:
        subprocess.CalledProcessError: Helm refuses the values.
    """
    options = [f"--set={name}={value}" for name, value in values.items()]
    command = [str(HELM), "template", "memgpt", str(CHART), "--namespace=memgpt", "--kube-version=1.34.0", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [without_helm(each) for each in yaml.safe_load_all(done.stdout) if each]


def without_helm(value: Any) -> Any:
    """Return a manifest without labels and annotations of Helm, and without empty ones."""
    if isinstance(value, list):
        return [without_helm(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {key: without_helm(each) for key, each in value.items() if key not in _OF_HELM}
    return {key: each for key, each in kept.items() if key not in ("labels", "annotations") or each}


def files() -> dict[str, str]:
    """Return the generated files by path below `deploy/kustomize`."""
    parts: dict[str, list[Manifest]] = defaultdict(list)
    for manifest in render(_VALUES):
        service = manifest["metadata"]["labels"].get("app.kubernetes.io/component")
        del manifest["metadata"]["namespace"]  # the overlay's
        parts[_PARTS.get(manifest["kind"], f"base/{service}.yaml")].append(manifest)
    return {path: _HEADER + _dump(manifests) for path, manifests in sorted(parts.items())}


def _dump(manifests: Iterable[Manifest]) -> str:
    return str(yaml.safe_dump_all(manifests, sort_keys=False, width=120, allow_unicode=True))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Write the parts of deploy/kustomize that follow from the chart.")
    parser.add_argument("command", choices=["generate", "check"])
    command = parser.parse_args().command
    wanted = files()
    different = [path for path, text in wanted.items() if _read(TARGET / path) != text]
    if command == "check" and different:
        sys.exit(f"run scripts/kustomize.py generate; outdated: {', '.join(different)}")
    for path in different:
        (TARGET / path).write_text(wanted[path], encoding="utf-8")
    print(f"{len(wanted)} generated files, {len(different)} changed")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    main()
