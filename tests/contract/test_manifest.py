"""What every kind of manifest promises, in a folder and in a bucket."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore, ManifestReader
from autosteer_core.row_ids import RowIds
from autosteer_core.run import Run
from autosteer_core.values import Item, Part, PartId
from infra.folder_store import FolderStore
from infra.open_manifest import open_manifest
from infra.open_store import open_store

PNG = b"\x89PNG of some picture"

# (id, text, picture): `picture` is a path, or nothing.
Row = tuple[str, str, str | None]
ROWS: list[Row] = [
    ("a", "first", None),
    ("b", "", "pictures/1.png"),
    ("c", "naïve\u2028日本語", "pictures/1.png"),
    ("d", "text", "pictures/gone.png"),
    ("e", "last", None),
]
MORE: list[Row] = [(f"f{number}", f"row {number}", None) for number in range(45)]


def _picture(path: str | None) -> bytes | None:
    """The bytes that stand at the path, for kinds that hold pictures themselves; a lost one is empty."""
    return None if path is None else b"" if "gone" in path else PNG


def _parquet(rows: list[Row], kind: pa.DataType, value: Callable[[str | None], Any]) -> bytes:
    schema = pa.schema({"id": pa.string(), "text": pa.string(), "image": kind})
    table = [{"id": item_id, "text": text, "image": value(path)} for item_id, text, path in rows]
    sink = BytesIO()
    pq.write_table(pa.Table.from_pylist(table, schema), sink, row_group_size=7)
    return sink.getvalue()


def _parquet_bytes(rows: list[Row]) -> bytes:
    return _parquet(rows, pa.binary(), _picture)


def _parquet_struct(rows: list[Row]) -> bytes:
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return _parquet(rows, struct, lambda path: None if path is None else {"bytes": None, "path": path})


def _parquet_path(rows: list[Row]) -> bytes:
    return _parquet(rows, pa.string(), lambda path: path)


def _jsonl(rows: list[Row]) -> bytes:
    return _lines({"id": item_id, "text": text, "image": path} for item_id, text, path in rows)


def _openai_batch(rows: list[Row]) -> bytes:
    def content(text: str, path: str | None) -> list[dict[str, Any]]:
        url = path if path != "pictures/1.png" else f"data:image/png;base64,{b64encode(PNG).decode()}"
        image = [{"type": "image_url", "image_url": {"url": url}}] if path else []
        return [*image, *([{"type": "text", "text": text}] if text else [])]

    return _lines(
        {"custom_id": item_id, "body": {"model": "m", "messages": [{"role": "user", "content": content(text, path)}]}}
        for item_id, text, path in rows
    )


def _source_ref(rows: list[Row]) -> bytes:
    """A line of this kind always has a picture: the plain rows get one too."""
    return _lines(
        {"source-ref": path or "pictures/1.png", "id": item_id, "prompt": text, "class-metadata": {"confidence": 1}}
        for item_id, text, path in rows
    )


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


KINDS: dict[str, tuple[Callable[[list[Row]], bytes], str]] = {
    "parquet-bytes": (_parquet_bytes, "parquet"),
    "parquet-struct": (_parquet_struct, "parquet"),
    "parquet-path": (_parquet_path, "parquet"),
    "jsonl": (_jsonl, "jsonl"),
    "openai-batch": (_openai_batch, "jsonl"),
    "source-ref": (_source_ref, "manifest"),
}
IN_BUCKETS = ("parquet-path", "openai-batch", "source-ref")  # what differs there is the same for all of a format
PLACES = [f"{kind} in a folder" for kind in KINDS] + [f"{kind} in a bucket" for kind in IN_BUCKETS]
NAMING = [place for place in PLACES if "bytes" not in place]  # those whose rows name pictures by a path


class Place:
    """A manifest of one kind in a folder or below a prefix: two files, and pictures beside them."""

    def __init__(self, store: BlobStore, address: str, kind: str) -> None:
        self.store, self.address, self.kind = store, address, kind
        self._write, self.suffix = KINDS[kind]
        store.put("pictures/1.png", PNG)

    def write(self, name: str, rows: list[Row]) -> None:
        self.store.put(f"{name}.{self.suffix}", self._write(rows))

    def open(self) -> ManifestReader:
        return open_manifest(self.address)

    def expected(self, rows: list[Row]) -> list[Item]:
        """Of the rows that have no flaw."""
        default = PNG if self.kind == "source-ref" else None
        pictures = [_picture(path) or default for _, _, path in rows]
        return [
            Item(item_id, text, (picture,) if picture else (), row)
            for row, ((item_id, text, path), picture) in enumerate(zip(rows, pictures, strict=True))
            if path != "pictures/gone.png"
        ]


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few lines are enough to have places to go to at once, and places between them."""
    monkeypatch.setattr("infra.line_index.EVERY", 8)


@pytest.fixture(params=["folder", "bucket"])
def where(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    kind, _, where = request.param.partition(" in a ")
    if where == "folder":
        return Place(FolderStore(tmp_path), str(tmp_path), kind)
    address = request.getfixturevalue("s3_address")
    return Place(open_store(address), address, kind)


def items(manifest: ManifestReader, name: str, start: int, stop: int) -> list[Item]:
    return list(manifest.items(Part(PartId("p"), name, start, stop)))


def everything(manifest: ManifestReader) -> list[Item]:
    return [item for name, rows, _ in manifest.files() for item in items(manifest, name, 0, rows)]


def codes(found: list[Item]) -> list[str | None]:
    return [item.flaw.code if item.flaw else None for item in found]


def test_every_row_is_an_item_or_says_why_not(place: Place) -> None:
    place.write("a", ROWS)
    found = everything(place.open())
    missing = "E_IMAGE_MISSING" if place.kind == "parquet-bytes" else "E_IMAGE_NOT_FOUND"
    assert codes(found) == [None, None, None, missing, None]
    assert [item for item in found if item.flaw is None] == place.expected(ROWS)
    assert (found[3].item_id, found[3].row, found[3].text, found[3].images) == ("d", 3, "", ())


def test_parts_hold_together_exactly_the_rows_in_order(place: Place) -> None:
    place.write("a", ROWS + MORE)
    manifest = place.open()
    ((name, rows, _),) = manifest.files()
    whole = items(manifest, name, 0, rows)
    assert [item.row for item in whole] == list(range(rows))
    cuts = [0, 1, 7, 9, 15, 16, 40, 41, rows]
    assert [one for cut in range(8) for one in items(manifest, name, cuts[cut], cuts[cut + 1])] == whole


def test_files_are_told_in_order_with_rows_and_digest(place: Place) -> None:
    place.write("b", ROWS)
    place.write("a", MORE)
    names = [f"{name}.{place.suffix}" for name in "ab"]
    digests = [hashlib.sha256(place.store.get(name)).hexdigest() for name in names]
    assert list(place.open().files()) == list(zip(names, [len(MORE), len(ROWS)], digests, strict=True))


def test_the_planned_ids_are_those_of_the_items(place: Place) -> None:
    place.write("a", [*ROWS, ("", "no id", None), ("a\nb", "a wrong one", None)])
    place.write("b", MORE)
    manifest = place.open()
    summed = RowIds()
    for name, rows, _ in manifest.files():
        summed += RowIds.of(name, ((item.row, item.item_id) for item in items(manifest, name, 0, rows)))
    assert manifest.row_ids() == summed
    assert manifest.row_ids().rows == len(ROWS) + 2 + len(MORE)


def test_the_sum_sees_a_row_that_moved(place: Place) -> None:
    place.write("a", ROWS)
    before = place.open().row_ids()
    place.write("a", [ROWS[1], ROWS[0], *ROWS[2:]])
    assert place.open().row_ids() != before


def test_an_id_given_twice_is_refused_with_both_places(place: Place) -> None:
    place.write("a", ROWS)
    place.write("b", [*MORE, ROWS[2]])
    with pytest.raises(UserMistake, match=r"id 'c' is given twice, in row 2 of a\.\w+ and in row 45 of b\.\w+"):
        place.open().files()


def test_parts_of_a_run_are_the_same_from_every_reader(place: Place) -> None:
    place.write("a", ROWS + MORE)
    readers = [place.open(), place.open()]
    first, second = ([*_run(reader).parts(6, reader.stretches)] for reader in readers)
    assert first == second
    assert [row for part in first for row in range(part.start, part.stop)] == list(range(len(ROWS + MORE)))
    assert max(part.rows for part in first) <= 6


def _run(manifest: ManifestReader) -> Run:
    return Run("audit", "m", manifest.files(), "b", {})


@pytest.mark.parametrize("place", NAMING, indirect=True)
@pytest.mark.parametrize("path", ["../1.png", "/etc/host.conf", "pictures/../../1.png", "s3://elsewhere/1.png"])
def test_a_picture_elsewhere_is_not_read(place: Place, path: str) -> None:
    place.write("a", [("a", "x", path), ("b", "y", None)])
    code, fine = codes(everything(place.open()))
    assert code == ("E_BUCKET_NOT_ALLOWED" if path.startswith("s3:") else "E_PATH_OUTSIDE_ROOT")
    assert fine is None


@pytest.mark.parametrize("place", NAMING, indirect=True)
def test_nothing_is_fetched_from_the_web(place: Place) -> None:
    place.write("a", [("a", "x", "http://127.0.0.1:9/1.png")])
    assert codes(everything(place.open())) == ["E_URI_FORBIDDEN"]


def test_a_changed_byte_is_another_manifest(place: Place) -> None:
    place.write("a", ROWS)
    before = place.open().files()
    place.write("a", [*ROWS[:4], ("e", "Last", None)])
    assert _run(place.open()).run_id != Run("audit", "m", before, "b", {}).run_id


def test_a_part_of_a_longer_file_is_refused(place: Place) -> None:
    place.write("a", ROWS)
    with pytest.raises(UserMistake, match="has 5 rows, the run was planned with 9 or more"):
        items(place.open(), f"a.{place.suffix}", 0, 9)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("a.jsonl", ["a.jsonl"]),
        ("[b-z].jsonl", ["b.jsonl"]),
        ("[!a].jsonl", ["b.jsonl"]),
        ("?.jsonl", ["a.jsonl", "b.jsonl"]),
        ("2026/*.jsonl", ["c.jsonl"]),
        ("20*/c.jsonl", ["2026/c.jsonl"]),
        ("**/*.jsonl", ["2026/c.jsonl", "a.jsonl", "b.jsonl"]),
    ],
)
def test_an_address_may_be_a_pattern(
    where: str, pattern: str, names: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = str(tmp_path) if where == "folder" else request.getfixturevalue("s3_address")
    store = open_store(address)
    for number, name in enumerate(["a.jsonl", "b.jsonl", "2026/c.jsonl", "2026/d.csv"]):
        store.put(name, _jsonl([(f"{number}", "x", None)]))
    assert [name for name, *_ in open_manifest(f"{address}/{pattern}").files()] == names


def test_a_pattern_that_fits_nothing_is_named(where: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    address = str(tmp_path) if where == "folder" else request.getfixturevalue("s3_address")
    with pytest.raises(UserMistake, match=r"gone-\*\.parquet holds no \.parquet"):
        open_manifest(f"{address}/gone-*.parquet")


@pytest.mark.parametrize("pattern", ["[z-a].jsonl", "a**.jsonl", "[.jsonl", "***/a.jsonl"])
def test_an_odd_pattern_ends_with_a_sentence(
    where: str, pattern: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = str(tmp_path) if where == "folder" else request.getfixturevalue("s3_address")
    with pytest.raises(UserMistake, match=r"is no pattern|holds no \.parquet|cannot be read|cannot be a key|NoSuch"):
        open_manifest(f"{address}/{pattern}").files()


def test_the_content_tells_the_kind_and_not_the_name(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = str(tmp_path) if where == "folder" else request.getfixturevalue("s3_address")
    store = open_store(address)
    store.put("table.jsonl", _parquet_bytes(ROWS[:1]))
    assert everything(open_manifest(address)) == [Item("a", "first")]
    store.put("table.jsonl", _jsonl(MORE))
    store.put("table.parquet", _openai_batch(ROWS[:1]))
    assert len(everything(open_manifest(address))) == len(MORE) + 1


def test_a_picture_may_be_named_by_its_whole_address_in_the_bucket(s3_address: str) -> None:
    store = open_store(s3_address)
    store.put("pictures/1.png", PNG)
    other = f"bucket-{uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=other)
    open_store(f"s3://{other}").put("1.png", PNG)
    paths = [f"{s3_address}/pictures/1.png", f"s3://{other}/1.png", f"{s3_address}-2/1.png", f"{s3_address}/../1.png"]
    store.put("lines.manifest", _lines({"source-ref": path} for path in paths))
    found = everything(open_manifest(s3_address))
    assert [item.images for item in found] == [(PNG,), (), (), ()]
    assert codes(found) == [None, "E_BUCKET_NOT_ALLOWED", *["E_PATH_OUTSIDE_ROOT"] * 2]
    assert [item.item_id for item in found] == ["row-0", "row-1", "row-2", "row-3"]


@pytest.mark.parametrize("wrong", [{}, {"source-ref": None}, {"source-ref": " "}, {"source-ref": ["x"]}])
def test_a_line_without_its_source_is_an_error_row(tmp_path: Path, wrong: dict[str, Any]) -> None:
    (tmp_path / "1.png").write_bytes(PNG)
    (tmp_path / "lines.manifest").write_bytes(_lines([{"source-ref": "1.png"}, {"id": "b"} | wrong]))
    fine, flawed = everything(open_manifest(str(tmp_path / "lines.manifest")))
    assert fine == Item("row-0", "", (PNG,))
    assert flawed.flaw is not None and flawed.flaw.code == "E_SOURCE_REF" and "line 2" in flawed.flaw.message
