"""A Ray on this machine for the time of one command."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from autosteer_core.errors import AutosteerError, first_line
from workers.ray_access import LOOPBACK, require_token


class RayFailed(AutosteerError):
    """No processes for workers could be started; the run can be continued later."""


@contextmanager
def local_ray(workers: int) -> Iterator[None]:
    """Start Ray without dashboard, leave it stopped; joins a running Ray if this process has one already.

    Raises:
        UserMistake: E_RAY_AUTH, see `require_token`.
        RayFailed: it does not start, or others could reach it.
    """
    if ray.is_initialized():
        yield
        return
    require_token()
    _start(workers)
    try:
        yield
    finally:
        ray.shutdown()


def _start(workers: int) -> None:
    try:
        ray.init(
            address="local",
            num_cpus=max(workers + 1, os.cpu_count() or 1),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray has no class of its own for a start that it gave up
        raise RayFailed(
            f"Ray could not be started on this machine ({first_line(error)}): repeat the command "
            "when the machine is less busy; what is committed stays"
        ) from error
    if (address := ray.util.get_node_ip_address()) != LOOPBACK:
        ray.shutdown()
        where = f"Ray listens on {address}, where others can reach it"
        raise RayFailed(f"{where}: call workers.ray_access.prepare() before ray is imported", "E_RAY_LISTENS")
