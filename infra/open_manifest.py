"""From an address to the reader of the manifest that lies there."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from autosteer_core.errors import UserMistake
from autosteer_core.ports import ManifestReader
from infra.column_map import ColumnMap
from infra.file_kind import HEAD_BYTES, looks_like
from infra.jsonl_manifest import JsonlManifest
from infra.manifest_files import LocalFiles, ManifestFiles, StoredFiles
from infra.open_store import open_store, scheme_of
from infra.parquet_manifest import ParquetManifest
from infra.row_to_item import MAX_TEXT_CHARS

_PARQUET = {".parquet", ".pq"}
_JSONL = {".jsonl", ".ndjson"}


def open_manifest(
    address: str, columns: ColumnMap | None = None, max_text_chars: int = MAX_TEXT_CHARS
) -> ManifestReader:
    """The manifest in one file, in a folder of files of one kind, or under `s3://bucket/prefix`."""
    files = _stored_files(address) if scheme_of(address) == "s3" else _local_files(Path(address))
    kinds = {_kind(files, name) for name in files.names}
    if len(kinds) > 1:
        raise UserMistake(f"{address} holds both Parquet and JSON lines: keep one kind in a manifest")
    if kinds == {"parquet"}:
        return ParquetManifest(files, columns, max_text_chars)
    return JsonlManifest(files, columns, max_text_chars)


def _local_files(path: Path) -> ManifestFiles:
    if path.is_dir():
        found = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        return LocalFiles(path, _wanted(found, str(path)))
    return LocalFiles(path.parent, [path.name])


def _stored_files(address: str) -> ManifestFiles:
    """One object, if its name has a suffix of ours, or all objects below a prefix."""
    place = PurePosixPath(address.removeprefix("s3://"))
    if place.suffix in _PARQUET | _JSONL:
        return StoredFiles(open_store(f"s3://{place.parent}"), [place.name])
    store = open_store(address)
    return StoredFiles(store, _wanted(store.keys(), address))


def _wanted(found: Iterable[str], where: str) -> list[str]:
    """The names with our suffixes, in order; hidden ones and markers such as _SUCCESS are not data."""
    paths = [PurePosixPath(name) for name in found]
    ours = [path for path in paths if path.suffix in _PARQUET | _JSONL]
    names = sorted(str(path) for path in ours if not any(part[0] in "._" for part in path.parts))
    if not names:
        raise UserMistake(f"{where} holds no .parquet, .pq, .jsonl or .ndjson file: name the manifest or its folder")
    return names


def _kind(files: ManifestFiles, name: str) -> str:
    """By suffix, and by the first bytes if the suffix says nothing."""
    suffix = PurePosixPath(name).suffix
    if suffix in _PARQUET | _JSONL:
        return "parquet" if suffix in _PARQUET else "jsonl"
    with files.open(name) as file:
        kind = looks_like(file.read(HEAD_BYTES))
    if kind not in ("a Parquet file", "JSON"):
        raise UserMistake(
            f"{files.describe(name)} looks like {kind}: a manifest is a Parquet file or a file of JSON lines"
        )
    return "parquet" if kind == "a Parquet file" else "jsonl"
