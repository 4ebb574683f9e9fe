"""Manifests that are damaged, that lie, or that hold rows nobody can answer: kinds 1 to 26."""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autosteer_core.ports import ManifestReader
from autosteer_core.values import Item, Part, PartId
from infra.open_manifest import open_manifest
from infra.row_to_item import MAX_ID_CHARS
from tests.pictures import png
from tests.security.case import Case, Level, Make, Outcome, refused

_LONG = {"id": ["a", "b"], "text": ["x" * 500, "y" * 500]}
_TEXTS = {"id": ["a", "b"], "text": ["x", "y"]}
_EXTENSION = b"ARROW:extension:name"


def whole(manifest: ManifestReader) -> list[Item]:
    """As a run reads it: planned, then part by part."""
    planned = manifest.files()
    return [item for name, rows, _ in planned if rows for item in manifest.items(Part(PartId(name), name, 0, rows))]


def read(file: Path) -> Outcome:
    """The first row that has a flaw, or what refuses the whole manifest."""
    found: list[Item] = []
    outcome = refused(lambda: found.extend(whole(open_manifest(str(file)))), Level.RUN)
    flawed = next((item for item in found if item.flaw), None)
    if outcome.level is not Level.FINE or flawed is None or flawed.flaw is None:
        return outcome
    return Outcome(Level.ROW, flawed.flaw.code, flawed.flaw.message, f"{file.name}:{flawed.row}:{flawed.flaw.column}")


def parquet(columns: Mapping[str, Any], change: Callable[[bytes, Random], bytes] | None = None, **how: Any) -> Make:
    """A Parquet file of these columns, perhaps changed afterwards."""

    def make(folder: Path, luck: Random) -> Path:
        file = folder / "m.parquet"
        pq.write_table(pa.table(columns), file, **{"write_page_checksum": True, **how})
        if change:
            file.write_bytes(change(file.read_bytes(), luck))
        return file

    return make


def written(name: str, data: bytes | Callable[[Random], bytes]) -> Make:
    """A file of these bytes."""

    def make(folder: Path, luck: Random) -> Path:
        (folder / name).write_bytes(data if isinstance(data, bytes) else data(luck))
        return folder / name

    return make


def lines(*rows: object) -> Make:
    """A file of JSON lines."""
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return written("m.jsonl", "\n".join(texts).encode("utf-8", "surrogatepass"))


def _flipped(data: bytes, luck: Random) -> bytes:
    """A bit of a value, as a disk or a network may flip it."""
    made = bytearray(data)
    made[data.index(b"x" * 100) + luck.randrange(100)] ^= 1 << luck.randrange(8)
    return bytes(made)


def _tagged(kind: str, **told: bytes) -> Make:
    """A column that claims an Arrow extension type."""
    metadata = {_EXTENSION: kind.encode(), b"ARROW:extension:metadata": told.get("metadata", b"")}
    schema = pa.schema([pa.field("id", pa.string()), pa.field("text", pa.binary(), metadata=metadata)])

    def make(folder: Path, luck: Random) -> Path:
        pq.write_table(pa.table({"id": ["a"], "text": [b"x"]}, schema), folder / "m.parquet")
        return folder / "m.parquet"

    return make


def _dictionary_bomb(folder: Path, luck: Random) -> Path:
    """Few bytes, one text of megabytes, and many rows that point to it."""
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), pa.array(["x" * 2**20]))
    table = pa.table({"id": [f"r{row}" for row in range(300)], "text": long})
    pq.write_table(table, folder / "m.parquet", compression="zstd")
    return folder / "m.parquet"


def _zstd_bomb(folder: Path, luck: Random) -> Path:
    table = pa.table({"id": ["a"], "text": ["x" * (64 * 2**20)]})
    pq.write_table(table, folder / "m.parquet", compression="zstd", use_dictionary=False)
    return folder / "m.parquet"


def _zstd_image_bomb(folder: Path, luck: Random) -> Path:
    table = pa.table({"id": ["a"], "image": [b"\0" * (64 * 2**20)]})
    pq.write_table(table, folder / "m.parquet", compression="zstd", use_dictionary=False)
    return folder / "m.parquet"


def _wide(folder: Path, luck: Random) -> Path:
    names = [f"c{number}" for number in range(2_000)]
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), *((name, pa.int8()) for name in names)])
    pq.write_table(schema.empty_table(), folder / "m.parquet", compression="none")
    return folder / "m.parquet"


def _deep(folder: Path, luck: Random) -> Path:
    kind: pa.DataType = pa.int8()
    for _ in range(70):
        kind = pa.struct([("x", kind)])
    pq.write_table(pa.schema([("id", pa.string()), ("text", kind)]).empty_table(), folder / "m.parquet")
    return folder / "m.parquet"


def _twice(folder: Path, luck: Random) -> Path:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["x"]), pa.array(["y"])], names=["id", "text", "text"])
    pq.write_table(table, folder / "m.parquet")
    return folder / "m.parquet"


def _many_row_groups(folder: Path, luck: Random) -> Path:
    rows = 2_000
    table = pa.table({"id": [f"r{row}" for row in range(rows)], "text": ["x"] * rows})
    pq.write_table(table, folder / "m.parquet", row_group_size=1, compression="zstd")
    return folder / "m.parquet"


def _changed_meanwhile(file: Path) -> Outcome:
    """Between planning and reading."""
    planned = {name: digest for name, _, digest in open_manifest(str(file)).files()}
    file.write_text(file.read_text().replace("x", "z"))
    part = Part(PartId("p"), file.name, 0, 2)
    return refused(lambda: list(open_manifest(str(file), planned=planned).items(part)), Level.RUN)


def _shorter_meanwhile(file: Path) -> Outcome:
    rows = open_manifest(str(file)).files()[0][1]
    file.write_text(file.read_text().splitlines()[0])
    return refused(lambda: list(open_manifest(str(file)).items(Part(PartId("p"), file.name, 0, rows))), Level.RUN)


def _same_again(file: Path) -> Outcome:
    """The same manifest is the same run: what was found of it once is found of it again."""
    first, second = (open_manifest(str(file)) for _ in range(2))
    assert (first.files(), first.row_ids(), whole(first)) == (second.files(), second.row_ids(), whole(second))
    return Outcome(Level.FINE)


def _no_rows(file: Path) -> Outcome:
    assert whole(open_manifest(str(file))) == []
    return Outcome(Level.FINE)


def _run(number: int, name: str, make: Make, code: str, place: str = "m.parquet") -> Case:
    return Case(number, name, make, read, Level.RUN, code, place)


def _row(number: int, name: str, make: Make, code: str, place: str) -> Case:
    return Case(number, name, make, read, Level.ROW, code, place)


def _fine(number: int, name: str, make: Make, feed: Callable[[Path], Outcome] = read) -> Case:
    return Case(number, name, make, feed, Level.FINE)


def _ids(*ids: object) -> Sequence[dict[str, object]]:
    return [{"id": each, "text": "x"} for each in ids]


def _asking(tokens: int) -> dict[str, object]:
    """A request for an answer of at most so many."""
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": tokens}
    return {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}


def _footer_lie(data: bytes, luck: Random) -> bytes:
    return data[:-8] + struct.pack("<I", 2**31 - 1) + data[-4:]


def _footer_noise(data: bytes, luck: Random) -> bytes:
    length = int.from_bytes(data[-8:-4], "little")
    return data[: -8 - length] + luck.randbytes(length) + data[-8:]


CASES = [
    _run(1, "empty", written("m.parquet", b""), "E_PARQUET_EMPTY"),
    _run(2, "half", parquet(_TEXTS, lambda data, luck: data[: len(data) // 2]), "E_PARQUET_TRUNCATED"),
    _run(2, "without-its-last-bytes", parquet(_TEXTS, lambda data, luck: data[:-8]), "E_PARQUET_TRUNCATED"),
    _run(2, "magic-only", written("m.parquet", b"PAR1"), "E_PARQUET_TRUNCATED"),
    _run(3, "csv", written("m.parquet", b"id,text\na,x\n"), "E_NOT_PARQUET"),
    _run(3, "html", written("m.parquet", b"<!DOCTYPE html><html></html>"), "E_NOT_PARQUET"),
    _run(3, "s3-error", written("m.parquet", b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>"),
         "E_NOT_PARQUET"),
    _run(3, "json", written("m.parquet", b'{"error": "not found"}'), "E_NOT_PARQUET"),
    _run(3, "zip", written("m.parquet", b"PK\x03\x04" + bytes(40)), "E_NOT_PARQUET"),
    _run(4, "footer-length-lies", parquet(_TEXTS, _footer_lie), "E_PARQUET_FOOTER"),
    _run(4, "footer-of-noise", parquet(_TEXTS, _footer_noise), "E_PARQUET_FOOTER"),
    _run(5, "flipped-bit", parquet(_LONG, _flipped, compression="none", use_dictionary=False, write_statistics=False),
         "E_PARQUET_CHECKSUM"),
    _run(6, "encrypted", written("m.parquet", b"PARE" + bytes(40) + b"PARE"), "E_PARQUET_ENCRYPTED"),
    _run(7, "pickled-object", _tagged("ray.data.arrow_pickled_object"), "E_EXTENSION_TYPE"),
    _run(8, "pickled-tensor", _tagged("ray.data.arrow_tensor", metadata=b"\x80\x04."), "E_EXTENSION_TYPE"),
    _run(9, "python-extension", _tagged("arrow.py_extension_type"), "E_EXTENSION_TYPE"),
    _row(10, "dictionary-bomb", _dictionary_bomb, "E_TEXT_TOO_LONG", "m.parquet:0:text"),
    _row(11, "zstd-bomb-text", _zstd_bomb, "E_VALUE_TOO_LARGE", "m.parquet:0:text"),
    _row(11, "zstd-bomb-image", _zstd_image_bomb, "E_IMAGE_BYTES", "m.parquet:0:image"),
    _run(12, "no-id", parquet({"uid": ["a"], "text": ["x"]}), "E_COLUMN_MISSING"),
    _run(12, "no-content", parquet({"id": ["a"], "words": ["x"]}), "E_COLUMN_MISSING"),
    _run(12, "no-id-in-lines", lines({"uid": "a", "text": "x"}), "E_COLUMN_MISSING", "m.jsonl"),
    _run(13, "column-twice", _twice, "E_COLUMN_DUPLICATE"),
    _run(14, "text-of-numbers", parquet({"id": ["a"], "text": [1]}), "E_COLUMN_TYPE"),
    _run(14, "image-of-lists", parquet({"id": ["a"], "image": [[1]]}), "E_COLUMN_TYPE"),
    _run(14, "id-of-floats", parquet({"id": [1.5], "text": ["x"]}), "E_COLUMN_TYPE"),
    _row(15, "id-null", parquet({"id": [None, "b"], "text": ["x", "y"]}), "E_ID_EMPTY", "m.parquet:0:id"),
    _row(15, "id-empty", lines(*_ids("")), "E_ID_EMPTY", "m.jsonl:0:id"),
    _row(15, "id-blank", lines(*_ids("  ")), "E_ID_EMPTY", "m.jsonl:0:id"),
    _run(16, "id-twice-other-text", parquet({"id": ["a", "a"], "text": ["x", "y"]}), "E_ID_CONFLICT"),
    _run(16, "id-twice-same-text", parquet({"id": ["a", "a"], "text": ["x", "x"]}), "E_ID_CONFLICT"),
    _run(16, "id-twice-in-lines", lines(*_ids("a", "b", "a")), "E_ID_CONFLICT", "m.jsonl"),
    _row(17, "id-long", lines(*_ids("a" * (MAX_ID_CHARS + 1))), "E_ID_INVALID", "m.jsonl:0:id"),
    _row(17, "id-nul", lines(*_ids("a\x00b")), "E_ID_INVALID", "m.jsonl:0:id"),
    _row(17, "id-newline", lines(*_ids("a\nb")), "E_ID_INVALID", "m.jsonl:0:id"),
    _row(17, "id-escape", lines(*_ids("a\x1b[2Jb")), "E_ID_INVALID", "m.jsonl:0:id"),
    _fine(17, "id-like-a-path", lines(*_ids("../../a", "/etc/passwd", ".."))),
    _row(18, "bytes-no-utf8", written("m.jsonl", b'{"id": "a", "text": "x"}\n{"id": "b", "text": "\xff"}'),
         "E_TEXT_UTF8", "m.jsonl:1"),
    _row(18, "half-a-pair", lines({"id": "a", "text": "\ud800"}), "E_TEXT_UTF8", "m.jsonl:0"),
    _run(19, "two-thousand-columns", _wide, "E_SCHEMA_TOO_WIDE"),
    _run(19, "seventy-levels", _deep, "E_SCHEMA_TOO_DEEP"),
    _fine(20, "no-rows", parquet({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}), _no_rows),
    _fine(20, "no-lines", written("m.jsonl", b"\n\n"), _no_rows),
    _row(21, "neither-text-nor-image", lines({"id": "a", "text": ""}), "E_ROW_EMPTY", "m.jsonl:0"),
    _row(21, "null-text", parquet({"id": ["a"], "text": pa.array([None], pa.string())}), "E_ROW_EMPTY", "m.parquet"),
    Case(22, "changed", lines(*_ids("a", "b")), _changed_meanwhile, Level.RUN, "E_SOURCE_CHANGED", "m.jsonl"),
    Case(22, "shorter", lines(*_ids("a", "b")), _shorter_meanwhile, Level.RUN, "E_SOURCE_CHANGED", "m.jsonl"),
    _fine(23, "same-again", parquet({"id": ["a"], "text": ["x"], "image": [png()]}), _same_again),
    _fine(24, "two-thousand-row-groups", _many_row_groups),
    *(_row(25, f"{most}-tokens", lines(_asking(most)), "E_FIELD_RANGE", "m.jsonl:0") for most in (0, -5)),
    _fine(26, "byte-order-mark", written("m.jsonl", b'\xef\xbb\xbf{"id": "a", "text": "x"}\r\n')),
    _row(26, "unclosed-quote", lines({"id": "a", "text": "x"}, '{"id": "b", "text": "y}'), "E_JSON", "line 2"),
    _row(26, "not-an-object", lines({"id": "a", "text": "x"}, "[1, 2]"), "E_JSON", "line 2"),
    _row(26, "ten-thousand-brackets", lines({"id": "a", "text": "x"}, "[" * 10_000), "E_JSON", "line 2"),
    _run(26, "no-line-is-an-object", written("m.jsonl", b"id,text\na,x\n"), "E_JSON", "m.jsonl"),
]  # fmt: skip


def _long_line(file: Path) -> Outcome:
    """Made and removed here: it would be most of the corpus."""
    file.write_bytes(b'{"id": "a", "text": "' + b"x" * (65 * 2**20))
    try:
        return read(file)
    finally:
        file.write_bytes(b"")


CASES.append(Case(26, "line-of-65-MB", written("m.jsonl", b""), _long_line, Level.RUN, "E_LINE_TOO_LONG", "line 1"))
