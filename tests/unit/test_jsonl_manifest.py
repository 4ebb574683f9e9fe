"""JSON lines: what is read, and what is told with which line number."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosteer_core.errors import UserMistake
from autosteer_core.values import Annotation, Item, Label, Part, PartId
from infra.column_map import ColumnMap
from infra.json_lines import lines_of
from infra.open_manifest import open_manifest
from infra.open_store import open_store

PNG = b"\x89PNG of some picture"
BASE64 = b64encode(PNG).decode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifest.jsonl"


def write(path: Path, *rows: dict[str, Any] | str) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def read(address: str, start: int = 0, stop: int | None = None, **options: Any) -> list[Item]:
    """Items of the first file, all of them if no `stop` is given."""
    manifest = open_manifest(address, **options)
    name, rows, _ = manifest.files()[0]
    return list(manifest.items(Part(PartId("p"), name, start, rows if stop is None else stop)))


def test_a_line_becomes_an_item_with_all_that_is_known_of_it(path: Path) -> None:
    row = {
        "id": "a",
        "text": "hi",
        "image": BASE64,
        "label": "benign",
        "group": 1,
        "pair": "p",
        "source": "s",
        "system": "be brief",
    }
    annotation = Annotation(Label.BENIGN, "1", "p", "s")
    assert read(write(path, row)) == [Item("a", "hi", (PNG,), 0, annotation, system="be brief")]


@pytest.mark.parametrize("image", [BASE64, f"data:image/png;base64,{BASE64}", "pictures/1.png", "./pictures/1.png"])
def test_an_image_is_base64_or_a_path_beside_the_manifest(path: Path, image: str) -> None:
    (path.parent / "pictures").mkdir()
    (path.parent / "pictures" / "1.png").write_bytes(PNG)
    first, second = read(write(path, {"id": "a", "image": image}, {"id": "b", "images": [image, image]}))
    assert (first.images, second.images) == ((PNG,), (PNG, PNG))


@given(blank=st.lists(st.sampled_from([None, "", "   "]), max_size=40), data=st.data())
def test_a_part_gives_exactly_its_rows_and_blank_lines_are_not_rows(
    tmp_path_factory: pytest.TempPathFactory, blank: list[str | None], data: st.DataObject
) -> None:
    lines = ["", '{"id": "first", "text": "x"}']
    lines += [json.dumps({"id": n, "text": "é" * n}) if line is None else line for n, line in enumerate(blank)]
    expected = ["first", *(str(n) for n, line in enumerate(blank) if line is None)]
    start = data.draw(st.integers(0, len(expected) - 1))
    stop = data.draw(st.integers(start + 1, len(expected)))
    path = tmp_path_factory.mktemp("rows") / "manifest.jsonl"
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    items = read(str(path), start, stop)
    assert [(item.row, item.item_id) for item in items] == [(n, expected[n]) for n in range(start, stop)]


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("{'id': 1}", "E_JSON", "line 3 is not JSON"),
        ('["a"]', "E_JSON", "line 3 is a list, not an object"),
        ("[" * 100_000, "E_JSON", "line 3 is not JSON"),
        (
            '{"id": "b", "text": "' + "x" * 21 + '"}',
            "E_TEXT_TOO_LONG",
            "text has 21 characters, 20 are allowed",
        ),
        ('{"id": "b", "text": "\\ud800"}', "E_TEXT_UTF8", "half a surrogate pair"),
        ('{"id": "\\ud800", "text": "x"}', "E_ID_INVALID", "control characters"),
        ('{"text": "x"}', "E_ID_EMPTY", "no id"),
        ('{"id": true, "text": "x"}', "E_FIELD_TYPE", "id must be a string, it is bool"),
        ('{"id": "b", "text": ["x"]}', "E_FIELD_TYPE", "text must be a string, it is list"),
        ('{"id": "b"}', "E_ROW_EMPTY", "neither text nor an image"),
        ('{"id": "b", "text": "x", "label": "bad"}', "E_LABEL", "harmful or benign"),
        ('{"id": "b", "image": "not base64"}', "E_IMAGE_BASE64", "neither base64 nor a path"),
        ('{"id": "b", "image": ""}', "E_IMAGE_MISSING", "no bytes"),
        ('{"id": "b", "image": {"bytes": "x"}}', "E_FIELD_TYPE", "base64 or a path, it is dict"),
        ('{"id": "b", "images": "x.png"}', "E_FIELD_TYPE", "images must be a list"),
        ('{"id": "b", "images": [null]}', "E_FIELD_TYPE", "base64 or a path, it is NoneType"),
        ('{"id": "b", "image": "gone.png"}', "E_IMAGE_NOT_FOUND", "does not exist"),
        ('{"id": "b", "image": "../gone.png"}', "E_PATH_OUTSIDE_ROOT", "below the manifest's folder"),
        ('{"id": "b", "image": "https://host/x.png"}', "E_URI_FORBIDDEN", "nothing is fetched"),
    ],
)
def test_a_bad_line_is_a_flawed_row_and_spares_its_neighbours(path: Path, line: str, code: str, message: str) -> None:
    good = {"id": "a", "text": "x"}
    first, flawed, last = read(write(path, good, "", line, good | {"id": "c"}), max_text_chars=20)
    assert (first.flaw, last.flaw) == (None, None)
    assert flawed.flaw is not None and flawed.flaw.code == code
    assert message in flawed.flaw.message
    assert (flawed.row, flawed.text, flawed.images) == (1, "", ())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["id,text", "a,b"], "no line that is a JSON object; line 1 looks like plain text such as CSV"),
        ([{"text": "x"}], "has no column id; it has text"),
        ([{"id": "a", "prompt": "x"}], "needs a column text, image or images; it has id, prompt"),
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], "given twice, in row 0 .* and in row 1"),
        ([{"id": "1", "text": "x"}, {"id": 1, "text": "y"}], "given twice"),
    ],
)
def test_a_file_that_cannot_be_a_manifest_is_refused(path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(UserMistake, match=message):
        read(write(path, *rows))


def test_columns_may_have_other_names(path: Path) -> None:
    address = write(path, {"uid": "a", "prompt": "hi"}, {"uid": "b", "prompt": "ho", "gt": "harmful"})
    items = read(address, columns=ColumnMap(id="uid", text="prompt", label="gt"))
    assert [(item.item_id, item.annotation.label) for item in items] == [("a", None), ("b", Label.HARMFUL)]


def test_a_line_without_end_is_refused_by_number(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.json_lines._MAX_LINE_BYTES", 50)
    write(path, {"id": "a", "text": "x"}, {"id": "b", "text": "x" * 50})
    with path.open("rb") as file, pytest.raises(UserMistake, match="line 2 is longer than 50 bytes"):
        list(lines_of(file, "manifest.jsonl"))


def test_a_part_that_the_file_no_longer_holds_is_refused(path: Path) -> None:
    with pytest.raises(UserMistake, match="has 1 rows, the run was planned with 9 or more"):
        read(write(path, {"id": "a", "text": "x"}), 0, 9)


def test_a_manifest_and_its_images_may_lie_in_s3(path: Path, s3_address: str) -> None:
    write(path, {"id": "a", "image": "images/1.png"}, {"id": "b", "image": "images/2.png"})
    store = open_store(s3_address)
    store.put("set/manifest.jsonl", path.read_bytes())
    store.put("set/images/1.png", PNG)
    first, second = read(f"{s3_address}/set/manifest.jsonl")
    assert first.images == (PNG,)
    assert second.flaw is not None and second.flaw.code == "E_IMAGE_NOT_FOUND"
