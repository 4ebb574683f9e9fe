"""What an encoding process tells its worker: frames of JSON and safetensors, so that no pickle comes back."""

import json
from dataclasses import asdict
from socket import socket
from typing import Any

from safetensors.torch import load, save

from autosteer_core.backbones.base import Prompt
from autosteer_core.backbones.chat_prompt import ChatPrompt
from autosteer_core.errors import BadItem, UserMistake
from workers.decoding_frames import receive_frame, send_frame


def send_answer(line: socket, answer: Prompt | Exception | None) -> None:
    """A prompt, what is wrong with an item or with the process, or None: ready."""
    if isinstance(answer, ChatPrompt):
        send_frame(line, json.dumps({"kind": "prompt", "ids": answer.ids}).encode())
        # Tensors as bytes: torch's own way holds a file descriptor open for each of them.
        send_frame(line, save({name: tensor.contiguous() for name, tensor in answer.pictures.items()}))
    else:
        send_frame(line, json.dumps(_described(answer)).encode())


def _described(answer: Any) -> dict[str, str | None]:
    match answer:
        case None:
            return {"kind": "ready"}
        case BadItem():
            return {"kind": "bad item", **asdict(answer.flaw)}
        case UserMistake():
            return {"kind": "mistake", "message": str(answer), "code": answer.code}
        case Exception():
            return {"kind": "failure", "message": f"{type(answer).__name__}: {answer}"}
    return {"kind": "failure", "message": f"{type(answer).__name__} is no prompt that can leave its process"}


def receive_answer(line: socket) -> Prompt | BadItem | None:
    """What `send_answer` sent.

    Raises:
        UserMistake: the encoder cannot be built.
        RuntimeError: the other process met an error that nobody expects, in its words.
        EOFError, OSError: it is gone, or silent for longer than the socket waits.
    """
    said = json.loads(receive_frame(line))
    match said["kind"]:
        case "ready":
            return None
        case "prompt":
            return ChatPrompt(said["ids"], load(bytes(receive_frame(line))))
        case "bad item":
            return BadItem(said["code"], said["message"], said["column"])
        case "mistake":
            raise UserMistake(said["message"], said["code"])
    raise RuntimeError(f"an encoding process failed: {said['message']}")
