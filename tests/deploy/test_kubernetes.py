"""Every object is one that Kubernetes takes, and its pods may do as little as they can."""

import copy
import functools
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from pipelines.settings import PREFIX, Settings
from tests.deploy.files import DEPLOY, read_yaml
from tests.deploy.kuberay import KINDS
from tests.deploy.pods import pod_templates

# It reads megabytes of definitions anew for each object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)

OLDEST, NEWEST = "1.31", "1.37"  # that take all our fields, and that there is a schema of
FILES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
OBJECTS = [(file, each) for file in FILES for each in read_yaml(file)]
NAMES = [f"{file.name}:{each['kind']}/{each['metadata']['name']}" for file, each in OBJECTS]
PODS = [
    pytest.param(file, pod, id=f"{file.name}-{number}")
    for file in FILES
    for number, pod in enumerate(pod_templates(read_yaml(file)))
]
TAKEN = re.compile(r"\$\(([A-Z_]+)\)")
every_object = pytest.mark.parametrize(("file", "found"), OBJECTS, ids=NAMES)
every_pod = pytest.mark.parametrize(("file", "pod"), PODS)


def check(found: dict[str, Any], version: str = NEWEST) -> None:
    """Raises a ValidationError, also for a field that does not exist in this version of Kubernetes."""
    if found["kind"] in KINDS:
        jsonschema.validate(found, KINDS[found["kind"]])
        for template in pod_templates(found):
            check({"apiVersion": "v1", "kind": "Pod", **template}, version)
    else:
        kubernetes_validate.validate(found, version, strict=True)


@every_object
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_and_kuberay_know_every_field(file: Path, found: dict[str, Any], version: str) -> None:
    check(found, version)


@pytest.mark.parametrize(
    "found", {found["kind"]: found for _, found in OBJECTS}.values(), ids=lambda found: found["kind"]
)
def test_a_field_that_does_not_exist_is_found_out(found: dict[str, Any]) -> None:
    """A negative control of the schemas."""
    wrong = copy.deepcopy(found)
    wrong.get("spec", wrong)["replicsa"] = 1

    with pytest.raises(jsonschema.ValidationError):
        check(wrong)


@pytest.mark.parametrize("name", ["job.yaml", "ray-cron-job.yaml"])
def test_a_field_of_a_pod_that_does_not_exist_is_found_out(name: str) -> None:
    wrong = read_yaml(DEPLOY / "kubernetes" / name)
    for each in pod_templates(wrong):
        each["spec"]["containers"][0]["recources"] = {}

    with pytest.raises(jsonschema.ValidationError):
        for each in wrong:
            check(each)


def test_there_is_a_file_for_each_way_to_run() -> None:
    assert {found["kind"] for _, found in OBJECTS} >= {
        "CronJob", "Job", "NetworkPolicy", "RayCluster", "RayCronJob", "RayJob", "ServiceAccount",
    }  # fmt: skip
    assert len(PODS) >= 6


@every_object
def test_everything_lies_in_our_namespace(file: Path, found: dict[str, Any]) -> None:
    if found["kind"] != "Namespace":
        assert found["metadata"]["namespace"] == "autosteer"
    else:
        assert found["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@every_pod
def test_a_pod_keeps_to_the_restricted_standard_and_a_file_system_that_cannot_be_written(
    file: Path, pod: dict[str, Any]
) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    spec = pod["spec"]
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True and security["runAsUser"] >= 10_000
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert not any("hostPath" in volume for volume in spec["volumes"])
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@every_pod
def test_a_pod_has_a_token_of_kubernetes_only_where_an_autoscaler_needs_it(file: Path, pod: dict[str, Any]) -> None:
    needed = pod["spec"]["serviceAccountName"] == "autosteer-head"

    assert pod["spec"]["automountServiceAccountToken"] is needed


@every_pod
def test_a_pod_gets_no_variables_of_services_for_ours_would_be_unknown_settings(
    file: Path, pod: dict[str, Any]
) -> None:
    assert pod["spec"]["enableServiceLinks"] is False


@every_pod
def test_memory_and_disk_are_limited_and_each_volume_is_mounted(file: Path, pod: dict[str, Any]) -> None:
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    for container in pod["spec"]["containers"]:
        assert container["resources"]["limits"].keys() >= {"memory", "ephemeral-storage"}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert writable >= {"/tmp", "/var/lib/autosteer"}
    assert all("sizeLimit" in volume["emptyDir"] for volume in pod["spec"]["volumes"] if "emptyDir" in volume)


@every_pod
def test_secrets_are_named_and_never_written_down(file: Path, pod: dict[str, Any]) -> None:
    assert "://" not in str([each.get("value", "") for each in _environment(pod)])
    for each in _environment(pod):
        if each["name"] == "AUTOSTEER_QUEUE":
            assert each["valueFrom"]["secretKeyRef"] == {"name": "autosteer-postgres", "key": "url"}


@every_pod
def test_every_variable_of_ours_is_a_setting_and_what_arguments_take_from_one_is_there(
    file: Path, pod: dict[str, Any]
) -> None:
    names = {each["name"] for each in _environment(pod) if each["name"].startswith(PREFIX)}

    assert {name.removeprefix(PREFIX).lower() for name in names} <= set(Settings.model_fields)
    words = [word for container in pod["spec"]["containers"] for word in container.get("args", [])]
    given = set(TAKEN.findall(" ".join(words)))
    assert given <= {each["name"] for each in _environment(pod)}


def _environment(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for container in pod["spec"]["containers"] for each in container.get("env", [])]


class TestAccounts:
    accounts = read_yaml(DEPLOY / "kubernetes" / "service-accounts.yaml")

    def test_every_account_that_a_pod_names_exists_and_gives_no_token_by_itself(self) -> None:
        known = {each["metadata"]["name"]: each for each in self.accounts if each["kind"] == "ServiceAccount"}

        assert {pod.values[1]["spec"]["serviceAccountName"] for pod in PODS} <= set(known)
        assert all(each["automountServiceAccountToken"] is False for each in known.values())

    def test_a_role_in_the_cloud_has_its_policy(self) -> None:
        key = "eks.amazonaws.com/role-arn"
        roles = [each["metadata"].get("annotations", {}).get(key, "") for each in self.accounts]
        named = {role.rpartition("/autosteer-")[2] for role in roles if role}

        assert named == {file.stem for file in (DEPLOY / "iam").glob("*.json")} - {"ray-up-head"}

    def test_the_autoscaler_may_neither_make_pods_nor_read_secrets(self) -> None:
        [role] = [each for each in self.accounts if each["kind"] == "Role"]

        assert {verb for rule in role["rules"] for verb in rule["verbs"]} <= {"get", "list", "watch", "patch"}
        assert {kind for rule in role["rules"] for kind in rule["resources"]} == {"pods", "rayclusters"}


POLICIES = {
    each["metadata"]["name"]: each["spec"] for each in read_yaml(DEPLOY / "kubernetes" / "network-policy.yaml")
}


class TestNetwork:
    def test_what_is_not_allowed_is_denied_both_ways(self) -> None:
        assert POLICIES["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}

    def test_the_metadata_service_and_private_addresses_are_out_of_reach(self) -> None:
        [rule] = POLICIES["s3"]["egress"]
        block = rule["to"][0]["ipBlock"]

        assert "169.254.0.0/16" in block["except"] and "10.0.0.0/8" in block["except"]
        assert rule["ports"] == [{"protocol": "TCP", "port": 443}]

    def test_no_rule_is_without_peers_or_without_ports(self) -> None:
        rules = [rule for spec in POLICIES.values() for way in ("ingress", "egress") for rule in spec.get(way, [])]

        assert len(rules) > 6
        assert all((rule.get("to") or rule.get("from")) and rule["ports"] for rule in rules)

    @pytest.mark.parametrize("name", ["ray-cluster.yaml", "ray-job.yaml", "ray-cron-job.yaml"])
    def test_the_ports_that_ray_is_given_are_those_that_are_open_among_its_pods(self, name: str) -> None:
        wanted = {"6379", "8265", "8080"}
        for parameters in _start_parameters(read_yaml(DEPLOY / "kubernetes" / name)):
            wanted |= {value for key, value in parameters.items() if key.endswith("-port")}
        opened = [port for rule in POLICIES["ray"]["ingress"] for port in rule["ports"]]

        assert len(wanted) == 10
        closed = {port for port in wanted if not any(_covers(each, int(port)) for each in opened)}
        assert not closed

    def test_every_label_that_a_rule_selects_is_on_some_pod_or_put_there_by_the_operator(self) -> None:
        labels = {f"{key}={value}" for pod in PODS for key, value in pod.values[1]["metadata"]["labels"].items()}
        by_operator = {"ray.io/is-ray-node=yes", "ray.io/node-type=head"}
        selected = {
            f"{key}={value}"
            for spec in POLICIES.values()
            for key, value in spec["podSelector"].get("matchLabels", {}).items()
        }

        assert selected <= labels | by_operator
        assert selected >= {"autosteer/storage=s3", "autosteer/queue=postgres"}


def _covers(port: dict[str, Any], number: int) -> bool:
    return port["port"] <= number <= port.get("endPort", port["port"])


def _start_parameters(value: Any) -> list[dict[str, str]]:
    if isinstance(value, list):
        return [found for each in value for found in _start_parameters(each)]
    if not isinstance(value, dict):
        return []
    own = [value["rayStartParams"]] if "rayStartParams" in value else []
    return own + [found for each in value.values() for found in _start_parameters(each)]


RAY = [
    each for name in ("cluster", "job", "cron-job") for each in read_yaml(DEPLOY / "kubernetes" / f"ray-{name}.yaml")
]


class TestRay:
    def test_the_version_is_the_one_of_the_image_and_strangers_are_turned_away(self) -> None:
        pinned = re.search(r"^ray==(.+)$", (DEPLOY.parents[1] / "constraints.txt").read_text("utf-8"), re.MULTILINE)
        clusters = [each for document in RAY for each in _clusters(document)]

        assert pinned and {cluster["rayVersion"] for cluster in clusters} == {pinned[1]}
        assert all(cluster["authOptions"] == {"mode": "token"} for cluster in clusters)
        assert len(clusters) == 3

    def test_the_token_of_the_cluster_stays_out_of_a_run_for_a_run_refuses_it(self) -> None:
        entrypoints = [each for document in RAY for each in _values(document, "entrypoint")]

        assert len(entrypoints) == 2
        assert all(each.startswith("env -u RAY_AUTH_TOKEN -u RAY_ADDRESS autosteer ") for each in entrypoints)


def _values(value: Any, key: str) -> list[Any]:
    if isinstance(value, list):
        return [found for each in value for found in _values(each, key)]
    if not isinstance(value, dict):
        return []
    own = [value[key]] if key in value else []
    return own + [found for each in value.values() for found in _values(each, key)]


def _clusters(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [document["spec"]] if document["kind"] == "RayCluster" else _values(document, "rayClusterSpec")


def test_a_key_that_stands_twice_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: 1\na: 2\n")

    with pytest.raises(yaml.YAMLError):
        read_yaml(tmp_path / "x.yaml")
