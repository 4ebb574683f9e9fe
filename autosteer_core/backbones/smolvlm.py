"""SmolVLM: Idefics3 at small sizes."""

from autosteer_core.backbones.idefics3 import Idefics3


class SmolVLM(Idefics3):
    """`SmolVLMForConditionalGeneration`.

    Idefics3's processor writes the same prompt (a test compares the two); SmolVLM's own would ask for torchvision and
    for a package that spells numbers, both for video only.
    """
