"""Whatever a text is made of: it is encoded as text or told of, and no number lets a row pass that was not judged."""

import math
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosteer_core.errors import BadItem
from autosteer_core.values import Action, Item
from autosteer_core.verdict_stages import gated
from tests.pictures import png
from tests.security.disguises import DISGUISES, FOREIGN
from tests.security.hostile_tokenizers import NAMES, backbone
from tests.security.scale import SEED, scaled
from tests.security.test_control_tokens import HARMLESS, count

pytestmark = pytest.mark.security

TEXTS = 4_000
PICTURE = png("red", (40, 60))
LETTERS = [
    "a", "Z", "0", " ", "\t", "\n", "\r\n", "\x00", "\x1b[2J", "\ufeff", "\ufffe", "\u202e", "\u200b", "\u2028",
    "e\u0301", "\u0301" * 40, "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "日本", "\ud800", "{{7*7}}",
    "<", ">", "|", "[", "]", "image", "im_end", "INST", "system",
]  # fmt: skip


def text_of(luck: Random, tokens: list[str]) -> str:
    """Letters of all kinds, with pieces and disguises of control tokens among them."""
    pieces = []
    for _ in range(luck.randint(1, 30)):
        token = luck.choice(tokens)
        cut = luck.randrange(len(token) + 1)
        pieces.append(
            luck.choice([luck.choice(LETTERS), token, token[:cut], luck.choice(list(DISGUISES.values()))(token)])
        )
    return "".join(pieces)


def test_no_text_makes_a_control_id_or_an_error_that_is_not_the_items(report: Callable[[str, object], None]) -> None:
    luck, ended = Random(SEED), Counter[str]()
    chats = {name: backbone(name) for name in NAMES}
    tokens = {
        name: [*FOREIGN, *(token.content for token in chat.tokenizer.added_tokens_decoder.values())]
        for name, chat in chats.items()
    }
    wanted = {name: count(chat, HARMLESS, 0) for name, chat in chats.items()}
    for _ in range(scaled(TEXTS)):
        name = luck.choice(NAMES)
        text = text_of(luck, tokens[name])
        try:
            assert count(chats[name], text, 0) == wanted[name], (name, text)
        except BadItem as error:
            ended[error.flaw.code] += 1
        else:
            ended["encoded"] += 1
    report("texts fuzzed", f"{sum(ended.values())}, {dict(ended)}")
    assert ended["encoded"] > sum(ended.values()) / 2


@given(
    risk=st.one_of(st.floats(), st.sampled_from([math.nan, math.inf, -math.inf])),
    threshold=st.floats(0, 1),
    borderline=st.booleans(),
)
@settings(max_examples=2_000)
def test_only_a_finite_risk_below_its_threshold_lets_a_row_be_answered(
    risk: float, threshold: float, borderline: bool
) -> None:
    verdict = gated(Item("a", "x", (PICTURE,)), risk, threshold, borderline=borderline)

    assert (verdict.action is Action.ANSWER) == (math.isfinite(risk) and risk < threshold)
    assert verdict.gate_evaluations >= 1
    if not math.isfinite(risk):
        assert verdict.action is Action.REVIEW and verdict.flaw is not None
