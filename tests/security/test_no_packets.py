"""The kernel itself counts: in a network of its own, a process that is given every hostile address sends nothing."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.security


def _counted(*arguments: str) -> dict[str, Any]:
    command = ["unshare", "--net", sys.executable, "-m", "tests.security.fetch_in_a_namespace", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if "unshare failed" in done.stderr:
        pytest.skip(f"no network of our own: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_kernel_counts_no_connection_no_datagram_and_no_packet(report: Callable[[str, object], None]) -> None:
    counted = _counted()
    report("hostile addresses in a network of their own", counted)
    assert (counted["connections"], counted["datagrams"], counted["packets"]) == (0, 0, 0)
    assert sum(counted["codes"].values()) >= 80


def test_the_kernel_counts_them_where_nobody_checks() -> None:
    counted = _counted("careless")
    assert counted["connections"] >= 10 and counted["packets"] >= 10
