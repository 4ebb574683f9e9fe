"""Inside a reader's process: open one manifest, then answer what is asked of it until the owner is gone."""

import resource
import sys
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from socket import socket
from typing import Any

from autosteer_core.ports import ManifestReader
from autosteer_core.values import Part
from workers.reader_wire import receive_json, send_error, send_item, send_json

_ROOM_BYTES = 2 * 2**30  # above what the libraries take: a few values at their limit, and pyarrow's buffers


def serve(line: socket) -> None:
    """Raises EOFError or OSError when the owner is gone."""
    asked = receive_json(line)
    try:
        module, _, name = asked["opener"].partition(":")
        open_manifest = getattr(import_module(module), name)
        _limit_memory()
        manifest: ManifestReader = open_manifest(**asked["values"])
    except Exception as error:  # noqa: BLE001  (the owner raises it, here nobody would hear of it)
        return send_error(line, error)
    send_json(line, {})
    while True:
        asked = receive_json(line)
        try:
            _answer(line, manifest, asked)
        except Exception as error:  # noqa: BLE001  (as above; if the owner is gone, sending says so)
            send_error(line, error)


def _answer(line: socket, manifest: ManifestReader, asked: dict[str, Any]) -> None:
    match asked["ask"]:
        case "files":
            send_json(line, {"files": [list(each) for each in manifest.files()]})
        case "row_ids":
            send_json(line, asdict(manifest.row_ids()))
        case "stretches":
            send_json(line, {"stretches": [[each.rows, each.cost] for each in manifest.stretches(asked["name"])]})
        case "items":
            for item in manifest.items(Part(**asked["part"])):
                send_item(line, item)
            send_json(line, {"end": True})


def _limit_memory() -> None:
    """Addresses, not resident memory: what unpacks to more is refused before it is there."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    most = pages * resource.getpagesize() + _ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    with suppress(EOFError, OSError):
        serve(socket(fileno=int(sys.argv[1])))
