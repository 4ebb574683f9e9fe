"""Which columns of a manifest mean what."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from autosteer_core.errors import UserMistake

_MOST_TOLD = 100


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Our name -> the manifest's name. Only `id` and one of text, image and images must exist."""

    id: str = "id"
    text: str = "text"
    system: str = "system"
    image: str = "image"
    images: str = "images"
    image_sha256: str = "image_sha256"
    label: str = "label"
    group: str = "group"
    pair: str = "pair"
    source: str = "source"

    @classmethod
    def of(cls, mapping: Mapping[str, str]) -> "ColumnMap":
        """From settings, where a name of ours may be misspelt."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(mapping) - set(known))
        if unknown:
            raise UserMistake(f"column map: {', '.join(unknown)} is not one of {', '.join(known)}")
        return cls(**mapping)

    def named_in(self, found: Iterable[str]) -> list[str]:
        """Those of the manifest's columns that mean something to us."""
        wanted = {getattr(self, field.name) for field in fields(self)}
        return [name for name in found if name in wanted]

    def present_in(self, found: list[str], where: str) -> dict[str, str]:
        """Our name -> the manifest's, for the columns that are there; refuses a table that lacks one."""
        wanted = {field.name: getattr(self, field.name) for field in fields(self)}
        present = {ours: theirs for ours, theirs in wanted.items() if theirs in found}
        # A column that was named on purpose must exist: ignoring a misspelt label would look like no labels.
        missing = [theirs for ours, theirs in wanted.items() if theirs not in found and theirs != ours]
        if "id" not in present or missing:
            lost = missing or [self.id]
            raise UserMistake(
                f"{where} has no column {', '.join(lost)}; it has {_told(found)}: name yours in the column map",
                "E_COLUMN_MISSING",
            )
        if not present.keys() & {"text", "image", "images"}:
            raise UserMistake(
                f"{where} needs a column {self.text}, {self.image} or {self.images}; "
                f"it has {_told(found)}: name yours in the column map",
                "E_COLUMN_MISSING",
            )
        return present


def _told(found: list[str]) -> str:
    """The names, but not all of thousands."""
    more = f" and {len(found) - _MOST_TOLD:,} more" if len(found) > _MOST_TOLD else ""
    return (", ".join(f"{name!s:.80}" for name in found[:_MOST_TOLD]) or "none") + more
