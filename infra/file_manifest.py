"""A manifest made of files: planned file by file, each read as the kind that its content tells."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import PurePosixPath
from typing import Protocol

from autosteer_core.cutting import Stretch
from autosteer_core.errors import UserMistake
from autosteer_core.row_ids import RowIds
from autosteer_core.values import Item, Part
from infra.duplicate_ids import sum_of_unique_ids
from infra.file_kind import HEAD_BYTES, PARQUET, SUFFIXES, looks_like, row_kind
from infra.manifest_files import ManifestFiles, sha256_of


class RowSource(Protocol):
    """Reads the files of one kind, by name."""

    def rows(self, name: str) -> int:
        """How many; UserMistake if the file cannot be a manifest."""
        ...

    def ids(self, name: str) -> Iterator[Sequence[str]]:
        """The ids that the items of all rows will have, in order, some at a time."""
        ...

    def stretches(self, name: str) -> Iterable[Stretch]:
        """What the rows cost, in order."""
        ...

    def items(self, part: Part) -> Iterator[Item]:
        """The items of a part of one file."""
        ...


class FileManifest:
    """Plans once, when it is first asked; reading a part needs no plan, so workers make none."""

    def __init__(
        self, files: ManifestFiles, sources: Mapping[str, RowSource], planned: Mapping[str, str] | None = None
    ) -> None:
        """`sources` reads each kind that `row_kind` knows; `planned` holds the SHA-256 that files must have."""
        self._files = files
        self._sources = sources
        self._planned_as = planned or {}
        self._checked = ""
        self._kinds: dict[str, str] = {}
        self._facts: dict[str, tuple[str, int, str]] = {}

    def files(self) -> Sequence[tuple[str, int, str]]:
        """Also refuses what cannot be served: two kinds, wrong columns, an id given twice."""
        self.row_ids()
        return [self._facts[name] for name in self._files.names]

    def row_ids(self) -> RowIds:
        return self._planned

    def stretches(self, name: str) -> Iterable[Stretch]:
        return self._source(name).stretches(name)

    def items(self, part: Part) -> Iterator[Item]:
        """E_SOURCE_CHANGED if the file is not the one that the run was planned with."""
        if part.source != self._checked:
            self._refuse_another(part.source)
            self._checked = part.source
        count = 0
        for item in self._source(part.source).items(part):
            yield item
            count += 1
        self._refuse_another_count(part.source, part.rows, count)

    @cached_property
    def _planned(self) -> RowIds:
        return sum_of_unique_ids(self._ids)

    def _ids(self) -> Iterator[tuple[str, int, Sequence[str]]]:
        """All that is read of a file is read before the next one: a stored file may have to be fetched for it."""
        for name in self._files.names:
            source = self._source(name)
            self._refuse_two_kinds()
            if name not in self._facts:
                self._facts[name] = (name, source.rows(name), self._digest(name))
            first = 0
            with self._named_as_parquet(name):
                for ids in source.ids(name):
                    yield name, first, ids
                    first += len(ids)
            self._refuse_another_count(name, self._facts[name][1], first)

    @contextmanager
    def _named_as_parquet(self, name: str) -> Iterator[None]:
        """JSON lines are read under any name; but JSON of another kind, named Parquet, is told to be none."""
        try:
            yield
        except UserMistake as error:
            named = SUFFIXES.get(PurePosixPath(name).suffix)
            if named != PARQUET or self._kinds[name] == PARQUET or error.code not in ("E_JSON", "E_COLUMN_MISSING"):
                raise
            raise UserMistake(
                f"{self._files.describe(name)} is not a Parquet file, it looks like JSON, and not like a manifest "
                f"({error}): check the path",
                "E_NOT_PARQUET",
            ) from error

    def _refuse_another_count(self, name: str, told: int, found: int) -> None:
        """A damaged column of Parquet may end early, or go on, and say nothing of it."""
        if told != found:
            raise UserMistake(
                f"{self._files.describe(name)} is damaged, or was changed meanwhile: {found:,} of {told:,} rows "
                "could be read, get a new copy of it",
                "E_PARQUET_PAGE" if self._kinds[name] == PARQUET else "E_SOURCE_CHANGED",
            )

    def _refuse_another(self, name: str) -> None:
        """Once for each file in a row: its bytes are read once more than its rows are."""
        wanted = self._planned_as.get(name)
        if wanted is not None and self._digest(name) != wanted:
            raise UserMistake(
                f"{self._files.describe(name)} was changed after the run was planned (its SHA-256 differs): "
                "restore it, or start a new run",
                "E_SOURCE_CHANGED",
            )

    def _digest(self, name: str) -> str:
        with self._files.open(name) as file:
            return sha256_of(file)

    def _source(self, name: str) -> RowSource:
        if name not in self._kinds:
            with self._files.open(name) as file:
                head = file.read(HEAD_BYTES)
            self._kinds[name] = _kind(name, head, self._files.describe)
        return self._sources[self._kinds[name]]

    def _refuse_two_kinds(self) -> None:
        if len(set(self._kinds.values())) > 1:
            odd = list(self._kinds)[-1]
            raise UserMistake(
                f"the manifest holds both Parquet and JSON lines, {self._files.describe(odd)} is the first that "
                "differs: keep one kind in a manifest",
                "E_MANIFEST_KIND",
            )


def _kind(name: str, head: bytes, describe: Callable[[str], str]) -> str:
    """By the first bytes, and by the suffix if they say nothing: its reader will say what is wrong."""
    kind = row_kind(head) or SUFFIXES.get(PurePosixPath(name).suffix)
    if kind is None:
        raise UserMistake(
            f"{describe(name)} looks like {looks_like(head)}: a manifest is a Parquet file or a file of JSON lines",
            "E_MANIFEST_KIND",
        )
    return kind
