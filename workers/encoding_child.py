"""Inside an encoding process: build the encoder, then answer item after item until the worker is gone."""

import os
import pickle
import sys
import time
from socket import socket
from threading import Thread
from typing import Any

from autosteer_core.backbones.base import Prompt
from autosteer_core.encoding import ItemEncoder, encode_item
from autosteer_core.values import Item
from workers.decoding_frames import receive_frame
from workers.encoding_wire import send_answer

_NICENESS = 5  # the model's process goes first
_LOOK_SECONDS = 1.0


def serve(line: socket) -> None:
    """One answer once the encoder is built, then one for each item; raises EOFError when the worker is gone."""
    try:
        encoder: ItemEncoder = _received(line)()
    except Exception as error:  # noqa: BLE001  (the worker raises it, here nobody would hear of it)
        return send_answer(line, error)
    send_answer(line, None)
    while True:
        send_answer(line, _encoded(encoder, _received(line)))


def _encoded(encoder: ItemEncoder, item: Item) -> Prompt | Exception:
    try:
        return encode_item(encoder, item)
    except Exception as error:  # noqa: BLE001  (the worker raises it)
        return error


def _received(line: socket) -> Any:
    """From the worker that started this process, and so may have it do anything."""
    return pickle.loads(receive_frame(line))  # noqa: S301


def _end_with(parent: int) -> None:
    """A picture may take long: then nobody reads the line whose end says that the worker is gone."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    os.nice(_NICENESS)
    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        serve(socket(fileno=int(sys.argv[1])))
    except (EOFError, ConnectionError):
        sys.exit()
