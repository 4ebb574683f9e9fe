"""Loading a base model: what is refused, and in which words; quantised weights where the extra is installed."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MambaConfig, MambaForCausalLM

from autosteer_core.activations import read_activations
from autosteer_core.backbones.text_decoder import TextDecoder
from autosteer_core.decoding import decode
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import UserMistake
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import Item
from pipelines.engines import build_engine
from pipelines.load_model import load_model
from pipelines.settings import Settings
from tests.pictures import png
from tests.tiny_bundle import tiny_bundle
from tests.tiny_model import save_tiny_model
from tests.tiny_models.parts import SIZES, built
from tests.tiny_models.registry import TINY


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """A saved text-only model."""
    backbone = TINY["llama"](0).backbone
    backbone.model.save_pretrained(tmp_path)
    backbone.processor.save_pretrained(tmp_path)
    return tmp_path


def change(file: Path, **values: Any) -> None:
    """Overwrite keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(UserMistake, match="model /no/such/model cannot be read: check --model"):
        load_model("/no/such/model", Settings())


def test_an_unknown_family_is_refused_with_the_supported_ones(tmp_path: Path) -> None:
    MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=50)).save_pretrained(tmp_path)

    with pytest.raises(UserMistake, match="of family mamba, supported: chameleon, gemma3, .*llama.*other text-only"):
        load_model(str(tmp_path), Settings())


def test_code_that_comes_with_a_checkpoint_is_never_run(llama: Path) -> None:
    (llama / "evil.py").write_text("raise SystemExit('code of the checkpoint ran')")
    change(
        llama / "config.json",
        model_type="evil",
        auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.M"},
    )

    with pytest.raises(UserMistake, match="config.json has `auto_map`, which makes Transformers load code"):
        load_model(str(llama), Settings())


def test_pickled_weights_are_refused(llama: Path) -> None:
    backbone = TINY["llama"](0).backbone
    torch.save(backbone.model.state_dict(), llama / "pytorch_model.bin")
    (llama / "model.safetensors").unlink()

    with pytest.raises(UserMistake, match="weights in pytorch_model.bin, a pickle, .* expected safetensors"):
        load_model(str(llama), Settings())


def test_a_model_without_a_chat_template_is_refused(llama: Path) -> None:
    (llama / "chat_template.jinja").unlink()

    with pytest.raises(UserMistake, match="no usable chat template .*instruction-tuned"):
        load_model(str(llama), Settings())


def test_a_template_that_drops_the_users_text_is_refused(llama: Path) -> None:
    (llama / "chat_template.jinja").write_text("hello")

    with pytest.raises(UserMistake, match="does not write the user's text exactly once"):
        load_model(str(llama), Settings())


def test_a_tokenizer_without_padding_pads_with_its_stop_token(llama: Path) -> None:
    change(llama / "tokenizer_config.json", pad_token=None)

    loaded = load_model(str(llama), Settings())

    assert loaded.tokenizer.pad_token_id == loaded.tokenizer.eos_token_id
    prompts = [loaded.encode(Item("a", text)) for text in ["hm", "how do I make a cake"]]
    answers = [answer.ids for answer in decode(loaded, prompts, 4)]
    assert answers == [decode(loaded, [prompt], 4)[0].ids for prompt in prompts]


def test_a_decoder_of_the_same_shape_but_of_another_name_loads(llama: Path) -> None:
    backbone = TINY["llama"](0).backbone
    config = backbone.model.config
    from transformers import OlmoConfig, OlmoForCausalLM

    olmo = OlmoConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        vocab_size=config.vocab_size, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    OlmoForCausalLM(olmo).save_pretrained(llama)

    loaded = load_model(str(llama), Settings())

    assert type(loaded) is TextDecoder
    assert loaded.shared_prefix == []
    assert read_activations(loaded, [loaded.encode(Item("a", "hm"))], [2]).shape[-1] == 32


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_chosen_dtype_is_what_runs_and_what_the_fingerprint_says(tmp_path: Path, dtype: str) -> None:
    folder = str(save_tiny_model(tmp_path))

    loaded = load_model(folder, Settings(dtype=dtype))

    assert loaded.model.dtype is getattr(torch, dtype)
    assert loaded.fingerprint != load_model(folder, Settings()).fingerprint
    assert read_activations(loaded, [loaded.encode(Item("a", "hm"))], [2]).isfinite().all()


def test_a_device_map_places_the_model(llama: Path) -> None:
    pytest.importorskip("accelerate")

    loaded = load_model(str(llama), Settings(device_map="auto"))

    assert decode(loaded, [loaded.encode(Item("a", "hm"))], 3)
    assert loaded.fingerprint == load_model(str(llama), Settings()).fingerprint


# Some CPUs pack 4-bit weights whose rows come in multiples of 32: with one key head they do not.
@pytest.mark.parametrize(("quantization", "key_heads"), [("8bit", 4), ("4bit", 4), ("4bit", 1)])
def test_quantised_weights_read_almost_the_same_and_have_their_own_fingerprint(
    llama: Path, quantization: str, key_heads: int
) -> None:
    pytest.importorskip("bitsandbytes")
    sizes = SIZES | {"hidden_size": 64, "num_key_value_heads": key_heads, "initializer_range": 0.1}
    words = len(TINY["llama"](0).own_processor)
    built(AutoModelForCausalLM.from_config, LlamaConfig(**sizes, vocab_size=words), 0).save_pretrained(llama)
    whole, items = load_model(str(llama), Settings()), [Item("a", "how do I make a cake"), Item("b", "hm")]

    loaded = load_model(str(llama), Settings(quantization=quantization))

    prompts = [loaded.encode(item) for item in items]
    read, wanted = (read_activations(each, prompts, [2]).flatten(1) for each in (loaded, whole))
    assert torch.nn.functional.cosine_similarity(read, wanted).min() > 0.9
    assert not torch.equal(read, wanted)
    assert len(decode(loaded, prompts, 3)) == 2
    again = load_model(str(llama), Settings(quantization=quantization))
    assert loaded.fingerprint == again.fingerprint != whole.fingerprint


def test_a_missing_extra_is_named(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.load_model.find_spec", lambda package: None)

    with pytest.raises(
        UserMistake, match=r"`quantization` needs bitsandbytes.*pip install 'autosteer\[quantization\]'"
    ):
        load_model(str(llama), Settings(quantization="4bit"))


def test_a_chosen_attention_is_what_runs(tmp_path: Path) -> None:
    folder = str(save_tiny_model(tmp_path))

    eager, sdpa = (load_model(folder, Settings(attn_implementation=chosen)) for chosen in ("eager", "sdpa"))

    assert eager.model.config._attn_implementation == "eager"
    assert eager.fingerprint == sdpa.fingerprint
    read, wanted = (read_activations(each, [each.encode(Item("a", "hm", (png(),)))], [3]) for each in (eager, sdpa))
    torch.testing.assert_close(read, wanted, atol=2e-4, rtol=1e-4)
    assert not torch.equal(read, wanted)


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="this machine can")
def test_an_attention_that_the_machine_cannot_compute_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match=r"with attn_implementation=flash_attention_2 \(choose another, or leave"):
        load_model(str(save_tiny_model(tmp_path)), Settings(attn_implementation="flash_attention_2"))


def test_the_slot_engine_refuses_an_attention_without_masks_before_anything_is_loaded() -> None:
    settings = Settings(model="/no/such/model", attn_implementation="flash_attention_2")

    with pytest.raises(UserMistake, match="slot engine masks every row .* engine=static"):
        build_engine(settings)


@pytest.mark.parametrize("engine", [SlotEngine, StaticEngine])
def test_a_model_spread_by_a_device_map_audits_and_answers_as_a_whole_one(llama: Path, engine: Any) -> None:
    pytest.importorskip("accelerate")
    whole = load_model(str(llama), Settings())
    # One device here: the map still puts every block behind a hook that moves its inputs.
    spread = load_model(str(llama), Settings(device_map="sequential"))
    items, options = [Item("a", "hm"), Item("b", "how do I make a cake")], EngineOptions(max_new_tokens=3, slots=2)

    rows = [engine(each, tiny_bundle(each), options) for each in (whole, spread)]

    assert rows[0].audit(items) == rows[1].audit(items)
    assert rows[0].generate(items) == rows[1].generate(items)
