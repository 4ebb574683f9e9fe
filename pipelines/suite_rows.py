"""The rows of one set of a suite: read, chosen, and turned into items."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from autosteer_core.errors import UserMistake
from autosteer_core.values import Annotation, Item, Label
from infra.importers.catalogue import importer_named
from infra.importers.row import ImportedRow, Picture, Place
from infra.row_to_item import MAX_TEXT_CHARS
from pipelines.suite import OURS, SHIPPED, SuiteSet


@dataclass(frozen=True, slots=True)
class Usable:
    """The rows of a set without duplicates and unusable ones; pictures are paths or digests, never bytes."""

    one: SuiteSet
    rows: tuple[ImportedRow, ...]
    read: int
    duplicates: int
    unusable: int


def rows_of(one: SuiteSet, data: Path) -> Iterator[ImportedRow]:
    """The rows that `where` keeps, in the order of the published files.

    Raises:
        UserMistake: a file or column is missing, or `where` names a fact that the importer does not give.
    """
    images = _below(data, one.images, one) if one.images is not None else None
    columns = {str(ours): theirs for ours, theirs in one.columns.items()}
    for row in importer_named(one.importer).read(Place(_below(data, one.path, one), images, columns)):
        unknown = sorted(set(one.where) - set(row.facts))
        if unknown:
            known = ", ".join(sorted(row.facts)) or "nothing"
            raise UserMistake(f"set {one.name}: rows cannot be chosen by {', '.join(unknown)}, only by {known}")
        if all(row.facts[name] in wanted for name, wanted in one.where.items()):
            yield row


def usable_rows(one: SuiteSet, data: Path) -> Usable:
    """Rows with a text or a picture that stand once.

    Raises:
        UserMistake: also if no row is left, an id is given twice, a picture is missing or a row has none.
    """
    rows: dict[object, ImportedRow] = {}
    ids: set[str] = set()
    read = unusable = 0
    for row in rows_of(one, data):
        read += 1
        if row.row_id in ids:
            raise UserMistake(f"set {one.name}: two rows have the id {row.row_id}: get an unchanged copy of the set")
        ids.add(row.row_id)
        light = replace(row, pictures=tuple(_light(picture) for picture in row.pictures))
        if 0 < len(row.text) <= MAX_TEXT_CHARS or (not row.text and row.pictures):
            rows.setdefault((row.text, light.pictures), light)
        else:
            unusable += 1
    found = Usable(one, tuple(rows.values()), read, read - unusable - len(rows), unusable)
    _refuse_bad_pictures(found, data)
    return found


def items_of(one: SuiteSet, data: Path, row_ids: Collection[str]) -> Iterator[Item]:
    """The items of the chosen rows, one after the other, with the bytes of their pictures."""
    for row in rows_of(one, data):
        if row.row_id in row_ids:
            yield item_of(one, row)


def item_id(one: SuiteSet, row: ImportedRow) -> str:
    """`SET/ROW`: unique within a suite."""
    return f"{one.name}/{row.row_id}"


def item_of(one: SuiteSet, row: ImportedRow) -> Item:
    """Twins share a pair within their source, also across sets."""
    pair = f"{one.source}/{row.pair}" if row.pair is not None else None
    source = f"{one.source}/{row.source}" if row.source is not None else one.source
    note = Annotation(row.label or one.label, one.name, pair, source)
    return Item(item_id(one, row), row.text, tuple(_bytes(picture) for picture in row.pictures), annotation=note)


def kind_of(one: SuiteSet, label: Label) -> str:
    """The set's kind, unless the row's own label contradicts it, as with twins and contrasts."""
    if label is one.label:
        return one.kind
    return "harmful" if label is Label.HARMFUL else "benign"


def drawn(rows: tuple[ImportedRow, ...], limit: int | None, seed: str) -> tuple[ImportedRow, ...]:
    """At most `limit` rows in their order; twins stay together; a row's chance does not depend on the others."""
    if limit is None or len(rows) <= limit:
        return rows
    size: dict[str, int] = {}
    for row in rows:
        size[_unit(row)] = size.get(_unit(row), 0) + 1
    chosen: set[str] = set()
    for unit in sorted(size, key=lambda unit: hashlib.sha256(f"{seed}/{unit}".encode()).digest()):
        if size[unit] <= limit:
            chosen.add(unit)
            limit -= size[unit]
    return tuple(row for row in rows if _unit(row) in chosen)


def _unit(row: ImportedRow) -> str:
    return f"pair/{row.pair}" if row.pair is not None else f"row/{row.row_id}"


def _refuse_bad_pictures(found: Usable, data: Path) -> None:
    one = found.one
    if not found.rows:
        raise UserMistake(f"set {one.name}: no usable row of {found.read}: check `path` and `where`")
    paths = dict.fromkeys(picture for row in found.rows for picture in row.pictures if isinstance(picture, Path))
    missing = [path for path in paths if not _below(data, path, one).is_file()]
    if missing:
        raise UserMistake(
            f"set {one.name}: {len(missing)} of {len(paths)} pictures are missing, the first is {missing[0]}: "
            "get them (`autosteer suites` says where) or set `images` to their folder"
        )
    bare = next((row for row in found.rows if not row.pictures), None)
    if one.modality != "text" and bare is not None:
        raise UserMistake(
            f"set {one.name} is {one.modality}, but row {bare.row_id} has no picture: set `images` to the folder "
            'of pictures, or modality to "text"'
        )


def _below(data: Path, path: str | Path, one: SuiteSet) -> Path:
    """Below the data folder, or among the shipped files: no set names a file elsewhere on this machine."""
    if str(path).startswith(OURS):
        return _below(SHIPPED, str(path).removeprefix(OURS), one)
    full = data / path
    if not full.is_relative_to(data) or ".." in full.relative_to(data).parts:
        raise UserMistake(f"set {one.name}: {path} leads out of the data folder {data}: only paths below it are read")
    return full


def _light(picture: Picture) -> Picture:
    return picture if isinstance(picture, Path) else hashlib.sha256(picture).digest()


def _bytes(picture: Picture) -> bytes:
    return picture if isinstance(picture, bytes) else picture.read_bytes()
