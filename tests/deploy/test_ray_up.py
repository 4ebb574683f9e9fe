"""`ray up` takes the cluster file, and the head may start and end only machines of this cluster."""

import re
from pathlib import Path

import jsonschema
import pytest
import ray

from tests.deploy.files import DEPLOY, read_json, read_yaml

CLUSTER = read_yaml(DEPLOY / "ray-up.yaml")[0]
HEAD = read_json("iam/ray-up-head.json")["Statement"]
SOURCES = Path(ray.__file__).parent / "autoscaler"
SCHEMA = read_json(str(SOURCES / "ray-schema.json"))
NODES = CLUSTER["available_node_types"]
# Those that take no narrower resource: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
WITHOUT_RESOURCE = {"ec2:DescribeInstances", "ec2:DescribeInstanceTypes"}


def test_ray_takes_the_file() -> None:
    jsonschema.validate(CLUSTER, SCHEMA)


@pytest.mark.parametrize("name", ["max_worker", "provider.regoin", "available_node_types.head.resource"])
def test_a_key_that_does_not_exist_is_found_out_where_rays_schema_is_strict(name: str) -> None:
    """A negative control. Ray leaves the provider open."""
    wrong = read_yaml(DEPLOY / "ray-up.yaml")[0]
    *path, last = name.split(".")
    place = wrong
    for step in path:
        place = place[step]
    place[last] = 1

    if path == ["provider"]:
        jsonschema.validate(wrong, SCHEMA)
    else:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, SCHEMA)


def test_ec2_takes_what_a_machine_is_made_of() -> None:
    """boto3 knows every field; nothing is sent."""
    import boto3
    from botocore.validate import validate_parameters

    wanted = (
        boto3.client("ec2", region_name="eu-central-1").meta.service_model.operation_model("RunInstances").input_shape
    )
    for node in NODES.values():
        config = {
            key: value for key, value in node["node_config"].items() if key != "SubnetIds"
        }  # Ray picks one of them
        validate_parameters(
            config | {"SubnetId": node["node_config"]["SubnetIds"][0], "MinCount": 1, "MaxCount": 1}, wanted
        )


@pytest.mark.parametrize("name", sorted(NODES))
def test_a_machine_keeps_its_credentials_and_its_disk_to_itself(name: str) -> None:
    config = NODES[name]["node_config"]

    assert config["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert all(
        disk["Ebs"]["Encrypted"] and disk["Ebs"]["DeleteOnTermination"] for disk in config["BlockDeviceMappings"]
    )


def test_every_start_of_ray_asks_for_the_token_and_the_dashboard_stays_on_the_head() -> None:
    commands = CLUSTER["head_start_ray_commands"] + CLUSTER["worker_start_ray_commands"]

    assert all("RAY_AUTH_MODE=token" in command for command in commands)
    assert "--dashboard-host=127.0.0.1" in CLUSTER["head_start_ray_commands"][-1]
    assert "~/.ray/auth_token" in CLUSTER["file_mounts"]
    assert not re.search(r"0\.0\.0\.0", str(commands))


def test_the_head_is_granted_what_rays_own_code_asks_of_ec2_once_a_cluster_runs() -> None:
    source = (SOURCES / "_private" / "aws" / "node_provider.py").read_text("utf-8")
    granted = {action for statement in HEAD for action in statement["Action"]}

    asked = {
        "ec2:DescribeInstances": ".instances.filter",
        "ec2:DescribeInstanceTypes": ".describe_instance_types",
        "ec2:RunInstances": ".create_instances",
        "ec2:CreateTags": ".create_tags",
        "ec2:TerminateInstances": ".terminate_instances",
    }
    assert granted == asked.keys() | {"iam:PassRole"}
    assert all(call in source for call in asked.values())
    assert CLUSTER["provider"]["cache_stopped_nodes"] is False  # else it would stop machines, and start them again


def test_the_head_starts_ends_and_names_only_machines_of_this_cluster() -> None:
    for statement in HEAD:
        assert not any("*" in action for action in statement["Action"])
        if "*" in statement["Resource"]:
            assert set(statement["Action"]) <= WITHOUT_RESOURCE
        if any(arn.endswith("instance/*") for arn in statement["Resource"]):
            assert statement["Condition"]["StringEquals"] in (
                {"aws:RequestTag/ray-cluster-name": CLUSTER["cluster_name"]},
                {"aws:ResourceTag/ray-cluster-name": CLUSTER["cluster_name"]},
                {"ec2:CreateAction": "RunInstances"},
            )


def test_the_head_gives_away_one_role_and_the_parts_that_the_file_names() -> None:
    named = {arn.rpartition("/")[2] for statement in HEAD for arn in statement["Resource"]}
    worker = NODES["worker"]["node_config"]

    assert {worker["ImageId"], *worker["SubnetIds"], *worker["SecurityGroupIds"]} <= named
    assert worker["IamInstanceProfile"]["Arn"].endswith("/autosteer-worker") and "autosteer-worker" in named
