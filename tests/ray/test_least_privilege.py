"""A real run under the policies that the deployment files give its roles, enforced by the server."""

import json
from collections.abc import Iterator

import boto3
import pytest

from infra.open_store import open_store
from tests.deploy.files import read_json
from tests.deploy.s3_calls import OWNER, Guard
from tests.s3_server import serve_s3
from tests.workspace import Workspace, make_workspace

pytestmark = [pytest.mark.ray, pytest.mark.security]

BUCKET = "s3://autosteer-example"
OUT = f"{BUCKET}/output/monday"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("roles"), 24)


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> Iterator[Guard]:
    """A bucket with a manifest and a bundle, put there by its owner."""
    guard = Guard({role: read_json(f"iam/{role}.json") for role in ("worker", "reader")})
    with serve_s3(guard.around) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", OWNER)
        boto3.client("s3").create_bucket(Bucket="autosteer-example")
        store = open_store(BUCKET)
        store.put_if_absent("input/monday/items.parquet", (workspace.root / "items.parquet").read_bytes())
        for name in ("card.json", "signature.json", "weights.safetensors"):
            store.put_if_absent(f"bundles/current/{name}", (workspace.root / "bundle" / name).read_bytes())
        yield guard


def test_a_worker_runs_under_its_policy_and_a_reader_checks_the_output_under_his(
    workspace: Workspace, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "worker")
    more = ("--bundle", f"{BUCKET}/bundles/current", "--json", "--set", "workers=1", "--set", "activations=true")
    command = workspace.generate(OUT, f"{BUCKET}/input/monday/", *more)

    finished = workspace.run(command)

    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["rows"] == 24
    assert not guard.denied
    assert {user for user, _ in guard.asked} == {"worker"}
    assert {call.action for _, call in guard.asked} >= {"s3:GetObject", "s3:ListBucket", "s3:PutObject"}
    assert workspace.run(workspace.command("clean", OUT)).returncode == 0
    assert not guard.denied

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "reader")
    for question in (["status", OUT, "--json"], ["verify", OUT, "--json"]):
        answered = workspace.run(workspace.command(*question))
        assert answered.returncode == 0, answered.stderr
    assert not guard.denied

    refused = workspace.run(workspace.generate(f"{BUCKET}/output/tuesday", f"{BUCKET}/input/monday/", *more))
    assert refused.returncode != 0
    assert "Traceback" not in refused.stderr
    assert {call.action for _, call in guard.denied} <= {"s3:ListBucket", "s3:GetObject", "s3:PutObject"}
    assert guard.denied
