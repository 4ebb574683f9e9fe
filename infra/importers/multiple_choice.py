"""A question with lettered options as one prompt."""

from collections.abc import Sequence

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ASK_LETTER = "Answer with the letter of the correct option only."
ASK_SHORT = "Answer with a single word or phrase."


def as_prompt(question: str, choices: Sequence[str]) -> str:
    """Without choices the question is open."""
    if not choices:
        return f"{question}\n{ASK_SHORT}"
    options = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([question, *options, ASK_LETTER])
