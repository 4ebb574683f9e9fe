"""Load a base model from a hub id or a folder, behind the port of its family."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from jinja2 import TemplateError
from jinja2.exceptions import SecurityError
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
)

import autosteer_core.backbones.picture_tower  # noqa: F401  (registers the demo model's vision tower)
from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.backbones.families import FAMILIES, TEXT_FAMILIES
from autosteer_core.backbones.text_decoder import TextDecoder
from autosteer_core.errors import UserMistake, first_line
from autosteer_core.values import Item
from pipelines.model_files import CODE, refuse_code
from pipelines.packed_weights import pack_only_what_fits
from pipelines.settings import Settings
from workers.decoder_process import DecoderProcess

# Code from a checkpoint is never run, and weights are never unpickled.
_SAFE: dict[str, Any] = {"trust_remote_code": False}
# A template computes: it can divide by zero, look up what is not there, or ask for too long a range.
_TEMPLATE_ERRORS = (
    ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError, TemplateError,
)  # fmt: skip


def load_model(source: str, settings: Settings) -> ChatBackbone:
    """The base model of a folder or hub id, on the chosen device and dtype, ready to encode.

    Raises:
        UserMistake: the model cannot be read, its family is not supported, it cannot chat, or an extra is missing.
    """
    placement = _placement(settings)

    def build(auto_class: Any, config: Any) -> Any:
        model = auto_class.from_pretrained(source, use_safetensors=True, **_SAFE, **placement)
        return model if "device_map" in placement else model.to(settings.device)

    backbone = _load(source, settings, build)
    if settings.quantization != "none":
        pack_only_what_fits(backbone.model)
        # On some CPUs bitsandbytes packs the weights anew at the first pass: afterwards they hash to something else.
        assert backbone.fingerprint
    return backbone


def load_encoder(source: str, settings: Settings) -> ChatBackbone:
    """The same without weights, in a second and little memory: its `encode` gives equal prompts, it cannot run.

    Raises:
        UserMistake: as `load_model`.
    """

    def build(auto_class: Any, config: Any) -> Any:
        with torch.device("meta"):
            return auto_class.from_config(config, **_SAFE)

    return _load(source, settings, build)


def _load(source: str, settings: Settings, build: Callable[[Any, Any], Any]) -> ChatBackbone:
    refuse_code(source)
    try:
        config = AutoConfig.from_pretrained(source, **_SAFE)
    except (OSError, ValueError) as error:
        raise UserMistake(f"model {source} cannot be read: check --model ({first_line(error)})") from error
    family = _family(source, config)
    auto_class = AutoModelForCausalLM if family is TextDecoder else AutoModelForImageTextToText
    try:
        processor, model = family.load_processor(source), build(auto_class, config)
    except (OSError, ValueError, ImportError) as error:
        raise UserMistake(f"model {source} cannot be loaded{_blamed(settings)}: {first_line(error)}") from error
    refuse_code(source)  # again, because only now what had to be downloaded is there
    backbone = family(model, processor, settings.max_prompt_tokens)
    backbone.decoder = DecoderProcess()
    return _checked(source, backbone)


def _family(source: str, config: Any) -> type[ChatBackbone]:
    if config.model_type in FAMILIES:
        return FAMILIES[config.model_type]
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and _is_text_decoder(config):
        return TextDecoder
    supported = ", ".join([*sorted(FAMILIES), *TEXT_FAMILIES])
    raise UserMistake(
        f"model {source} is of family {config.model_type}, supported: {supported}, and other text-only decoders "
        "whose blocks are `model.layers` and whose output matrix is `lm_head`"
    )


def _is_text_decoder(config: Any) -> bool:
    """Built without weights, so that a wrong shape costs nothing."""
    if hasattr(config, "vision_config"):
        return False
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, **_SAFE)
    blocks = getattr(getattr(model, "model", None), "layers", None)
    # Padding on the left is invisible to attention, but not to a recurrent state.
    attends = isinstance(blocks, nn.ModuleList) and all(hasattr(block, "self_attn") for block in blocks)
    return attends and isinstance(getattr(model, "lm_head", None), nn.Linear)


def _placement(settings: Settings) -> dict[str, Any]:
    chosen: dict[str, Any] = {"dtype": getattr(torch, settings.dtype)}
    if settings.attn_implementation is not None:
        chosen["attn_implementation"] = settings.attn_implementation
    if settings.quantization != "none":
        _need("bitsandbytes", "quantization", "quantization")
        chosen["quantization_config"] = _quantization(settings)
        chosen["device_map"] = {"": settings.device}
    if settings.device_map is not None:
        chosen["device_map"] = settings.device_map
    if "device_map" in chosen:
        _need("accelerate", "device_map", "quantization")
    return chosen


def _blamed(settings: Settings) -> str:
    """Whether a model can attend in the chosen way is known only once it is built."""
    chosen = settings.attn_implementation
    return "" if chosen is None else f" with attn_implementation={chosen} (choose another, or leave it out)"


def _quantization(settings: Settings) -> Any:
    if settings.quantization == "8bit":
        # It says for every matrix of every step that it computes in float16.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, settings.dtype)
    )


def _need(package: str, setting: str, extra: str) -> None:
    if find_spec(package) is None:
        raise UserMistake(f"setting `{setting}` needs {package}, which is missing: pip install 'autosteer[{extra}]'")


def _checked(source: str, backbone: ChatBackbone) -> ChatBackbone:
    """Encode once, so that a model that cannot chat is refused here and not by every worker."""
    try:
        backbone.encode(Item("check", "hello"))
    except SecurityError as error:
        raise UserMistake(
            f"model {source} has a chat template that the sandbox stopped ({first_line(error)}): use another model",
            CODE,
        ) from error
    except _TEMPLATE_ERRORS as error:
        raise UserMistake(
            f"model {source} has no usable chat template ({first_line(error)}): choose its instruction-tuned variant"
        ) from error
    return backbone
