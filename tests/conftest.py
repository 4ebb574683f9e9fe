"""Fixtures that several folders of tests share."""

import os
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

# Before numpy and torch are loaded: on a busy machine, threads that spin for tiny matrices cost fifty times the work.
os.environ |= {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from workers.ray_access import prepare

prepare()

# How long an example takes says more of the machine than of the code.
settings.register_profile("autosteer", deadline=None)
settings.load_profile("autosteer")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no process waits for another at the end."""
    items.sort(key=lambda item: (not item.get_closest_marker("ray"), not item.get_closest_marker("demo")))


class _OneRay(LoadFileScheduling):
    """In parallel, a file stays in one process with its fixtures, and there is never more than one Ray."""

    def _split_scope(self, nodeid: str) -> str:
        folder = "tests/ray/"
        return folder if nodeid.startswith(folder) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The schedule that `--numprocesses` follows."""
    return _OneRay(config, log)


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is noted in, and nothing read from, the state folder of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


_NUMBERS: dict[str, str] = {}


@pytest.fixture
def report() -> Callable[[str, object], None]:
    """Call it with what was measured and how much it was."""
    return lambda name, value: _NUMBERS.__setitem__(name, str(value))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The numbers last, so that nobody has to look for them."""
    if not _NUMBERS:
        return
    width = max(map(len, _NUMBERS))
    terminalreporter.section("in numbers")
    for name, value in _NUMBERS.items():
        terminalreporter.write_line(f"{name:<{width}}  {value}")


@pytest.fixture(scope="session", autouse=True)
def own_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A signing key for the tests, and no look at that of the person who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


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


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """A PostgreSQL server of this session; skipped where none is installed."""
    from tests.postgres_server import serve_postgres, why_no_postgres

    if missing := why_no_postgres():
        pytest.skip(missing)
    with serve_postgres() as address:
        yield address
