"""What a reader's process tells of a manifest: JSON, and the bytes of pictures, so that no pickle comes back."""

import json
from dataclasses import asdict, replace
from socket import socket
from typing import Any

from autosteer_core.errors import AutosteerError, StopWorker, TryAgain, Unreachable, UserMistake
from autosteer_core.values import Annotation, Flaw, Item, Label
from workers.decoding_frames import receive_frame, send_frame

_KINDS: dict[str, type[AutosteerError]] = {
    "UserMistake": UserMistake, "Unreachable": Unreachable, "TryAgain": TryAgain, "StopWorker": StopWorker,
}  # fmt: skip


def send_json(line: socket, value: dict[str, Any]) -> None:
    """Raises OSError if the other end is gone."""
    send_frame(line, json.dumps(value).encode())


def receive_json(line: socket) -> dict[str, Any]:
    """Raises EOFError or OSError if the other end is gone, AutosteerError for what it met there."""
    said: dict[str, Any] = json.loads(receive_frame(line))
    if "error" not in said:
        return said
    kind = _KINDS.get(said["error"])
    if kind is None:
        raise RuntimeError(f"a manifest's reader failed: {said['message']}")
    raise kind(said["message"], said["code"])


def send_error(line: socket, error: Exception) -> None:
    """What `receive_json` raises."""
    kind = next((name for name, known in _KINDS.items() if isinstance(error, known)), "")
    code = error.code if isinstance(error, AutosteerError) else ""
    message = str(error) if kind else f"{type(error).__name__}: {error}"
    send_json(line, {"error": kind, "code": code, "message": message})


def send_item(line: socket, item: Item) -> None:
    """The item, then its pictures, a frame each."""
    send_json(line, asdict(replace(item, images=())) | {"images": len(item.images)})
    for image in item.images:
        send_frame(line, image)


def received_item(line: socket, said: dict[str, Any]) -> Item:
    """The item that a frame began."""
    images = tuple(bytes(receive_frame(line)) for _ in range(said["images"]))
    label = said["annotation"].pop("label")
    annotation = Annotation(label and Label(label), **said["annotation"])
    flaw = said["flaw"] and Flaw(**said["flaw"])
    return Item(**said | {"images": images, "annotation": annotation, "flaw": flaw})
