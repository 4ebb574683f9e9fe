"""Which class serves which `model_type` of a Transformers configuration."""

from collections.abc import Mapping

from autosteer_core.backbones.chameleon import Chameleon
from autosteer_core.backbones.chat import ChatBackbone
from autosteer_core.backbones.gemma3 import Gemma3
from autosteer_core.backbones.idefics3 import Idefics3
from autosteer_core.backbones.internvl import InternVL
from autosteer_core.backbones.llava import Llava
from autosteer_core.backbones.llava_next import LlavaNext
from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.backbones.qwen2_5_vl import Qwen25VL
from autosteer_core.backbones.qwen2_vl import Qwen2VL
from autosteer_core.backbones.qwen3_vl import Qwen3VL
from autosteer_core.backbones.smolvlm import SmolVLM

FAMILIES: Mapping[str, type[ChatBackbone]] = {
    "chameleon": Chameleon,
    "gemma3": Gemma3,
    "idefics3": Idefics3,
    "internvl": InternVL,
    "llava": Llava,
    "llava_next": LlavaNext,
    "llava_onevision": LlavaOnevision,
    "qwen2_5_vl": Qwen25VL,
    "qwen2_vl": Qwen2VL,
    "qwen3_vl": Qwen3VL,
    "smolvlm": SmolVLM,
}
# Read by `TextDecoder`; others of the same shape load too, and the shape is checked.
TEXT_FAMILIES = ("gemma3_text", "llama", "mistral", "qwen2", "qwen3")
