"""From one row of any manifest to an item, or to an item with a flaw."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeGuard

from autosteer_core.errors import BadItem
from autosteer_core.values import Annotation, Flaw, Item, Label
from infra.image_hashes import require_hashes

MAX_TEXT_CHARS = 20_000
MAX_IMAGE_BYTES = 32 * 2**20
MAX_ID_CHARS = 512
# What a cell may unpack to, and all pictures of a row together: a small file can hold very large ones.
MAX_VALUE_BYTES, MAX_ROW_BYTES = 32 * 2**20, 64 * 2**20

# A cell is read only when it is asked for, so that a bad one spoils its own row and no other.
ReadText = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class RowPlace:
    """Where a row is, and the id that it gets if it has none."""

    row: int
    generated_id: str


def row_place(row: int, source: str, names: Sequence[str]) -> RowPlace:
    """The place of a row of one of the files `names`; generated ids differ between files."""
    return RowPlace(row, f"{id_stem(source, names)}{row}")


def id_stem(source: str, names: Sequence[str]) -> str:
    """What the generated ids of a file begin with; the row's number follows."""
    return "row-" if len(names) == 1 else f"{source}:row-"


def is_id(found: str | None) -> TypeGuard[str]:
    """Whether a row may bear this id; another row gets a generated one, and a flaw that says so."""
    return bool(found and len(found) <= MAX_ID_CHARS and found.isprintable() and not found.isspace())


def _no_limit() -> int | None:
    return None


@dataclass(frozen=True, slots=True)
class RowCells:
    """A row's cells by our column names: texts, the encoded images in order, the most tokens of its answer."""

    text: ReadText
    images: Callable[[], Iterable[bytes]]
    max_new_tokens: Callable[[], int | None] = _no_limit


def row_to_item(place: RowPlace, cells: RowCells, max_text_chars: int) -> Item:
    """The item; whatever is wrong with the row is told in its flaw, and then it has no content."""
    item_id = place.generated_id
    try:
        item_id = _item_id(cells)
        annotation = _annotation(cells)
        text = _text(cells, "text", max_text_chars) or ""
        system = _text(cells, "system", max_text_chars)
        images = _images(cells)
        require_hashes(images, cells.text("image_sha256"))
        if not text.strip() and not images:
            raise BadItem("E_ROW_EMPTY", "the row has neither text nor an image: give it one, or leave it out")
        most = cells.max_new_tokens()
    except BadItem as error:
        return Item(item_id, "", row=place.row, flaw=error.flaw)
    return Item(item_id, text, images, place.row, annotation, max_new_tokens=most, system=system)


def flawed(place: RowPlace, flaw: Flaw) -> Item:
    """The item of a row that could not even be taken apart."""
    return Item(place.generated_id, "", row=place.row, flaw=flaw)


@contextmanager
def in_column(name: str) -> Iterator[None]:
    """What is wrong inside is told with this column, unless it names one itself."""
    try:
        yield
    except BadItem as error:
        if error.flaw.column is not None:
            raise
        raise BadItem(error.flaw.code, error.flaw.message, name) from error


def checked_image(data: bytes | None) -> bytes:
    """The encoded image, if there is one and its size can be borne; nothing is decoded here."""
    if not data:
        raise BadItem("E_IMAGE_MISSING", "an image of the row has no bytes")
    if len(data) > MAX_IMAGE_BYTES:
        raise BadItem("E_IMAGE_BYTES", f"an image has more than {MAX_IMAGE_BYTES} bytes")
    return data


def _images(cells: RowCells) -> tuple[bytes, ...]:
    """One after the other, so that no more is held than is allowed and one image."""
    found: list[bytes] = []
    size = 0
    for image in cells.images():
        size += len(image)
        if size > MAX_ROW_BYTES:
            raise BadItem(
                "E_VALUE_TOO_LARGE",
                f"the images of the row have more than {MAX_ROW_BYTES:,} bytes together: shrink them",
                f"images[{len(found)}]",
            )
        found.append(image)
    return tuple(found)


def _item_id(cells: RowCells) -> str:
    found = cells.text("id")
    if found is None or not found.strip():
        raise BadItem("E_ID_EMPTY", "the row has no id: give every row one", "id")
    if not is_id(found):
        raise BadItem(
            "E_ID_INVALID",
            f"the id is longer than {MAX_ID_CHARS} characters or has control characters: shorten or mend it",
            "id",
        )
    return found


def _text(cells: RowCells, name: str, max_chars: int) -> str | None:
    found = cells.text(name)
    if found is not None and len(found) > max_chars:
        raise BadItem("E_TEXT_TOO_LONG", f"{name} has {len(found)} characters, {max_chars} are allowed", name)
    try:
        (found or "").encode()
    except UnicodeEncodeError as error:
        raise BadItem("E_TEXT_UTF8", f"{name} has half a surrogate pair at character {error.start}", name) from error
    return found


def _annotation(cells: RowCells) -> Annotation:
    group, pair, source = (_text(cells, name, MAX_ID_CHARS) for name in ("group", "pair", "source"))
    found = _text(cells, "label", MAX_ID_CHARS)
    if found is None:
        return Annotation(None, group, pair, source)
    try:
        return Annotation(Label(found), group, pair, source)
    except ValueError:
        said = f"label must be {' or '.join(Label)}, it is another text of {len(found)} characters"
        raise BadItem("E_LABEL", said, "label") from None
