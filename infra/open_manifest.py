"""From an address to the reader of the manifest that lies there."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore, ManifestReader
from infra.address import has_control, shown
from infra.column_map import ColumnMap
from infra.file_kind import JSON_LINES, PARQUET, SUFFIXES
from infra.file_manifest import FileManifest
from infra.jsonl_manifest import JsonlRows
from infra.manifest_files import LocalFiles, ManifestFiles, StoredFiles
from infra.open_pictures import open_pictures
from infra.open_store import open_store, scheme_of
from infra.parquet_manifest import ParquetRows
from infra.picture_places import PicturePlaces
from infra.row_to_item import MAX_TEXT_CHARS

_GLOB = set("*?[")


def open_manifest(
    address: str,
    columns: ColumnMap | None = None,
    max_text_chars: int = MAX_TEXT_CHARS,
    places: PicturePlaces = PicturePlaces(),  # noqa: B008, it is frozen
    planned: Mapping[str, str] | None = None,
) -> ManifestReader:
    """The manifest in one file, in a folder of files of one kind, or under `s3://bucket/prefix`.

    The last names of a path or an address may be a pattern (`part-*.parquet`, `2026/**/*.jsonl`); images then lie
    below the last folder before it. What the files hold tells their kind: Parquet, JSON lines with our columns,
    OpenAI-batch requests or `source-ref` lines. `places` are where the pictures that rows name may lie, `planned`
    holds the SHA-256 that files must have, by name.
    """
    files = _stored_files(address, places) if scheme_of(address) == "s3" else _local_files(Path(address), places)
    chosen = columns or ColumnMap()
    return FileManifest(
        files,
        {
            PARQUET: ParquetRows(files, chosen, max_text_chars),
            JSON_LINES: JsonlRows(files, chosen, max_text_chars),
        },
        planned,
    )


def refuse_output_inside(address: str, out: str) -> None:
    """UserMistake, E_OUTPUT_EXISTS, if the next reading of the manifest would take the output's files for its own."""
    root, pattern = _many(address)
    if not pattern or scheme_of(address) != scheme_of(out):
        return
    place, home = (PurePosixPath(_exact(each)) for each in (out, root))
    if not place.is_relative_to(home):
        return
    written = place.relative_to(home) / "parts" / "0.parquet"
    if _pattern(pattern).fullmatch(str(written)) and not _is_hidden(written):
        raise UserMistake(
            f"the output {shown(out)} lies inside the manifest {shown(address)}, which would read it as data: choose "
            "an --out beside it",
            "E_OUTPUT_EXISTS",
        )


def _many(address: str) -> tuple[str, str]:
    """The folder or prefix and the pattern of what is read below it; no pattern where one file is named."""
    root, pattern = _split(address)
    if scheme_of(address) != "s3" and os.path.exists(address):
        return (address, "**/*") if os.path.isdir(address) else ("", "")
    if pattern:
        return root, pattern
    is_prefix = scheme_of(address) == "s3" and PurePosixPath(address).suffix not in SUFFIXES
    return (address, "**/*") if is_prefix else ("", "")


def _exact(address: str) -> str:
    return address if scheme_of(address) == "s3" else os.path.realpath(address)


def _local_files(path: Path, places: PicturePlaces) -> ManifestFiles:
    root, names = _found_files(path)
    return LocalFiles(root, names, open_pictures(places, own_folders=[root]))


def _found_files(path: Path) -> tuple[Path, list[str]]:
    """The folder that names are relative to, and the names."""
    if os.path.isdir(path):  # Path.is_dir raises where a name is too long
        return path, _folder_names(path, "**/*")
    root, pattern = ("", "") if os.path.exists(path) else _split(str(path))
    return (Path(root), _folder_names(Path(root), pattern)) if pattern else (path.parent, [path.name])


def _folder_names(root: Path, pattern: str) -> list[str]:
    try:
        found = [file.relative_to(root).as_posix() for file in root.glob(pattern) if os.path.isfile(file)]
    except ValueError as error:
        raise UserMistake(f"{pattern!r} is no pattern ({error}): write for example 'part-*.parquet'") from error
    except OSError as error:
        raise UserMistake(
            f"{shown(str(root / pattern))} cannot be listed ({error.strerror}): check the path", "E_PATH"
        ) from error
    return _wanted(found, str(root / pattern) if pattern != "**/*" else str(root))


def _split(address: str) -> tuple[str, str]:
    """The folder before the first name with a wildcard, and the pattern from there on; no pattern, no wildcard."""
    names = address.split("/")
    plain = next((place for place, name in enumerate(names) if _GLOB & set(name)), len(names))
    return "/".join(names[:plain]) or ("/" if address.startswith("/") else "."), "/".join(names[plain:])


def _stored_files(address: str, places: PicturePlaces) -> ManifestFiles:
    store, names = _found_keys(address)
    return StoredFiles(store, names, open_pictures(places, own_stores=[store]))


def _found_keys(address: str) -> tuple[BlobStore, list[str]]:
    """One object, if its name has a suffix of ours, or all objects below a prefix, or those that fit a pattern."""
    root, pattern = _split(address)
    if pattern:
        store = open_store(root)
        return store, _wanted(filter(_pattern(pattern).fullmatch, store.keys()), address)
    place = PurePosixPath(address.removeprefix("s3://"))
    if place.suffix in SUFFIXES:
        return open_store(f"s3://{place.parent}"), [place.name]
    store = open_store(address)
    return store, _wanted(store.keys(), address)


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
    names = sorted(str(path) for path in ours if not _is_hidden(path))
    if not names:
        raise UserMistake(f"{where} holds no {', '.join(SUFFIXES)} file: name the manifest or its folder")
    if odd := next(filter(has_control, names), None):
        raise UserMistake(f"{odd!r:.200} in {where} has a control character in its name: rename it", "E_PATH")
    return names


def _is_hidden(path: PurePosixPath) -> bool:
    return any(part[0] in "._" for part in path.parts)
