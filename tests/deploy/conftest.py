"""An S3 server that knows our roles."""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from infra.s3_store import S3Store
from tests.deploy.files import read_json
from tests.deploy.s3_calls import OWNER, Guard
from tests.s3_server import serve_s3

BUCKET = "autosteer-example"
ROLES = ("worker", "retrain", "reader")

StoreAs = Callable[..., S3Store]


@pytest.fixture(scope="module")
def guard() -> Guard:
    """Grants each role what its policy in the deployment files grants."""
    return Guard({role: read_json(f"iam/{role}.json") for role in ROLES})


@pytest.fixture(scope="module")
def guarded_s3(guard: Guard) -> Iterator[str]:
    """The server's address; the bucket of the examples is there."""
    with serve_s3(guard.around) as url:
        _client(url, OWNER).create_bucket(Bucket=BUCKET)
        yield url


@pytest.fixture
def store_as(guarded_s3: str) -> StoreAs:
    """A store under a prefix of the bucket, as a role or its owner sees it; large bodies go in pieces of 5 MiB."""

    def open_as(user: str, prefix: str) -> S3Store:
        return S3Store(_client(guarded_s3, user), BUCKET, prefix, sleep=lambda _: None, piece_bytes=5 * 2**20)

    return open_as


def _client(url: str, user: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=user,
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )
