"""No deployment file is without a test, and there is no code among them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY, read_yaml

TESTED_BY = {
    "": "test_container.py",
    "iam": "test_iam.py",
    "kubernetes": "test_kubernetes.py",
    "monitoring": "test_monitoring.py",
    "s3": "test_iam.py",
}
OF_ITS_OWN = {"ray-up.yaml": "test_ray_up.py", "ray-up-head.json": "test_ray_up.py"}
FILES = sorted(file for file in DEPLOY.rglob("*") if file.is_file())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_parses_and_has_a_test_that_reads_its_kind(file: Path) -> None:
    if file.suffix == ".json":
        json.loads(file.read_text("utf-8"))
    elif file.suffix in (".yaml", ".yml"):
        assert all(isinstance(each, dict) for each in read_yaml(file))
    else:
        assert file.name in {"Containerfile", "Containerfile.dockerignore", "dashboard.lock"}

    folder = file.parent.relative_to(DEPLOY).as_posix().removeprefix(".")
    test = Path(__file__).with_name(OF_ITS_OWN.get(file.name, TESTED_BY[folder])).read_text("utf-8")
    assert file.name in test or f'"{file.parent.name}"' in test or f"{file.parent.name}/{{role}}" in test


def test_every_deploy_file_is_valid(report: Callable[[str, object], None]) -> None:
    """The number; what valid means for each kind is in the other tests."""
    objects = sum(len(read_yaml(file)) for file in (DEPLOY / "kubernetes").glob("*.yaml"))

    assert not [file for file in FILES if file.suffix in {".py", ".sh"}]
    report("deploy files, all parsed and checked against the schema of their kind", len(FILES))
    report("Kubernetes objects among them, KubeRay's three kinds included", objects)
