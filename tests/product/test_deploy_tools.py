"""What hadolint, the compose specification, Helm, the Kubernetes API and systemd say of deploy/.

Run by ``make deploy-check``, which brings the tools (INFOMRI_DEPLOY_TOOLS); skipped without them.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.sandbox import read_compose

DEPLOY = Path(__file__).parents[2] / "deploy"
TOOLS = Path(os.environ.get("INFOMRI_DEPLOY_TOOLS", "/nonexistent")) / "bin"
CHARTS = ("site", "centre")
pytestmark = pytest.mark.skipif(
    not (TOOLS / "helm").exists(), reason="make deploy-check brings the tools"
)

_COMPOSE = """
import sys
from compose_spec import PyCompose
compose = PyCompose.from_yaml(sys.stdin.read())
for check in ("configs", "networks", "secrets", "volumes"):
    getattr(compose, f"validate_{check}")()
compose.validate()
"""


def tool(name: str, *words: object, given: str | None = None) -> str:
    line = [str(TOOLS / name), *map(str, words)]
    done = subprocess.run(line, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rendered(chart: str, *settings: str) -> str:
    options = [word for setting in settings for word in ("--set", setting)]
    return tool("helm", "template", "north", DEPLOY / "kubernetes" / chart, *options)


def objects(text: str, kind: str) -> dict[str, dict[str, Any]]:
    """The rendered objects of a kind by name."""
    made = [o for o in yaml.safe_load_all(text) if o and o["kind"] == kind]
    return {o["metadata"]["name"]: o for o in made}


def pods(text: str) -> dict[str, dict[str, Any]]:
    """Pod specs of all workloads by name."""
    kinds = ("Deployment", "StatefulSet")
    return {
        name: o["spec"]["template"]["spec"]
        for kind in kinds
        for name, o in objects(text, kind).items()
    }


def test_the_dockerfile_passes_hadolint() -> None:
    tool("hadolint", "--failure-threshold", "info", DEPLOY / "Dockerfile")


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_files_follow_the_specification(name: str) -> None:
    given = yaml.safe_dump(read_compose(DEPLOY / name, {}))
    tool("python", "-c", _COMPOSE, given=given)
    with pytest.raises(AssertionError):
        tool("python", "-c", _COMPOSE, given=given + "nonsense: 1\n")


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.parametrize("settings", [(), ("metrics.enabled=true", "storageClass=fast")])
def test_charts_give_what_the_kubernetes_api_accepts(
    chart: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    tool("helm", "lint", "--strict", DEPLOY / "kubernetes" / chart)
    path = tmp_path / "rendered.yaml"
    path.write_text(rendered(chart, *settings, "vault.gpus=1", "superlink.gpus=1"))
    tool("kubernetes-validate", "--strict", path)
    path.write_text(path.read_text().replace("replicas: 1", "replica: 1"))
    with pytest.raises(AssertionError):
        tool("kubernetes-validate", "--strict", path)


@pytest.mark.parametrize("chart", CHARTS)
def test_pods_satisfy_the_restricted_standard_and_have_limits(chart: str) -> None:
    for pod in pods(rendered(chart, "metrics.enabled=true")).values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert all("hostPath" not in volume for volume in pod["volumes"])
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])


def test_the_vault_s_policy_denies_everything_and_the_courier_s_all_but_one_way_out() -> None:
    policies = objects(rendered("site"), "NetworkPolicy")
    vault = policies["north-vault"]["spec"]
    assert vault["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(vault)
    courier = policies["north-courier"]["spec"]
    assert "ingress" not in courier
    assert [p["port"] for rule in courier["egress"] for p in rule["ports"]] == [443, 53, 53]


def test_vault_and_courier_are_two_pods_of_a_node_that_share_the_socket_alone() -> None:
    text = rendered("site")
    vault, courier = (pods(text)[f"north-{part}"] for part in ("vault", "courier"))
    label = objects(text, "Deployment")["north-vault"]["spec"]["selector"]["matchLabels"]
    (term,) = courier["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"]["matchLabels"] == label
    assert term["topologyKey"] == "kubernetes.io/hostname"
    claims = [
        {
            v["persistentVolumeClaim"]["claimName"]
            for v in pod["volumes"]
            if len(v) == 2 and "persistentVolumeClaim" in v
        }
        for pod in (vault, courier)
    ]
    assert claims[0] & claims[1] == {"north-socket"}
    assert "infomri-data" in claims[0]


def test_the_settings_in_the_charts_are_ones_the_programs_read(tmp_path: Path) -> None:
    import fl_client.settings
    import fl_server.settings

    site = objects(rendered("site"), "ConfigMap")["north-site"]["data"]["site.toml"]
    (tmp_path / "site.toml").write_text(site)
    assert fl_client.settings.read_settings(tmp_path / "site.toml").vault.group == "infomri"
    centre = objects(rendered("centre"), "ConfigMap")["north-centre"]["data"]["centre.toml"]
    (tmp_path / "centre.toml").write_text(centre)
    read = fl_server.settings.read_settings(tmp_path / "centre.toml")
    assert read.tracking_uri == "http://north-mlflow:5000"
    services = objects(rendered("centre"), "Service")
    assert "north-mlflow" in services


def test_the_proxies_in_the_chart_are_the_tested_ones() -> None:
    maps = objects(rendered("centre"), "ConfigMap")
    for part, name in (("door", "nginx.conf"), ("desk", "desk.conf")):
        shipped = (DEPLOY / "proxy" / name).read_text()
        assert maps[f"north-{part}"]["data"]["nginx.conf"] == shipped


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize(("name", "at_most"), [("vault", 0.6), ("courier", 1.3)])
def test_units_are_as_little_exposed_as_the_docs_say(name: str, at_most: float) -> None:
    unit = DEPLOY / "systemd" / f"infomri-{name}.service"
    line = ["systemd-analyze", "security", "--offline=true", str(unit)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "ignoring" not in done.stderr
    exposure = re.search(r"Overall exposure level .*: (\d+\.\d+)", done.stdout)
    assert exposure is not None
    assert float(exposure[1]) <= at_most
    operations = (DEPLOY.parent / "docs" / "operations.md").read_text()
    assert f"| `infomri-{name}.service` | {at_most} |" in operations
