"""A Ray on this machine for the time of one command."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ray

from autosteer_core.errors import AutosteerError, first_line


class RayFailed(AutosteerError):
    """No processes for workers could be started; the run can be continued later."""


@contextmanager
def local_ray(workers: int) -> Iterator[None]:
    """Start Ray without dashboard, leave it stopped; joins a running Ray if this process has one already."""
    if ray.is_initialized():
        yield
        return
    _require_token()
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


def _require_token() -> None:
    """Ray listens on the network: only processes that can read this file may talk to it.

    Ray would make a token by itself, readable for everybody. It keeps the first token that it reads for the
    whole life of a process, so the file stays the same.
    """
    if "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    folder = Path(state) / "autosteer"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / "ray_token"
    if not file.exists():
        draft = folder / f".ray_token-{os.getpid()}"
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(32))
        # A link never replaces: of two commands that start together, both use the first one's token.
        with suppress(FileExistsError):
            os.link(draft, file)
        draft.unlink()
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(file)
