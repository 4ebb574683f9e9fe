"""Fixtures that several folders of tests share."""

import os
from collections.abc import Iterator
from uuid import uuid4

# Before numpy and torch are loaded: on a busy machine, threads that spin for tiny matrices cost fifty times the work.
os.environ |= {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}

import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of the code.
settings.register_profile("autosteer", deadline=None)
settings.load_profile("autosteer")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In parallel, a file stays in one process with its fixtures, and there is never more than one Ray."""
    for item in items:
        group = "ray" if item.get_closest_marker("ray") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server over real HTTP."""
    from tests.s3_server import serve_s3

    with serve_s3() as url:
        yield url


@pytest.fixture
def s3_address(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix in a new bucket, with the environment that reaches it."""
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    bucket = f"bucket-{uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/some/prefix"
