"""Items beyond a limit are error rows of their own kind, and the rest of the batch does not notice."""

from dataclasses import replace
from typing import Any

import pytest

from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.engine import EngineOptions
from autosteer_core.values import Action, Item, Verdict
from tests.pictures import png
from tests.tiny_bundle import tiny_bundle
from tests.tiny_items import mixed_items

Build = Any  # an engine's class

ITEMS = mixed_items(6)
OPTIONS = EngineOptions(max_new_tokens=4, slots=3)
MOST = 45  # tokens: more than any of the items has


def run(build: Build, backbone: LlavaOnevision, items: list[Item], kind: str = "generate") -> list[Verdict]:
    rows: list[Verdict] = getattr(build(backbone, tiny_bundle(backbone), OPTIONS), kind)(items)
    return [replace(row, risk=round(row.risk, 4)) for row in rows]


@pytest.fixture
def limited(backbone: LlavaOnevision) -> LlavaOnevision:
    """The same model with a low limit of prompt tokens."""
    return LlavaOnevision(backbone.model, backbone.processor, MOST)


@pytest.mark.parametrize("kind", ["generate", "audit"])
def test_pictures_of_too_many_tokens_and_texts_too_long_are_told_apart(
    build: Build, kind: str, limited: LlavaOnevision
) -> None:
    pictures = Item("pictures", "hm", (png(),) * 12, 98)
    text = Item("text", "cake home " * 30, row=99)

    rows = run(build, limited, [pictures, *ITEMS, text], kind)

    assert rows[0].action is rows[-1].action is Action.ERROR
    assert [row.flaw.code for row in rows if row.flaw] == ["E_IMAGE_TOKENS", "E_TEXT_TOO_LONG"]
    assert rows[0].flaw is not None and f"at most {MOST} allowed" in rows[0].flaw.message
    assert "fewer or smaller pictures" in rows[0].flaw.message
    assert rows[1:-1] == run(build, limited, ITEMS, kind)


def test_an_answer_that_may_leave_the_models_context_is_refused_before_decoding(
    build: Build, backbone: LlavaOnevision, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = Item("long", "cake home " * 14, row=98)
    tokens = len(backbone.encode(long).ids)
    brief = replace(long, item_id="brief", max_new_tokens=2)
    wanted = run(build, backbone, ITEMS)
    monkeypatch.setattr(backbone.model.config.get_text_config(), "max_position_embeddings", tokens + 2)

    rows = run(build, backbone, [long, *ITEMS, brief])

    assert [row.flaw.code if row.flaw else None for row in rows] == ["E_CONTEXT", *[None] * 7]
    assert rows[0].answer is None
    assert rows[0].flaw is not None
    assert f"{tokens} tokens and the answer up to 4, the model's context holds {tokens + 2}" in rows[0].flaw.message
    assert rows[1:-1] == wanted
    assert [row.flaw for row in run(build, backbone, [long], "audit")] == [None]


@pytest.mark.parametrize("kind", ["generate", "audit"])
def test_a_prompt_that_fills_the_models_context_is_an_error_row(
    build: Build, kind: str, backbone: LlavaOnevision, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = Item("long", "cake home " * 14, row=98)
    monkeypatch.setattr(
        backbone.model.config.get_text_config(), "max_position_embeddings", len(backbone.encode(long).ids)
    )

    assert [row.flaw.code for row in run(build, backbone, [long], kind) if row.flaw] == ["E_CONTEXT"]
