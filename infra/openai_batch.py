"""Requests of an OpenAI-batch file as rows: one user turn of text and pictures, or an error row that says why not.

An item is one text beside pictures, perhaps after a system message. What a request means beyond that (earlier turns,
tools, a picture between two texts) would be lost, and the answer would be one to another question: such a request is
an error row with a code of its own, never a silently flattened one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from autosteer_core.errors import BadItem
from infra.encoded_image import decoded_image
from infra.row_to_item import RowCells, checked_image, in_column

_URL = "/v1/chat/completions"
_ABOVE = ("system", "developer")
_LIMITS = ("max_completion_tokens", "max_tokens")
_LIMIT, _MOST_TOKENS = "max_new_tokens", 1_000_000  # our column, and more than any context holds

# The settings of the run hold for all rows: these say which model, how tokens are drawn, and whose request it is.
_DECIDED_BY_THE_RUN = {
    "model", "messages", "temperature", "top_p", "seed", "user", "metadata", "store", "service_tier",
    "safety_identifier", "prompt_cache_key", *_LIMITS,
}  # fmt: skip
# Fields that ask for nothing when they have these values; with another one they ask for what we cannot give.
_NEUTRAL: dict[str, Sequence[Any]] = {
    "n": [1], "stream": [False], "frequency_penalty": [0], "presence_penalty": [0], "logprobs": [False],
    "response_format": [{"type": "text"}], "tools": [[]], "modalities": [["text"]],
}  # fmt: skip

ReadImage = Callable[[str], bytes]
Piece = Mapping[str, object]


def request_cells(row: Mapping[str, object], read_image: ReadImage) -> RowCells:
    """`custom_id` is the item's id. The token limit of a request counts where it is below the run's own."""

    def text(name: str) -> str | None:
        with in_column(name):
            if name == "id":
                return _string(row.get("custom_id"), "custom_id")
            if name == "system":
                return _system(_body(row))
            return "".join(_texts(_pieces(_turn(_body(row))))) if name == "text" else None

    def images() -> Iterator[bytes]:
        pictures = [piece for piece in _pieces(_turn(_body(row))) if piece["type"] == "image_url"]
        for place, piece in enumerate(pictures):
            with in_column(f"images[{place}]"):
                yield checked_image(_image(piece, read_image))

    return RowCells(text, images, lambda: _limit(_body(row)))


def _body(row: Mapping[str, object]) -> Mapping[str, object]:
    body = row.get("body")
    if row.get("url", _URL) != _URL or row.get("method", "POST") != "POST":
        raise BadItem("E_REQUEST_UNSUPPORTED", f"only POST {_URL} is served, not {row.get('url')!r:.80}")
    if not isinstance(body, dict):
        raise BadItem("E_REQUEST", f"body must be an object, it is {type(body).__name__}")
    for name, value in body.items():
        if name not in _DECIDED_BY_THE_RUN and value is not None and value not in _NEUTRAL.get(name, ()):
            raise BadItem("E_REQUEST_UNSUPPORTED", f"body has {name!r:.80}, which an item cannot say: leave it out")
    return body


def _pieces(turn: Mapping[str, object]) -> list[Piece]:
    """The parts of a message: texts and images, the texts side by side."""
    content = turn.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise BadItem("E_REQUEST", f"content must be a text or a list of parts, it is {type(content).__name__}")
    pieces = [_piece(part) for part in content]
    texts = [place for place, piece in enumerate(pieces) if piece["type"] == "text"]
    if texts and texts[-1] - texts[0] + 1 != len(texts):
        raise BadItem("E_INTERLEAVED", "an image stands between two texts: the order would be lost")
    return pieces


def _turns(body: Mapping[str, object]) -> list[Mapping[str, object]]:
    """One user message, with a system message before it or without; `developer` is its newer name."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages) or not messages:
        raise BadItem("E_REQUEST", "body.messages must be a list of messages")
    roles = [message.get("role") for message in messages]
    if roles != ["user"] and not (len(roles) == 2 and roles[0] in _ABOVE and roles[1] == "user"):
        raise BadItem(
            "E_MULTI_TURN",
            f"one user message is served, and a system message before it, the request has {len(roles)} turns: "
            f"{roles!r:.80}",
        )
    if any(message.get("name") is not None for message in messages):
        raise BadItem("E_REQUEST_UNSUPPORTED", "the name of a speaker has no place in an item: leave it out")
    return messages


def _turn(body: Mapping[str, object]) -> Mapping[str, object]:
    return _turns(body)[-1]


def _system(body: Mapping[str, object]) -> str | None:
    *above, _ = _turns(body)
    if not above:
        return None
    pieces = _pieces(above[0])
    if any(piece["type"] != "text" for piece in pieces):
        raise BadItem("E_CONTENT_UNSUPPORTED", "a system message has a picture: text is served")
    return "".join(_texts(pieces))


def _piece(part: object) -> Piece:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or kind not in ("text", "image_url"):
        raise BadItem(
            "E_CONTENT_UNSUPPORTED", f"a part of the message is {kind!r:.80}: text and image_url are served"
        )
    return part


def _texts(pieces: Sequence[Piece]) -> Iterator[str]:
    """Joined as they are: a chat template puts nothing between them either."""
    for piece in pieces:
        if piece["type"] == "text":
            yield _string(piece.get("text"), "the text of a part") or ""


def _image(piece: Piece, read_image: ReadImage) -> bytes:
    """`detail` is not heeded: how a picture is scaled belongs to the model."""
    found = piece.get("image_url")
    address = _string(found.get("url") if isinstance(found, dict) else found, "image_url.url") or ""
    return decoded_image(address) if address.startswith("data:") else read_image(address)


def _limit(body: Mapping[str, object]) -> int | None:
    limits = [_whole(name, body[name]) for name in _LIMITS if body.get(name) is not None]
    return min(limits) if limits else None


def _whole(name: str, limit: object) -> int:
    asked = f"body.{name} must be a whole number from 1 to {_MOST_TOKENS:,}"
    if not isinstance(limit, int | float) or isinstance(limit, bool):
        raise BadItem("E_FIELD_TYPE", f"{asked}, it is {limit!r:.80}", _LIMIT)
    # NaN and fractions are numbers too, and fit no more than one that is too large.
    if not isinstance(limit, int) or not 1 <= limit <= _MOST_TOKENS:
        raise BadItem("E_FIELD_RANGE", f"{asked}, it is {limit!r:.80}", _LIMIT)
    return limit


def _string(value: object, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise BadItem("E_FIELD_TYPE", f"{name} must be a string, it is {type(value).__name__}")
