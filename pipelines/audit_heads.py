"""Heads of audit logs, noted on this machine: outside of the outputs, so that a log cannot be cut unseen."""

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autosteer_core.audit_log import Deed, Head, append, append_once
from autosteer_core.ports import BlobStore
from infra.open_store import open_store
from workers.state_folder import state_folder


def log_deed(store: BlobStore, deed: Deed, subject: Mapping[str, Any], *, once: bool = False) -> Head:
    """Append to the output's log, and note its head; with `once`, only if that is not said there already."""
    write = append_once if once else append
    head = write(store, deed, subject, datetime.now(UTC).isoformat(timespec="milliseconds"))
    note_head(store, head)
    return head


def noted_head(out: str) -> Head | None:
    """The latest that was noted here of the log at this address: an output that was made anew has a new log."""
    where = _place(open_store(out))
    return next((head for at, head in reversed(list(_noted())) if at == where), None)


def note_head(store: BlobStore, head: Head) -> None:
    """Remember it for `noted_head`; the latest of a log counts."""
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    line = json.dumps({"out": _place(store), "head": str(head)})
    # One write, so that lines of commands that end together do not mix.
    opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(opened, f"{line}\n".encode())
    finally:
        os.close(opened)


def _noted() -> Iterator[tuple[str, Head]]:
    try:
        lines = _file().read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            values = json.loads(line)
            yield str(values["out"]), Head.parsed(str(values["head"]))
        except (ValueError, TypeError, KeyError):  # a line that a full disk cut off
            continue


def _place(store: BlobStore) -> str:
    """The same from whatever folder a command is called."""
    where = store.describe()
    return where if "://" in where else str(Path(where).resolve())


def _file() -> Path:
    return state_folder() / "audit_heads.jsonl"
