"""Texts that say the same: equal after normalisation, or alike in their character n-grams."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil

SHINGLE_CHARS = 5
NEAR = 0.6


@dataclass(frozen=True, slots=True)
class TextMatch:
    """Row `left` of one list says what row `right` of the other says; `similarity` is a Jaccard index, 1 if equal."""

    left: int
    right: int
    similarity: float


def normalised(text: str) -> str:
    """Unicode NFKC, no case, letters and digits only, single spaces; a text without any of them keeps its signs."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(sign if sign.isalnum() else " " for sign in folded).split()
    return " ".join(words) if words else "".join(folded.split())


def shingles(text: str) -> frozenset[str]:
    """Overlapping pieces of SHINGLE_CHARS characters of a normalised text; a shorter text is one piece."""
    last = max(len(text) - SHINGLE_CHARS, 0)
    return frozenset(text[start : start + SHINGLE_CHARS] for start in range(last + 1))


def text_matches(left: list[str], right: list[str], near: float = NEAR) -> Iterator[TextMatch]:
    """For each left text its most similar right text, if they are equal or their Jaccard index is at least `near`.

    Both lists hold normalised texts; empty ones match nothing. Exact, by prefix filtering (Chaudhuri et al., ICDE
    2006; Bayardo et al., WWW 2007): with one order of pieces for all texts, two sets with a Jaccard index of at
    least t share a piece among the first |x| - ceil(t |x|) + 1 of each. Rare pieces first keeps the lists short.
    """
    first_of = {text: index for index, text in reversed(list(enumerate(right)))}
    pieces = [shingles(text) for text in right]
    count = Counter(piece for found in pieces for piece in found)
    holders = defaultdict(list)
    for index, found in enumerate(pieces):
        for piece in _prefix(found, count, near):
            holders[piece].append(index)
    for index, text in enumerate(left):
        if text and text in first_of:
            yield TextMatch(index, first_of[text], 1.0)
        elif text:
            yield from _nearest(index, shingles(text), pieces, holders, count, near)


def _nearest(
    index: int,
    mine: frozenset[str],
    pieces: list[frozenset[str]],
    holders: Mapping[str, list[int]],
    count: Mapping[str, int],
    near: float,
) -> Iterator[TextMatch]:
    candidates = {other for piece in _prefix(mine, count, near) for other in holders.get(piece, ())}
    # Sets whose sizes differ by more than the factor `near` cannot reach it, and sizes cost nothing to compare.
    least, most = near * len(mine) - 1e-9, len(mine) / near + 1e-9
    scored = [(_jaccard(mine, pieces[other]), -other) for other in candidates if least <= len(pieces[other]) <= most]
    similarity, other = max(scored, default=(0.0, 0))
    if similarity >= near:
        yield TextMatch(index, -other, similarity)


def _prefix(found: Iterable[str], count: Mapping[str, int], near: float) -> list[str]:
    ordered = sorted(found, key=lambda piece: (count.get(piece, 0), piece))
    # The small term keeps a product such as 0.6 * 5 from being rounded up to the next whole number.
    return ordered[: len(ordered) - ceil(near * len(ordered) - 1e-9) + 1]


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
