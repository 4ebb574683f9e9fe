"""Is this answer right? Multiple choice and exact match that a refusal or a stray article never wins."""

import re
from collections.abc import Sequence

from autosteer_core.judges import opens_with_refusal

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# The paper's code searched for the first capital letter, so "A cat sits there" chose option A: here a bare A or I
# before another word is that word, not an option.
_STATED = re.compile(
    r"(?:\banswer|\boption|\bchoice|\bcorrect(?:\s+(?:answer|option|choice))?)(?:\s+is)?\s*[:\-]?\s*\(?\**"
    r"([B-HJ-Z](?![\w'])|[AI](?![\w'])(?!\s+\w))",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"\(([A-Za-z])\)|^\s*([a-z])\)")
_OPENING = re.compile(r"\s*\**([A-Z])\**\s*(?:[.):,;\n]|$)")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def is_correct(answer: str, accepted: Sequence[str], choices: Sequence[str] = ()) -> bool:
    """Multiple choice where there are `choices` (`accepted` then holds letters), exact match otherwise."""
    if opens_with_refusal(answer):
        return False
    if choices:
        chosen = chosen_letter(answer, choices)
        return chosen is not None and chosen in {letter.strip().upper() for letter in accepted}
    return any(_says(answer, text) for text in accepted)


def _says(answer: str, accepted: str) -> bool:
    """Equal in normal form; with MM-Vet's `<AND>` and `<OR>`, all parts of one alternative must be named."""
    if "<AND>" not in accepted and "<OR>" not in accepted:
        return normal_form(answer) == normal_form(accepted) != ""
    said = f" {normal_form(answer)} "
    alternatives = [alternative.split("<AND>") for alternative in accepted.split("<OR>")]
    return any(all(f" {normal_form(part)} " in said for part in parts) for parts in alternatives)


def chosen_letter(answer: str, choices: Sequence[str]) -> str | None:
    """The one option that the answer claims: by letter ("B", "(B)", "B.", "the answer is B") or by its text.

    None if it claims no option, or more than one.
    """
    allowed = LETTERS[: len(choices)]
    claimed = {letter for letter in _letters(answer) if letter in allowed} or _by_text(answer, choices)
    return claimed.pop() if len(claimed) == 1 else None


def _letters(answer: str) -> set[str]:
    stated = {letter.upper() for letter in _STATED.findall(answer)}
    stated |= {letter.upper() for found in _BRACKETED.findall(answer) for letter in found if letter}
    opening = _OPENING.match(answer)
    return stated | ({opening[1]} if opening else set())


def _by_text(answer: str, choices: Sequence[str]) -> set[str]:
    """Letters of the options whose whole text stands in the answer; one inside a longer one does not count."""
    said = f" {normal_form(answer)} "
    found = {letter: normal_form(choice) for letter, choice in zip(LETTERS, choices, strict=False)}
    named = {letter: text for letter, text in found.items() if text and f" {text} " in said}
    return {
        letter
        for letter, text in named.items()
        if not any(text != other and f" {text} " in f" {other} " for other in named.values())
    }


def normal_form(text: str) -> str:
    """Lower case words without articles and punctuation (as in SQuAD's exact match)."""
    words = re.sub(r"[^\w\s.]|\.(?!\d)", " ", text.lower())
    return " ".join(_ARTICLES.sub(" ", words).split())
