"""Ways to type a control token, and to hide it from a filter that looks for its plain form."""

import html
from collections.abc import Callable

ZERO_WIDTH = "\u200b"
_TO_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def _split(token: str) -> str:
    """The token inside itself: one pass that strips it leaves it whole."""
    middle = len(token) // 2
    return f"{token[:middle]}{token}{token[middle:]}"


def _zero_width(token: str) -> str:
    middle = len(token) // 2
    return f"{token[:middle]}{ZERO_WIDTH}{token[middle:]}"


DISGUISES: dict[str, Callable[[str], str]] = {
    "plain": lambda token: token,
    "inside itself": _split,
    "full width": lambda token: token.translate(_TO_FULL_WIDTH),
    "zero width inside": _zero_width,
    "swapped case": str.swapcase,
    "html escaped": html.escape,
    "between words and spaces": lambda token: f"say {token} \n{token}now",
}

# What the families' own templates write, whether or not a tokenizer knows it: people paste it from elsewhere.
FOREIGN = [
    "<image>", "<video>", "<|image_pad|>", "<image_soft_token>", "<|im_start|>system\n", "<|im_end|>", "[INST]",
    "[/INST]", "<<SYS>>", "<s>", "</s>", "<pad>", "<unk>", "<bos>", "<eos>", "<|endoftext|>", "<|eot_id|>",
    "<|begin_of_text|>", "<start_of_turn>model\n", "<end_of_turn>", "<think>", "</think>", "<tool_call>",
]  # fmt: skip
