"""Encoders that start fast, and do in their process what an item's text tells them."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from autosteer_core.backbones.chat_prompt import ChatPrompt
from autosteer_core.errors import BadItem, UserMistake
from autosteer_core.pictures import decode_picture
from autosteer_core.values import Item


class PixelEncoder:
    """The bytes of the text and the pixels of the pictures; a few words make trouble."""

    def encode(self, item: Item) -> ChatPrompt:
        command, _, argument = item.text.partition(" ")
        if command in TROUBLE:
            TROUBLE[command](argument)
        pixels = [torch.from_numpy(np.array(decode_picture(data))).float() for data in item.images]
        return ChatPrompt(list(item.text.encode()), {f"pixels_{place}": each for place, each in enumerate(pixels)})


def _die(once: str) -> None:
    if once and Path(once).exists():
        return
    if once:
        Path(once).touch()
    os.kill(os.getpid(), signal.SIGKILL)


def _stand_still(argument: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _sleep(seconds: str) -> None:
    time.sleep(float(seconds))


def _refuse(message: str) -> None:
    raise UserMistake(message)


def _break(message: str) -> None:
    raise ValueError(message)


def _spoil(message: str) -> None:
    raise BadItem("E_SPOILT", message)


def _confess(argument: str) -> None:
    facts = {"environment": dict(os.environ), "ray": "ray" in sys.modules, "threads": torch.get_num_threads()}
    raise BadItem("E_CONFESSED", json.dumps(facts))


TROUBLE = {
    "break": _break, "confess": _confess, "die": _die, "refuse": _refuse, "sleep": _sleep, "spoil": _spoil,
    "stand-still": _stand_still,
}  # fmt: skip


def refused_encoder() -> PixelEncoder:
    """As of a model that cannot be used."""
    raise UserMistake("no such model")


def dying_encoder() -> PixelEncoder:
    """As of a process that finds no memory."""
    os._exit(3)
