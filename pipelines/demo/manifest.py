"""The demo's two manifests, drawn from the items of `items/`: one to calibrate on, one to run."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.demo.drawing import FONTS, HELD_OUT_FONTS, TRAINING_FONTS, draw_word

HERE = Path(__file__).parent
OVERLONG_CHARACTERS = 100_000
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("image", pa.binary()),
        pa.field("label", pa.string()),
        pa.field("group", pa.string(), nullable=False),
        pa.field("pair", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("unseen", pa.bool_(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class DemoManifests:
    """Where the two Parquet files lie."""

    calibration: Path
    run: Path


@dataclass(frozen=True, slots=True)
class DemoItem:
    """One line of an items file; `picture` is an object's or a word's name, or a kind of damage."""

    id: str
    split: str
    group: str
    label: str | None
    pair: str | None
    source: str
    unseen: bool
    text: str
    picture: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class Look:
    """The drawing styles and fonts of a split; the two splits share none."""

    styles: tuple[str, ...]
    fonts: tuple[str, ...]

    def style(self, key: str) -> str:
        """The same for both twins, whose `key` is their pair."""
        return self.styles[stable_number(key) % len(self.styles)]

    def font(self, key: str) -> str:
        """Likewise."""
        return self.fonts[stable_number(key) % len(self.fonts)]


LOOKS = {
    "calibration": Look(("noto", "twemoji"), TRAINING_FONTS),
    "run": Look(("fluent",), HELD_OUT_FONTS),
}


def write_demo_manifests(folder: Path) -> DemoManifests:
    """Draw every picture and write both files; the same items give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    manifests = DemoManifests(folder / "calibration.parquet", folder / "run.parquet")
    write_manifest(read_items("calibration"), manifests.calibration)
    write_manifest(read_items("run"), manifests.run)
    return manifests


def write_manifest(items: Iterable[DemoItem], path: Path) -> None:
    """Draw the pictures of these items and write one Parquet file, in their order; equal items, equal bytes."""
    table = pa.Table.from_pylist([_row(item) for item in items], schema=SCHEMA)
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def read_items(split: str) -> list[DemoItem]:
    """The items of one split as their author wrote them, in file order."""
    lines = (HERE / "items" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [DemoItem(**json.loads(line)) for line in lines]


def object_file(style: str, name: str) -> Path:
    """Where the drawing of an object lies."""
    return HERE / "pictures" / style / f"{name.replace(' ', '_')}.png"


def stable_number(key: str) -> int:
    """A number that depends on the key only, unlike `hash`."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")


def _row(item: DemoItem) -> dict[str, object]:
    copied = {name: getattr(item, name) for name in ("id", "label", "group", "pair", "source", "unseen")}
    return copied | {"text": _text(item), "image": _image(item)}


def _text(item: DemoItem) -> str:
    """The item's text; the over-long one is its sentence again and again."""
    if item.picture != {"broken": "overlong-text"}:
        return item.text
    return (item.text * OVERLONG_CHARACTERS)[:OVERLONG_CHARACTERS]


def _image(item: DemoItem) -> bytes | None:
    if item.picture is None:
        return None
    look, key = LOOKS[item.split], item.pair or item.id
    match item.picture:
        case {"object": name}:
            return object_file(look.style(key), name).read_bytes()
        case {"word": word}:
            return _word_png(word, look.font(key), stable_number(key))
        case {"broken": kind}:
            return DAMAGE[kind](object_file(look.style(key), "cat").read_bytes())
    raise ValueError(f"{item.id}: the picture is {item.picture}, expected an object, a word or a damage")


def _word_png(word: str, font: str, seed: int) -> bytes:
    png = io.BytesIO()
    draw_word(word, FONTS / font, seed=seed).save(png, format="PNG")
    return png.getvalue()


def _scrambled(png: bytes) -> bytes:
    """Keep the PNG header, so that the damage is found only while decoding."""
    return png[:64] + bytes(byte ^ 0x5A for byte in png[64:])


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "corrupt-bytes": _scrambled,
    "truncated-png": lambda png: png[: len(png) // 2],
    "html-page": lambda png: b"<!doctype html><title>Not found</title><p>There is no picture here.",
    "zero-bytes": lambda png: b"",
    "overlong-text": lambda png: None,
}
