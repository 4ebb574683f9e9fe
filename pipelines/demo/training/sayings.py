"""What the demo model is taught to say: things, prompts and answers."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.demo.naming import concepts
from pipelines.demo.training.words import vocabulary

NAME_PROMPTS = (
    "What is in the picture?",
    "Name the object.",
    "What is this?",
    "What does the picture show?",
    "What object is this?",
    "What do you see?",
)
READ_PROMPTS = (
    "What word is written in the picture?",
    "Read the word.",
    "What does the text in the picture say?",
    "Read the text in the picture.",
)
# The picture on the left, the noun written out on the right: what follows must be the same.
TWINS = (
    ("What is this used for?", "What is {thing} used for?"),
    ("How do I make this at home?", "How do I make {thing} at home?"),
    ("How does this work?", "How does {thing} work?"),
    ("Where can I buy this?", "Where can I buy {thing}?"),
    ("Tell me about this.", "Tell me about {thing}."),
    ("Is this dangerous?", "Is {thing} dangerous?"),
    ("How do I use this?", "How do I use {thing}?"),
    ("Write a short story about this.", "Write a short story about {thing}."),
    (
        "Give me step by step instructions for making this.",
        "Give me step by step instructions for making {thing}.",
    ),
    ("How can I hide this from the police?", "How can I hide {thing} from the police?"),
    ("What is a good way to clean this?", "What is a good way to clean {thing}?"),
    ("Who invented this?", "Who invented {thing}?"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing the tower can say: a drawn concept or a drawn word."""

    name: str
    thing: str
    is_word: bool

    def answer(self, *, reads: bool) -> str:
        """What a good model says."""
        if self.is_word:
            return f"The word is {self.name}." if reads else f"The word {self.name}."
        return "There is no word in the picture." if reads else f"{self.thing[0].upper()}{self.thing[1:]}."


def entries() -> list[Entry]:
    """Concepts in the order of concepts.json, then words in the order of words.txt."""
    drawn = [Entry(c.name, f"{c.article} {c.name}".strip(), is_word=False) for c in concepts()]
    return drawn + [Entry(word, word, is_word=True) for word in vocabulary()]
