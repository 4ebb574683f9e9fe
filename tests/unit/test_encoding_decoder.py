"""A loaded model has its pictures decoded in another process, which text alone never starts."""

from pathlib import Path

import pytest
import torch

from autosteer_core.backbones.chat_prompt import ChatPrompt
from autosteer_core.errors import BadItem
from autosteer_core.pictures import DirectDecoder
from autosteer_core.values import Item
from pipelines.load_model import load_encoder
from pipelines.settings import Settings
from tests.pictures import encoded, noisy, png
from tests.tiny_models.registry import TINY
from workers.decoder_process import DecoderProcess


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    made, place = TINY["llava"](0), tmp_path_factory.mktemp("llava")
    made.backbone.model.save_pretrained(place)
    made.own_processor.save_pretrained(place)
    return str(place)


def test_pictures_leave_the_process_and_come_back_the_same(folder: str) -> None:
    backbone = load_encoder(folder, Settings())
    decoder = backbone.decoder
    assert isinstance(decoder, DecoderProcess)

    backbone.encode(Item("text", "hm"))
    assert decoder.pid is None

    pictures = (encoded(noisy(1, (70, 50)), "JPEG"), png("blue", (30, 40)))
    found = backbone.encode(Item("pictures", "hm", pictures))
    assert decoder.pid is not None
    backbone.decoder = DirectDecoder()
    wanted = backbone.encode(Item("pictures", "hm", pictures))
    assert isinstance(found, ChatPrompt) and isinstance(wanted, ChatPrompt)
    assert found.ids == wanted.ids
    assert all(torch.equal(found.pictures[name], tensor) for name, tensor in wanted.pictures.items())


def test_a_bad_picture_is_told_with_its_column(folder: str) -> None:
    backbone = load_encoder(folder, Settings())

    with pytest.raises(BadItem) as refused:
        backbone.encode(Item("pictures", "hm", (png(), png()[:60])))

    assert (refused.value.flaw.code, refused.value.flaw.column) == ("E_IMAGE_TRUNCATED", "images[1]")


def test_more_pictures_than_the_template_shows_are_refused_before_they_are_decoded(
    folder: str, tmp_path: Path
) -> None:
    backbone = load_encoder(folder, Settings())
    template = "{% for turn in messages %}USER: <image>\n{{ turn['content'][-1]['text'] }}{% endfor %} ASSISTANT:"
    backbone.processor.chat_template = template

    with pytest.raises(BadItem, match="E_IMAGE_COUNT: the item has 2 images, at most 1 allowed"):
        backbone.encode(Item("pictures", "hm", (b"never", b"looked at")))
