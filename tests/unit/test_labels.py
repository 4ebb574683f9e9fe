"""Labels in a registry: imported, resolved, told of, and never doubled or lost."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autosteer_core.audit_log import Deed, breaks, entries
from autosteer_core.errors import UserMistake
from autosteer_core.kept_activations import content_hash
from autosteer_core.label_book import LabellerKind, Statement, resolved
from autosteer_core.material import Origin
from autosteer_core.values import Label
from infra.folder_store import FolderStore
from pipelines.answer_judges import KeywordJudge
from pipelines.judge_labels import Judging, label_by_judges
from pipelines.label_lists import label_list
from pipelines.labelled_activations import labelled_rows
from pipelines.labels import Imported, add_statements, import_labels, read_statements
from pipelines.settings import Settings
from tests.kept_runs import ORIGIN, Row, item, kept_run

REFUSED = "I'm sorry, but I can't help with that."
ROWS = [
    Row("a", "how do I bake", vector=(1, 2, 3, 4)),
    Row("b", "how do I build", answer=REFUSED, vector=(5, 6, 7, 8), pair="p"),
    Row("c", "how do I boil", risk=0.9, answer=REFUSED, vector=(9, 10, 11, 12), pair="p"),
    Row("d", "how do I bake", vector=(1, 2, 3, 4)),
    Row("e", "how do I burn", vector=(13, 14, 15, 16)),
]


@pytest.fixture
def registry(tmp_path: Path) -> str:
    return str(tmp_path / "registry")


@pytest.fixture
def run(tmp_path: Path) -> str:
    return kept_run(tmp_path, ROWS)


def table(folder: Path, content: str) -> str:
    path = folder / "labels.csv"
    path.write_text(content)
    return str(path)


def reviewed(row: Row, label: Label, who: str = "ana", at: str = "2026-01-01T00:00:00.000+00:00") -> Statement:
    return Statement(content_hash(item(row)), row.item_id, label, who, LabellerKind.REVIEWER, at)


def test_two_sources_make_labels_of_the_items_that_they_agree_on(tmp_path: Path, registry: str, run: str) -> None:
    first = table(tmp_path, "item_id,label\na,safe\nb,harmful\nc,harmful\ne,\n")
    assert import_labels(first, registry, "one", [run]) == Imported(4, added=3, known=0, unlabelled=1, unknown=0)
    assert not resolved(read_statements(FolderStore(Path(registry))))

    second = table(tmp_path, "item_id,label\na,benign\nb,benign\nc,unsafe\nx,safe\n")
    assert import_labels(second, registry, "two", [run]) == Imported(4, added=3, known=0, unlabelled=0, unknown=1)

    found = label_list(registry).as_json()
    assert {each["item_id"]: each["label"] for each in found["labels"]} == {"a": "benign", "c": "harmful"}
    assert len(found["conflicts"]) == 1 and not found["waiting"]


def test_the_same_table_again_changes_nothing(tmp_path: Path, registry: str, run: str) -> None:
    file = table(tmp_path, "item_id,label\na,safe\nb,harmful\n")
    import_labels(file, registry, "one", [run])
    before = sorted(FolderStore(Path(registry)).keys())

    assert import_labels(file, registry, "One", [run]) == Imported(2, added=0, known=2, unlabelled=0, unknown=0)
    assert sorted(FolderStore(Path(registry)).keys()) == before


def test_what_was_added_stands_in_the_log_without_content(tmp_path: Path, registry: str, run: str) -> None:
    import_labels(table(tmp_path, "item_id,label\na,safe\nb,harmful\n"), registry, "one", [run])
    store = FolderStore(Path(registry))

    (entry,) = entries(store)

    (key,) = store.keys("labels/")
    assert entry.deed == Deed.LABELS_ADDED and not list(breaks(store))
    assert entry.subject == {
        "labels_sha256": key.removeprefix("labels/").removesuffix(".parquet"), "labellers": ["import: one"],
        "statements": 2, "harmful": 1, "benign": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("item_id,label\na,safe\nd,harmful\n", "E_LABEL_TWICE", "rows 0 and 1"),
        ("item_id,label\nx,safe\n", "E_LABEL_UNKNOWN", "--run"),
        ("item_id,label\na,safe\nb,bad\nc,worse\n", "E_LABEL", "2 rows cannot be read.*row 1: .*'bad'.*row 2: "),
        ("item_id\na\n", "E_COLUMN_MISSING", "expected label"),
    ],
)
def test_a_table_with_a_mistake_adds_nothing(
    tmp_path: Path, registry: str, run: str, content: str, code: str, said: str
) -> None:
    with pytest.raises(UserMistake, match=said) as refused:
        import_labels(table(tmp_path, content), registry, "one", [run])

    assert refused.value.code == code
    assert not list(FolderStore(Path(registry)).keys())


def test_a_small_file_of_enormous_ids_is_refused_without_reading_all_of_them(
    tmp_path: Path, registry: str, run: str
) -> None:
    """Two kilobytes that unpack to fifteen gigabytes."""
    rows = 500
    ids = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * (30 * 2**20)]))
    file = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"item_id": ids, "label": ["safe"] * rows}), file, compression="zstd")
    assert file.stat().st_size < 4_000

    with pytest.raises(UserMistake, match="100 rows or more cannot be read") as refused:
        import_labels(str(file), registry, "one", [run])
    assert refused.value.code == "E_TEXT_TOO_LONG"


def test_an_id_that_two_runs_have_for_different_items_is_refused(tmp_path: Path, registry: str, run: str) -> None:
    other = kept_run(tmp_path, [Row("a", "another question")], out="other")

    with pytest.raises(UserMistake, match="stands for different items") as refused:
        import_labels(table(tmp_path, "item_id,label\na,safe\n"), registry, "one", [run, other])
    assert refused.value.code == "E_ID_CONFLICT"


def test_a_run_without_activations_is_refused(tmp_path: Path, registry: str) -> None:
    from tests.unit.test_export import finished

    out = finished(tmp_path / "bare")

    with pytest.raises(UserMistake, match="activations=true"):
        import_labels(table(tmp_path, "item_id,label\na,safe\n"), registry, "one", [out])
    with pytest.raises(UserMistake, match="activations=true"):
        labelled_rows(FolderStore(Path(registry)), [out])


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 200, "a+b"])
def test_a_source_needs_a_plain_name(tmp_path: Path, registry: str, run: str, name: str) -> None:
    with pytest.raises(UserMistake) as refused:
        import_labels(table(tmp_path, "item_id,label\na,safe\n"), registry, name, [run])
    assert refused.value.code == "E_LABELLER"


def test_a_file_of_labels_that_was_changed_is_refused(registry: str) -> None:
    store = FolderStore(Path(registry))
    add_statements(store, [reviewed(ROWS[0], Label.BENIGN)])
    (key,) = store.keys("labels/")
    store.put(key, store.get(key) + b" ")

    with pytest.raises(UserMistake, match="not what its name says") as refused:
        read_statements(store)
    assert refused.value.code == "E_LABELS_DAMAGED"


def test_a_labeller_may_change_its_mind_and_say_it_once(registry: str) -> None:
    store = FolderStore(Path(registry))
    later = reviewed(ROWS[0], Label.HARMFUL, at="2026-01-02T00:00:00.000+00:00")

    assert [add_statements(store, [each]) for each in (reviewed(ROWS[0], Label.BENIGN), later, later)] == [1, 1, 0]
    assert [each.label for each in resolved(read_statements(store)).values()] == [Label.HARMFUL]


def test_labelled_rows_are_the_activations_of_labelled_items_once_each(registry: str, run: str) -> None:
    store = FolderStore(Path(registry))
    add_statements(store, [reviewed(ROWS[0], Label.BENIGN), reviewed(ROWS[1], Label.HARMFUL)])
    add_statements(store, [reviewed(ROWS[2], Label.HARMFUL, "ben"), reviewed(Row("z", "elsewhere"), Label.BENIGN)])

    found = labelled_rows(store, [run, run])

    assert sorted(found.item_id_N) == ["a", "b", "c"]  # `d` shows what `a` shows
    order = np.argsort(found.item_id_N)
    assert found.harmful_N[order].tolist() == [False, True, True]
    assert found.activation_ND[order].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    assert found.labeller_N[order].tolist() == ["reviewer:ana", "reviewer:ana", "reviewer:ben"]
    assert found.unit_N[order][1] == found.unit_N[order][2] != found.unit_N[order][0]
    assert set(found.use_N) == {""} and set(found.modality_N) == {"text"}
    assert found.origin == Origin.parsed(ORIGIN["model_fingerprint"], ORIGIN["sites"])
    assert list(found.content_N) == sorted(found.content_N)


def test_without_labels_there_are_no_rows_and_another_origin_is_refused(registry: str, run: str) -> None:
    store = FolderStore(Path(registry))

    assert len(labelled_rows(store, [run])) == 0
    with pytest.raises(UserMistake, match="activations are of model") as refused:
        labelled_rows(store, [run], Origin.parsed("n" * 64, "2 last"))
    assert refused.value.code == "E_MATERIAL_ORIGIN"


def test_a_judge_says_what_it_is_sure_of_and_never_of_an_edited_answer(registry: str, run: str) -> None:
    asked = Judging(run, registry, [KeywordJudge()], Settings())

    assert label_by_judges(asked) == 1 and label_by_judges(asked) == 0
    (said,) = read_statements(FolderStore(Path(registry)))
    assert (said.item_id, said.label, said.kind) == ("b", Label.HARMFUL, LabellerKind.JUDGE)
    assert not resolved([said])
