"""One row of a published set, and where the set lies."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autosteer_core.errors import UserMistake
from autosteer_core.values import Label

Picture = Path | bytes


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """What the set itself says; `label` is None where the whole set has one kind.

    `pictures` are paths or encoded bytes, so that a row that is not wanted costs no reading.
    `answer` is a letter where there are `choices`; several accepted answers stand on lines of their own.
    `source` tells rows of one set apart that come from different hands or recipes.
    `facts` are the set's own columns that a suite may select rows by, such as category or split.
    """

    row_id: str
    text: str
    pictures: tuple[Picture, ...] = ()
    label: Label | None = None
    pair: str | None = None
    choices: tuple[str, ...] = ()
    answer: str | None = None
    source: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """The set's file or folder, and the folder of its pictures if a suite names one.

    `columns` is for the generic importers: our name (text, id, label, pair, answer, image) -> the file's.
    """

    path: Path
    images: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def picture_folder(self, usual: Path) -> Path:
        """The named folder, or else the one where the published archive has it."""
        return self.images if self.images is not None else usual

    def text_only_without_images(self, name: str) -> tuple[Picture, ...]:
        """The picture `name`, or none where the suite names no folder of pictures."""
        return () if self.images is None else (self.images / name,)


Reader = Callable[[Place], Iterator[ImportedRow]]


def label_of(value: object, where: str) -> Label:
    """The label that a published column means.

    Raises:
        UserMistake: the value is none of harmful, unsafe, benign, safe.
    """
    found = str(value).strip().lower()
    if found in ("harmful", "unsafe"):
        return Label.HARMFUL
    if found in ("benign", "safe"):
        return Label.BENIGN
    raise UserMistake(f"{where}: a label is {value!r}, expected harmful, unsafe, benign or safe")
