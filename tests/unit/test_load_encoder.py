"""An encoder without weights gives the prompts of the whole model, for every family, also through a socket."""

import socket
from dataclasses import fields
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from autosteer_core.backbones.chat_prompt import ChatPrompt
from autosteer_core.errors import UserMistake
from autosteer_core.values import Item
from pipelines.load_model import load_encoder, load_model
from pipelines.settings import Settings
from tests.pictures import png
from tests.tiny_models.registry import PICTURED, TINY
from workers.encoding_wire import receive_answer, send_answer

TEXT = "what is in the picture"
PICTURES = (png("red", (40, 60)), png("blue", (70, 30)))


def saved(name: str, folder: Path) -> str:
    """A model folder as a user has it."""
    made = TINY[name](0)
    made.backbone.model.save_pretrained(folder)
    made.own_processor.save_pretrained(folder)
    return str(folder)


def through_a_socket(prompt: Any) -> Any:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = Thread(target=send_answer, args=(theirs, prompt))
        sender.start()
        received = receive_answer(ours)
        sender.join()
    return received


def assert_equal(prompt: Any, wanted: Any) -> None:
    """Field by field, pictures bit by bit."""
    assert type(prompt) is type(wanted) is ChatPrompt
    for field in fields(ChatPrompt):
        if field.name != "pictures":
            assert getattr(prompt, field.name) == getattr(wanted, field.name)
    assert prompt.pictures.keys() == wanted.pictures.keys()
    for name, tensor in wanted.pictures.items():
        assert prompt.pictures[name].dtype is tensor.dtype
        assert torch.equal(prompt.pictures[name], tensor)


@pytest.mark.parametrize("name", TINY)
def test_prompts_are_those_of_the_whole_model(name: str, tmp_path: Path) -> None:
    folder = saved(name, tmp_path)
    whole, encoder = load_model(folder, Settings()), load_encoder(folder, Settings())
    items = [Item("a", TEXT), Item("b", " <image> ü\n" * 9)]
    if name in PICTURED:
        items += [Item("c", TEXT, PICTURES[:1]), Item("d", "", PICTURES), Item("e", TEXT, PICTURES[1:])]

    assert type(encoder) is type(whole)
    assert {each.device.type for each in encoder.model.parameters()} == {"meta"}
    for item in items:
        assert_equal(encoder.encode(item), whole.encode(item))
        assert_equal(through_a_socket(encoder.encode(item)), whole.encode(item))


def test_what_cannot_be_loaded_is_refused_alike() -> None:
    with pytest.raises(UserMistake, match="model /no/such/model cannot be read: check --model"):
        load_encoder("/no/such/model", Settings())
