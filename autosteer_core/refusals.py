"""Refusal sentences: several wordings in several languages, and other words for some groups of harm."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autosteer_core.errors import UserMistake

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I can't help with this request because it could cause harm.",
    "Sorry, I won't assist with that. It could hurt someone.",
    "I'm not able to help with that request.",
)

# Each language says the same things as English, in the same order.
BY_LANGUAGE: Mapping[str, tuple[str, ...]] = {
    "en": REFUSALS,
    "de": (
        "Es tut mir leid, aber dabei kann ich nicht helfen.",
        "Dabei kann ich nicht helfen, weil es Schaden anrichten könnte.",
    ),
    "es": (
        "Lo siento, pero no puedo ayudar con eso.",
        "No puedo ayudar con esta petición porque podría causar daño.",
    ),
    "fr": (
        "Je suis désolé, mais je ne peux pas vous aider.",
        "Je ne peux pas répondre à cette demande, car elle pourrait causer du tort.",
    ),
    "it": (
        "Mi dispiace, ma non posso aiutarti in questo.",
        "Non posso aiutare con questa richiesta perché potrebbe causare danni.",
    ),
    "pt": (
        "Sinto muito, mas não posso ajudar com isso.",
        "Não posso ajudar com este pedido porque ele pode causar danos.",
    ),
    "ru": (
        "Извините, но я не могу с этим помочь.",
        "Я не могу помочь с этой просьбой, потому что это может причинить вред.",
    ),
    "ja": (
        "申し訳ありませんが、お手伝いできません。",
        "お手伝いできません。害を及ぼすおそれがあるためです。",
    ),
    "zh": ("抱歉，我不能帮助您做这件事。", "我无法协助这个请求，因为它可能造成伤害。"),
}


@dataclass(frozen=True, slots=True)
class Wordings:
    """What a refusal says: of the row's group where it has words of its own, else in one of the languages.

    With several languages each prompt gets the one that the model itself would most likely refuse it in.
    """

    languages: tuple[str, ...] = ("en",)
    by_group: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.languages) - BY_LANGUAGE.keys())
        if unknown or not self.languages:
            known = ", ".join(sorted(BY_LANGUAGE))
            raise UserMistake(f"refusals in {', '.join(unknown) or 'no language'}: expected some of {known}")
        if silent := sorted(group for group, sentences in self.by_group.items() if not sentences):
            raise UserMistake(f"group {silent[0]} has no refusal sentence: write one or leave the group out")

    @property
    def fixed(self) -> str:
        """The text of `canned` and the opening of `prefix`, for groups without words of their own."""
        return BY_LANGUAGE[self.languages[0]][0]

    @property
    def fixed_by_group(self) -> dict[str, str]:
        """Likewise, for groups that have some."""
        return {group: sentences[0] for group, sentences in self.by_group.items()}

    def of(self, group: str, language: str) -> tuple[str, ...]:
        """The sentences that a harmful row of this group teaches."""
        return self.by_group.get(group) or BY_LANGUAGE[language]
