"""A command as a job on a Ray cluster: submitted, followed, and stopped with the one who follows it."""

import shlex
import time
from collections.abc import Callable, Sequence
from typing import Any

from autosteer_core.errors import Interrupted, UserMistake, first_line
from workers.ray_access import require_token

_POLL_SECONDS = 1.0
_FAILED = 1


def run_job(address: str, command: Sequence[str], write: Callable[[str], None]) -> int:
    """Run the command on the cluster whose dashboard is at `address`; gives its exit code.

    `write` gets what the job prints, as it comes. A person who interrupts this stops the job.

    Raises:
        UserMistake: the jobs API of Ray is not installed, nothing answers at the address, or it is another's:
            E_RAY_AUTH.
        Interrupted: a person stopped it.
    """
    client = _client(address)
    job = str(client.submit_job(entrypoint=shlex.join(command)))
    try:
        return _followed(client, job, write)
    except KeyboardInterrupt:
        client.stop_job(job)
        raise Interrupted(f"job {job} was stopped: what it published stays, the same command begins anew") from None


def _client(address: str) -> Any:
    require_token()
    try:
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(address)
    except (ImportError, RuntimeError, ConnectionError) as error:
        raise UserMistake(
            f"no job can be submitted to {address} ({first_line(error)}): give the address of a cluster's dashboard, "
            "for example http://127.0.0.1:8265, and pip install 'autosteer[jobs]' here and there"
        ) from error


def _followed(client: Any, job: str, write: Callable[[str], None]) -> int:
    told = 0
    while True:
        over = client.get_job_status(job).is_terminal()
        printed = client.get_job_logs(job)
        if len(printed) > told:
            write(printed[told:])
            told = len(printed)
        if over:
            return _exit_code(client.get_job_info(job))
        time.sleep(_POLL_SECONDS)


def _exit_code(info: Any) -> int:
    if str(info.status) == "SUCCEEDED":
        return 0
    return int(info.driver_exit_code or _FAILED)
