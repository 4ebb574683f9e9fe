"""A Ray on this machine for the time of one command."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import ray


@contextmanager
def local_ray(workers: int) -> Iterator[None]:
    """Start Ray without dashboard, leave it stopped; joins a running Ray if this process has one already."""
    if ray.is_initialized():
        yield
        return
    with TemporaryDirectory(prefix="autosteer-") as private:
        _require_token(Path(private) / "token")
        ray.init(
            address="local",
            num_cpus=max(workers + 1, os.cpu_count() or 1),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        try:
            yield
        finally:
            ray.shutdown()


def _require_token(file: Path) -> None:
    """Ray listens on the network: only processes that can read this file may talk to it.

    Ray would make a token by itself, readable for everybody.
    """
    file.touch(mode=0o600)
    file.write_text(secrets.token_hex(32))
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(file)
