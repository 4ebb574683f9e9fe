"""A Ray that was started for a run listens on loopback only, and talks to nobody without its token."""

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from tests.grpc_status import grpc_status
from workers.local_ray import local_ray

pytestmark = [pytest.mark.ray, pytest.mark.slow]

OK, NO_SUCH_METHOD, NOT_AUTHENTICATED = 0, 12, 16
SERVED = [
    "/ray.rpc.NodeInfoGcsService/CheckAlive",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
]
JOIN = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False); print('JOINED')"


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """The address that others would have to join."""
    with local_ray(1):
        yield ray.get_runtime_context().gcs_address


def listening(head: str) -> set[tuple[str, int]]:
    """Every address and port on which this process and Ray's wait for somebody."""
    me = psutil.Process()
    return {
        (held.laddr.ip.removeprefix("::ffff:"), held.laddr.port)
        for process in [me, *me.children(recursive=True)]
        for held in process.net_connections(kind="inet")
        if held.status == psutil.CONN_LISTEN
    }


def test_no_server_of_it_listens_where_another_machine_could_reach_it(head: str) -> None:
    found = listening(head)

    assert len(found) >= 4
    assert {address for address, _ in found} == {"127.0.0.1"}


def test_every_port_answers_only_whoever_has_the_token(head: str) -> None:
    """Each serves one of these methods, or HTTP: a new Ray that opens another kind of port fails here."""
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text().strip()
    over_http = 0
    for port in listening(head):
        without, wrong, right = (
            {grpc_status(port, each, said) for each in SERVED} for said in (None, "0" * 64, token)
        )
        if without == {None}:
            over_http += 1
            assert http_status(port) == http.HTTPStatus.UNAUTHORIZED, port
            continue
        assert without == wrong == {NO_SUCH_METHOD, NOT_AUTHENTICATED}, port
        assert right == {NO_SUCH_METHOD, OK}, port
    assert over_http >= 1


def http_status(port: tuple[str, int]) -> int:
    connection = http.client.HTTPConnection(*port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.security
@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_nobody_joins_with_another_token_or_none(head: str, tmp_path: Path, mode: str) -> None:
    other = tmp_path / "token"
    other.touch(mode=0o600)
    other.write_text("0" * 64)
    environment = os.environ | {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN_PATH": str(other)}

    joining = subprocess.run([sys.executable, "-c", JOIN, head], env=environment, capture_output=True, timeout=120)

    assert joining.returncode != 0 and b"JOINED" not in joining.stdout


@pytest.mark.security
def test_the_owner_joins(head: str) -> None:
    """The control: what keeps the others out is their token."""
    joining = subprocess.run([sys.executable, "-c", JOIN, head], capture_output=True, timeout=120)

    assert joining.returncode == 0 and b"JOINED" in joining.stdout, joining.stderr


def test_the_token_itself_is_in_no_environment(head: str) -> None:
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text()
    for child in psutil.Process().children(recursive=True):
        assert not any(token in value for value in child.environ().values())
