"""From an address to the reader of the manifest that lies there."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from autosteer_core.errors import UserMistake
from autosteer_core.ports import ManifestReader
from infra.column_map import ColumnMap
from infra.file_kind import JSON_LINES, PARQUET, SUFFIXES
from infra.file_manifest import FileManifest
from infra.jsonl_manifest import JsonlRows
from infra.manifest_files import LocalFiles, ManifestFiles, StoredFiles
from infra.open_store import open_store, scheme_of
from infra.parquet_manifest import ParquetRows
from infra.row_to_item import MAX_TEXT_CHARS

_GLOB = set("*?[")


def open_manifest(
    address: str,
    columns: ColumnMap | None = None,
    max_text_chars: int = MAX_TEXT_CHARS,
    planned: Mapping[str, str] | None = None,
) -> ManifestReader:
    """The manifest in one file, in a folder of files of one kind, or under `s3://bucket/prefix`.

    The last names of a path or an address may be a pattern (`part-*.parquet`, `2026/**/*.jsonl`); images then lie
    below the last folder before it. What the files hold tells their kind: Parquet, JSON lines with our columns,
    OpenAI-batch requests or `source-ref` lines. `planned` holds the SHA-256 that files must have, by name.
    """
    files = _stored_files(address) if scheme_of(address) == "s3" else _local_files(Path(address))
    chosen = columns or ColumnMap()
    return FileManifest(
        files,
        {
            PARQUET: ParquetRows(files, chosen, max_text_chars),
            JSON_LINES: JsonlRows(files, chosen, max_text_chars),
        },
        planned,
    )


def _local_files(path: Path) -> ManifestFiles:
    if path.exists():
        return _folder_files(path, "**/*") if path.is_dir() else LocalFiles(path.parent, [path.name])
    root, pattern = _split(str(path))
    return _folder_files(Path(root), pattern) if pattern else LocalFiles(path.parent, [path.name])


def _folder_files(root: Path, pattern: str) -> ManifestFiles:
    try:
        found = [file.relative_to(root).as_posix() for file in root.glob(pattern) if file.is_file()]
    except ValueError as error:
        raise UserMistake(f"{pattern!r} is no pattern ({error}): write for example 'part-*.parquet'") from error
    return LocalFiles(root, _wanted(found, str(root / pattern) if pattern != "**/*" else str(root)))


def _split(address: str) -> tuple[str, str]:
    """The folder before the first name with a wildcard, and the pattern from there on; no pattern, no wildcard."""
    names = address.split("/")
    plain = next((place for place, name in enumerate(names) if _GLOB & set(name)), len(names))
    return "/".join(names[:plain]) or ("/" if address.startswith("/") else "."), "/".join(names[plain:])


def _stored_files(address: str) -> ManifestFiles:
    """One object, if its name has a suffix of ours, or all objects below a prefix, or those that fit a pattern."""
    root, pattern = _split(address)
    if pattern:
        store = open_store(root)
        return StoredFiles(store, _wanted(filter(_pattern(pattern).fullmatch, store.keys()), address))
    place = PurePosixPath(address.removeprefix("s3://"))
    if place.suffix in SUFFIXES:
        return StoredFiles(open_store(f"s3://{place.parent}"), [place.name])
    store = open_store(address)
    return StoredFiles(store, _wanted(store.keys(), address))


def _pattern(pattern: str) -> re.Pattern[str]:
    """What the shell's wildcards mean for a key: `*` and `?` stay within a name, `**/` is any number of folders."""
    meant = {"**/": "(?:[^/]+/)*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(\*\*/|\*|\?|\[[^\]/]+\])", pattern)
    try:
        return re.compile("".join(meant.get(token) or _one_of(token) or re.escape(token) for token in tokens))
    except re.error as error:
        raise UserMistake(f"{pattern!r} is no pattern ({error}): write for example 'part-*.parquet'") from error


def _one_of(token: str) -> str | None:
    """The characters between brackets, of which one stands here; `!` means any but them."""
    if not (token.startswith("[") and token.endswith("]")):
        return None
    inside = token[1:-1].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
    return f"[^/{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"


def _wanted(found: Iterable[str], where: str) -> list[str]:
    """The names with our suffixes, in order; hidden ones and markers such as _SUCCESS are not data."""
    paths = [PurePosixPath(name) for name in found]
    ours = [path for path in paths if path.suffix in SUFFIXES]
    names = sorted(str(path) for path in ours if not any(part[0] in "._" for part in path.parts))
    if not names:
        raise UserMistake(f"{where} holds no {', '.join(SUFFIXES)} file: name the manifest or its folder")
    return names
