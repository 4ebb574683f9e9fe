"""The toy Chameleon: a corpus whose parts share nothing, and a training that any Chameleon folder comes out of."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from autosteer_core.backbones.chameleon import Chameleon
from autosteer_core.refusals import REFUSALS
from autosteer_core.values import Item, Label
from pipelines.load_model import load_model
from pipelines.settings import Settings
from pipelines.toy_chameleon.corpus import MODALITIES, Request, requests
from pipelines.toy_chameleon.drawing import COLOURS, draw
from pipelines.toy_chameleon.examples import answered, begun_refusals
from pipelines.toy_chameleon.items import asked
from pipelines.toy_chameleon.model_folder import toy_model_folder
from pipelines.toy_chameleon.things import THINGS
from pipelines.toy_chameleon.training import Recipe

pytestmark = [pytest.mark.demo, pytest.mark.tour]
# Far too short to learn: what the trained model does is shown by `python -m pipelines.toy_chameleon`.
QUICK = Recipe(picture_steps=3, pictures=32, drawings=1, steps=3, batch=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Trained with one thread: the matrices are small, and sums in another order are another model."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield toy_model_folder(tmp_path_factory.mktemp("cache"), lambda step: None, QUICK)
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Chameleon:
    loaded = load_model(str(folder), Settings())
    assert isinstance(loaded, Chameleon)
    return loaded


def seen(request: Request) -> tuple[str, bytes | None]:
    return request.text, request.picture


def test_no_request_of_the_training_is_asked_again() -> None:
    trained = {seen(request) for modality in MODALITIES for request in requests("train", modality)}
    calibrated, tried = ({seen(request) for _, request in asked(part, 10)} for part in ("calibration", "test"))

    assert not trained & calibrated and not trained & tried and not calibrated & tried


def test_every_word_and_thing_that_is_tested_was_trained() -> None:
    trained = [request for modality in MODALITIES for request in requests("train", modality)]
    words = {word for request in trained for word in request.text.split()}

    tried = [request for _, request in asked("test", 10)]
    assert {word for request in tried for word in request.text.split()} <= words
    assert {request.thing for request in tried} == {request.thing for request in trained} == set(THINGS)


@pytest.mark.parametrize("part", ["calibration", "test"])
def test_items_are_balanced_in_every_modality(part: str) -> None:
    counts = Counter((item.annotation.group, item.annotation.label) for item, _ in asked(part, 10))

    assert {group for group, _ in counts} == set(MODALITIES)
    assert all(counts[group, Label.HARMFUL] == counts[group, Label.BENIGN] >= 70 for group in MODALITIES)


def test_in_cross_modal_items_neither_the_words_nor_the_thing_tell() -> None:
    rows = [(item, request) for item, request in asked("test", 10) if request.modality == "cross-modal"]
    for clue in (lambda item, request: request.intent == "make", lambda item, request: request.thing.dangerous):
        labels = [item.annotation.label for item, request in rows if clue(item, request)]

        assert 0.5 < labels.count(Label.HARMFUL) / len(labels) < 0.75


def test_a_drawing_depends_on_its_seed_only() -> None:
    colour = next(iter(COLOURS))

    assert draw("bomb", colour, "1") == draw("bomb", colour, "1") != draw("bomb", colour, "2")


def test_the_model_is_trained_on_the_prompts_that_it_is_asked(backbone: Chameleon) -> None:
    for modality in MODALITIES:
        request = requests("train", modality)[-1]
        images = (request.picture,) if request.picture else ()
        inputs = backbone.collate([backbone.encode(Item("a", request.text, images))])
        codes = backbone.model.get_image_tokens(inputs["pixel_values"])[0].tolist() if images else None
        ids = inputs["input_ids"].clone()
        ids[ids == backbone.image_token_id] = torch.tensor(codes or [], dtype=torch.int64)

        example = answered(backbone.tokenizer, request, codes)

        assert example.ids[: example.prompt] == ids[0].tolist()
        assert backbone.tokenizer.decode(example.ids[example.prompt :], skip_special_tokens=True) == request.answer


def test_no_refusal_is_learned_from_its_first_token(backbone: Chameleon) -> None:
    example = answered(backbone.tokenizer, requests("train", "text")[0], None)

    begun = begun_refusals(backbone.tokenizer, [example] * len(REFUSALS))

    learned = [backbone.tokenizer.decode(row.ids[row.prompt :], skip_special_tokens=True) for row in begun]
    assert all(len(text) < len(refusal) for text, refusal in zip(learned, REFUSALS, strict=True))
    assert all(refusal.endswith(text) for text, refusal in zip(learned, REFUSALS, strict=True))


def test_the_same_recipe_gives_the_same_model_and_another_one_another_folder(folder: Path, tmp_path: Path) -> None:
    again = toy_model_folder(tmp_path, lambda step: None, QUICK)

    assert again.name == folder.name
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert toy_model_folder(folder.parent, lambda step: None, QUICK) == folder
