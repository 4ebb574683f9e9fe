"""Every family's tiny model by its `model_type`."""

from collections.abc import Callable
from functools import partial

from tests.tiny_models.chameleon_models import TEMPLATE, chameleon
from tests.tiny_models.idefics_models import idefics3, smolvlm
from tests.tiny_models.llava_models import llava, llava_next, llava_onevision
from tests.tiny_models.other_models import gemma3, internvl
from tests.tiny_models.parts import Tiny
from tests.tiny_models.qwen_models import qwen2_5_vl, qwen2_vl, qwen3_vl
from tests.tiny_models.text_models import DECODERS, text_decoder

PICTURED: dict[str, Callable[[int], Tiny]] = {
    "chameleon": partial(chameleon, template=TEMPLATE),
    "gemma3": gemma3, "idefics3": idefics3, "internvl": internvl, "llava": llava, "llava_next": llava_next,
    "llava_onevision": llava_onevision, "qwen2_5_vl": qwen2_5_vl, "qwen2_vl": qwen2_vl, "qwen3_vl": qwen3_vl,
    "smolvlm": smolvlm,
}  # fmt: skip
TEXT_ONLY: dict[str, Callable[[int], Tiny]] = {name: partial(text_decoder, name) for name in DECODERS}
TINY = PICTURED | TEXT_ONLY
