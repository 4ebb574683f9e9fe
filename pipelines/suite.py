"""A suite: which published sets make one manifest, read from a TOML file."""

import tomllib
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autosteer_core.errors import UserMistake
from autosteer_core.values import Label
from infra.importers.catalogue import importer_named

Kind = Literal["harmful", "benign", "over-refusal", "accuracy"]
Modality = Literal["text", "image", "cross-modal"]
Column = Literal["text", "id", "label", "pair", "answer", "image"]

SHIPPED = Path(__file__).parent / "suites"
OURS = "shipped:"

_STRICT = ConfigDict(extra="forbid", frozen=True)


class SuiteSet(BaseModel):
    """One set of a suite; `path` and `images` are relative to the data folder, `shipped:` ones to ours.

    `modality` says where that which decides lies: in the text, in the picture, or in both together; a harmful text
    beside an ordinary picture is `text`. `where` keeps rows by the importer's facts, `rows` draws that many, seeded
    by the suite, twins together.
    """

    model_config = _STRICT

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)
    importer: str
    path: str
    kind: Kind
    modality: Modality
    source: str = Field(min_length=1)
    images: str | None = None
    rows: int | None = Field(None, ge=1)
    where: dict[str, list[str]] = Field(default_factory=dict)
    columns: dict[Column, str] = Field(default_factory=dict)

    @property
    def label(self) -> Label:
        """The label of rows for which the set itself names none."""
        return Label.HARMFUL if self.kind == "harmful" else Label.BENIGN


class Suite(BaseModel):
    """`held_out_from` names another suite: rows that its sets hold too are dropped from this one, and counted."""

    model_config = _STRICT

    name: str = Field(min_length=1)
    title: str = ""
    seed: int = Field(0, ge=0)
    held_out_from: str | None = None
    sets: tuple[SuiteSet, ...] = Field(min_length=1)


def load_suite(name: str) -> Suite:
    """The shipped suite of that name, or the one in that TOML file.

    Raises:
        UserMistake: no such suite or file, not TOML, an unknown key or value, a name given twice.
    """
    file = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    try:
        suite = Suite(**tomllib.loads(file.read_text("utf-8")))
    except OSError as error:
        raise UserMistake(
            f"there is no suite {name}: expected a .toml file or one of {', '.join(shipped_suites())}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserMistake(f"suite {file} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise UserMistake(_sentence(error, file)) from error
    _check_sets(suite, file)
    return suite


def shipped_suites() -> list[str]:
    """The names of the suites that come with the program."""
    return sorted(file.stem for file in SHIPPED.glob("*.toml"))


def _check_sets(suite: Suite, file: Path) -> None:
    names = [one.name for one in suite.sets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserMistake(f"suite {file}: the set {', '.join(twice)} is there more than once: rename one")
    for one in suite.sets:
        importer_named(one.importer)
        if one.columns and one.importer != "table":
            raise UserMistake(f"suite {file}: set {one.name} has columns, which only the importer `table` reads")


def _sentence(error: ValidationError, file: Path) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = Suite.model_fields if len(problem["loc"]) == 1 else SuiteSet.model_fields
        return f"suite {file}: unknown key `{place}`: expected one of {', '.join(sorted(known))}"
    if problem["type"] == "missing":
        return f"suite {file}: `{place}` is missing"
    expected = {"kind": Kind, "modality": Modality}.get(str(problem["loc"][-1]))
    hint = f"expected one of {', '.join(get_args(expected))}" if expected else problem["msg"]
    return f"suite {file}: `{place}` is {problem.get('input')!r}: {hint}"
