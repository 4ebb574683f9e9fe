"""Every tokenizer that can be built offline, behind the backbone that uses it, and a few made to be fooled."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tokenizers import AddedToken, Tokenizer, normalizers
from transformers import LlamaConfig, LlavaOnevisionConfig, PreTrainedTokenizerFast

from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.backbones.text_decoder import TextDecoder
from autosteer_core.errors import UserMistake
from pipelines.demo.model import IMAGE_TOKEN_ID, VIDEO_TOKEN_ID, language_model_file, save_processor
from pipelines.load_model import load_encoder
from pipelines.settings import Settings
from tests.tiny_models.parts import VISION, built, qwen2
from tests.tiny_models.registry import PICTURED, TINY
from tests.tiny_models.text_models import CHATML
from tests.tiny_models.vocabulary import PAD, START, STOP, tokenizer

TURNS = ["<|im_start|>", "<|im_end|>"]


def _tiny(name: str) -> ChatBackbone:
    return TINY[name](0).backbone


def _demo() -> ChatBackbone:
    """SmolLM2's own tokenizer of 49,152 tokens, as the demo model uses it; weights are not needed."""
    try:
        language_model_file()
    except UserMistake as missing:
        pytest.skip(str(missing))
    with TemporaryDirectory() as folder:
        save_processor(Path(folder))
        text = LlamaConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
        LlavaOnevisionConfig(
            text_config=text, vision_config={"model_type": "siglip_vision_model", **VISION},
            image_token_index=IMAGE_TOKEN_ID, video_token_index=VIDEO_TOKEN_ID,
        ).save_pretrained(folder)  # fmt: skip
        return load_encoder(folder, Settings())


def _dressed(dress: Callable[[Tokenizer], None]) -> ChatBackbone:
    """A Qwen2 decoder whose tokenizer was changed: its control tokens are easier to spell than they should be."""
    words = tokenizer("bytes", TURNS, CHATML)
    backend = Tokenizer.from_str(words.backend_tokenizer.to_str())
    dress(backend)
    changed = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=PAD, eos_token=STOP, chat_template=CHATML, padding_side="left"
    )
    return TextDecoder(built_decoder(len(changed)), changed)


def built_decoder(vocabulary: int) -> object:
    from transformers import AutoModelForCausalLM

    return built(AutoModelForCausalLM.from_config, qwen2(vocabulary), 0)


def _compatible(backend: Tokenizer) -> None:
    """Full-width letters become plain ones before control tokens are looked for."""
    backend.normalizer = normalizers.NFKC()
    backend.add_special_tokens([AddedToken(token, normalized=True) for token in (*TURNS, START)])


def _lower(backend: Tokenizer) -> None:
    """Capitals become small letters before control tokens are looked for."""
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.add_special_tokens([AddedToken(token, normalized=True) for token in (*TURNS, START)])


def _greedy(backend: Tokenizer) -> None:
    """Control tokens swallow the white space around them."""
    backend.add_special_tokens([AddedToken(token, lstrip=True, rstrip=True, normalized=False) for token in TURNS])


def _invisible(backend: Tokenizer) -> None:
    """What cannot be seen is removed before control tokens are looked for."""
    backend.normalizer = normalizers.Replace("\u200b", "")
    backend.add_special_tokens([AddedToken(token, normalized=True) for token in (*TURNS, START)])


_MAKERS: dict[str, Callable[[], ChatBackbone]] = {
    **{name: partial(_tiny, name) for name in TINY},
    "demo (SmolLM2)": _demo,
    "NFKC first": partial(_dressed, _compatible),
    "lower case first": partial(_dressed, _lower),
    "greedy tokens": partial(_dressed, _greedy),
    "invisible removed first": partial(_dressed, _invisible),
}
NAMES = list(_MAKERS)
TRUSTING = ("NFKC first", "lower case first", "invisible removed first")


@cache
def backbone(name: str) -> ChatBackbone:
    """One of NAMES; skips where its tokenizer is not on this machine."""
    return _MAKERS[name]()


def most_pictures(name: str) -> int:
    """How many pictures its prompts are tested with."""
    return 2 if name in PICTURED or name.startswith("demo") else 0
