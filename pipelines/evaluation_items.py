"""What is evaluated: a suite made into one manifest, or a labelled manifest as it is; and the rows chosen from it."""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autosteer_core.errors import UserMistake
from autosteer_core.leakage import Leakage, leakage_between, traces_of
from autosteer_core.ports import BlobStore
from autosteer_core.questions import Question, SetKind
from autosteer_core.values import Item
from infra.item_files import items_to_parquet
from infra.open_store import open_store, scheme_of
from infra.suite_manifest import SuiteFacts, suite_facts
from pipelines.import_suite import import_suite
from pipelines.reading import open_items
from pipelines.suite import load_suite, shipped_suites
from pipelines.wiring import stream
from workers.decoder_process import DecoderProcess

ITEMS, IMPORTED = "items.parquet", "import.json"
_ITEMS_PER_FILE = 1024


@dataclass(frozen=True, slots=True)
class EvaluationItems:
    """The manifest's address, its rows without texts and pictures, and how many rows could not be read."""

    address: str
    questions: list[Question]
    unreadable: int
    imported: dict[str, Any] | None


def evaluation_items(suite: str, data: Path, out: str) -> EvaluationItems:
    """Import the suite into `out` if it is one, then read every row once.

    Raises:
        UserMistake: no such suite, set or manifest, or a row without a label.
    """
    address, imported, facts = suite, None, _facts(Path(suite))
    if suite in shipped_suites() or suite.endswith(".toml"):
        address, imported, facts = _imported(suite, data, out)
    elif scheme_of(suite) != "s3" and not Path(suite).exists():
        known = ", ".join(shipped_suites())
        raise UserMistake(
            f"there is no suite or manifest {suite}: expected a manifest, a .toml file or one of {known}"
        )
    questions, unreadable = [], 0
    for item in stream(open_items(address)):
        unreadable += item.flaw is not None
        if item.flaw is None:
            questions.append(_question(item, facts.get(item.item_id)))
    return EvaluationItems(address, questions, unreadable, imported)


def _imported(suite: str, data: Path, out: str) -> tuple[str, dict[str, Any], dict[str, SuiteFacts]]:
    """Always imported anew, because the data may have changed; equal data gives equal bytes, so the runs go on."""
    store = open_store(out)
    with TemporaryDirectory() as folder:
        # A manifest of pictures can be large: it is copied only where the store is not this disk.
        file = Path(folder if scheme_of(out) == "s3" else out) / ITEMS
        report = import_suite(load_suite(suite), data, file).as_json() | {"out": f"{out.rstrip('/')}/{ITEMS}"}
        if scheme_of(out) == "s3":
            store.put(ITEMS, file.read_bytes())
        facts = suite_facts(file)
    store.put(IMPORTED, json.dumps(report, indent=1).encode())
    return f"{out.rstrip('/')}/{ITEMS}", report, facts


def _facts(path: Path) -> dict[str, SuiteFacts]:
    """A manifest that no suite made has labels only."""
    try:
        return suite_facts(path) if path.is_file() and path.suffix == ".parquet" else {}
    except UserMistake:
        return {}


def _question(item: Item, facts: SuiteFacts | None) -> Question:
    note = item.annotation
    unit = note.pair or item.item_id
    if facts is not None:
        accepted = tuple(facts.answer.split("\n")) if facts.answer else ()
        return Question(
            item.item_id, note.group_name, SetKind(facts.kind), facts.modality, unit, accepted, facts.choices
        )
    if note.label is None:
        raise UserMistake(
            f"item {item.item_id} has no label: an evaluation needs `harmful` or `benign` for every row"
        )
    return Question(item.item_id, note.group_name, SetKind(note.label.value), str(item.modality), unit)


def find_leaks(calibrated_on: str | None, items: EvaluationItems) -> Leakage | None:
    """Rows of the evaluation that calibration has shown; None where nobody says what calibration saw."""
    if calibrated_on is None:
        return None
    decoder = DecoderProcess()
    known, asked = (traces_of(stream(open_items(address)), decoder) for address in (calibrated_on, items.address))
    return leakage_between(known, asked)


def write_rows(out: str, name: str, source: str, wanted: Collection[str], late: Collection[str]) -> str | None:
    """A manifest of the wanted rows under `out`; None if there are none.

    Rows of one gate and of similar length stand together, since a batch lasts as long as its longest answer;
    `late` rows come last.

    Raises:
        UserMistake: `out` holds other rows of that name, from another evaluation.
    """
    store, folder = open_store(out), f"rows/{name}"
    chosen = (replace(item, row=0) for item in stream(open_items(source)) if item.item_id in wanted)
    keys: list[str] = []
    while items := list(islice(chosen, _ITEMS_PER_FILE)):
        items.sort(key=lambda item: (item.item_id in late, len(item.text), item.item_id))
        keys.append(f"{folder}/{len(keys):05d}.parquet")
        put_same(store, keys[-1], items_to_parquet(items))
    if set(store.keys(f"{folder}/")) != set(keys):
        raise _other_evaluation(store)
    return f"{out.rstrip('/')}/{folder}" if keys else None


def put_same(store: BlobStore, key: str, data: bytes) -> None:
    """Write what the same command always writes; raises UserMistake if something else is there."""
    if not store.put_if_absent(key, data) and store.get(key) != data:
        raise _other_evaluation(store)


def _other_evaluation(store: BlobStore) -> UserMistake:
    return UserMistake(
        f"{store.describe()} holds another evaluation: choose an empty --out, or repeat the command with the first "
        "one's suite, bundle and settings"
    )
