"""Parquet manifests: what is read, and what is refused in which words."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosteer_core.errors import UserMistake
from autosteer_core.values import Annotation, Item, Label, Part, PartId
from infra.column_map import ColumnMap
from infra.open_manifest import open_manifest
from infra.open_store import open_store

PNG = b"\x89PNG of some picture"


def write(path: Path, columns: dict[str, Any], **options: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return str(path)


def read(address: str, start: int = 0, stop: int | None = None, **options: Any) -> list[Item]:
    """Items of the first file, all of them if no `stop` is given."""
    manifest = open_manifest(address, **options)
    name, rows, _ = manifest.files()[0]
    return list(manifest.items(Part(PartId("p"), name, start, rows if stop is None else stop)))


def codes(items: list[Item]) -> list[str | None]:
    return [item.flaw.code if item.flaw else None for item in items]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifest.parquet"


def test_a_row_becomes_an_item_with_all_that_is_known_of_it(path: Path) -> None:
    columns = {
        "id": ["a"], "text": ["what is this?"], "image": [PNG],
        "label": ["harmful"], "group": ["g"], "pair": ["p"], "source": ["s"], "system": ["be brief"],
    }  # fmt: skip
    annotation = Annotation(Label.HARMFUL, "g", "p", "s")
    assert read(write(path, columns)) == [Item("a", "what is this?", (PNG,), 0, annotation, system="be brief")]


def test_text_alone_and_images_alone_are_enough(path: Path) -> None:
    columns = {"id": ["a", "b"], "text": ["hello", None], "images": [[], [PNG, PNG + b"2"]]}
    assert read(write(path, columns)) == [Item("a", "hello", (), 0), Item("b", "", (PNG, PNG + b"2"), 1)]


def test_images_may_be_structs_of_bytes_and_path_in_a_list_or_alone(path: Path) -> None:
    (path.parent / "beside.png").write_bytes(PNG + b"file")
    inside, beside = {"bytes": PNG, "path": "/elsewhere.png"}, {"bytes": None, "path": "beside.png"}
    alone = read(write(path, {"id": ["a", "b"], "image": [inside, beside]}))
    listed = read(write(path, {"id": ["a"], "images": [[inside, beside]]}))
    assert [item.images for item in alone] == [(PNG,), (PNG + b"file",)]
    assert listed[0].images == (PNG, PNG + b"file")


def test_whole_numbers_and_repeated_texts_are_good_ids(path: Path) -> None:
    assert read(write(path, {"id": [7, -1], "text": ["x", "y"]}))[1].item_id == "-1"
    repeated = pa.array(["a", "b"]).dictionary_encode()
    assert read(write(path, {"id": repeated, "text": repeated}))[1] == Item("b", "b", row=1)


def test_columns_may_have_other_names(path: Path) -> None:
    address = write(path, {"uid": ["a"], "prompt": ["hello"], "gt": ["benign"]})
    columns = ColumnMap.of({"id": "uid", "text": "prompt", "label": "gt"})
    (item,) = read(address, columns=columns)
    assert (item.item_id, item.text, item.annotation.label) == ("a", "hello", Label.BENIGN)


@given(rows=st.integers(1, 70), group=st.integers(1, 40), data=st.data())
def test_a_part_gives_exactly_its_rows_whatever_the_row_groups(
    tmp_path_factory: pytest.TempPathFactory, rows: int, group: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, rows - 1))
    stop = data.draw(st.integers(start + 1, rows))
    path = tmp_path_factory.mktemp("rows") / "manifest.parquet"
    texts = [f"text {row}" for row in range(rows)]
    write(path, {"id": list(range(rows)), "text": texts}, row_group_size=group)
    items = read(str(path), start, stop)
    assert [(item.row, item.item_id, item.text) for item in items] == [
        (row, str(row), texts[row]) for row in range(start, stop)
    ]


def test_a_folder_is_read_in_order_of_names_with_rows_and_digests(tmp_path: Path) -> None:
    write(tmp_path / "m" / "b.parquet", {"id": ["b1"], "text": ["x"]})
    write(tmp_path / "m" / "a" / "1.parquet", {"id": ["a1", "a2"], "text": ["x", "y"]})
    write(tmp_path / "m" / "_temporary" / "c.parquet", {"id": ["b1"], "text": ["x"]})
    (tmp_path / "m" / "_SUCCESS").touch()
    files = open_manifest(str(tmp_path / "m")).files()
    assert [(name, rows) for name, rows, _ in files] == [("a/1.parquet", 2), ("b.parquet", 1)]
    assert all(len(digest) == 64 for *_, digest in files)


def test_a_changed_file_has_another_digest(path: Path) -> None:
    (before,) = open_manifest(write(path, {"id": ["a"], "text": ["x"]})).files()
    (after,) = open_manifest(write(path, {"id": ["a"], "text": ["y"]})).files()
    assert before[:2] == after[:2] and before[2] != after[2]


@pytest.mark.parametrize("whole", [True, False], ids=["one object", "a prefix"])
def test_a_manifest_may_lie_in_s3(path: Path, s3_address: str, whole: bool) -> None:
    write(path, {"id": ["a"], "text": ["x"], "image": [{"bytes": None, "path": "images/1.png"}]})
    store = open_store(s3_address)
    store.put("set/manifest.parquet", path.read_bytes())
    store.put("set/images/1.png", PNG)
    address = f"{s3_address}/set/manifest.parquet" if whole else f"{s3_address}/set"
    assert read(address) == [Item("a", "x", (PNG,), 0)]


def test_a_missing_s3_object_is_named(s3_address: str) -> None:
    with pytest.raises(UserMistake, match=r"s3://bucket-.*/some/prefix/m\.parquet does not exist"):
        read(f"{s3_address}/m.parquet")


def test_rows_that_cannot_be_read_are_flawed_and_spare_their_neighbours(path: Path) -> None:
    broken = pa.array([b"\xff\xfe", b"fine"], pa.binary()).view(pa.string())
    assert codes(read(write(path, {"id": ["a", "b"], "text": broken}))) == ["E_TEXT_UTF8", None]


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"id": None}, "E_ID_EMPTY"),
        ({"id": "  "}, "E_ID_EMPTY"),
        ({"id": "a\nb"}, "E_ID_INVALID"),
        ({"id": "x" * 513}, "E_ID_INVALID"),
        ({"text": None}, "E_ROW_EMPTY"),
        ({"text": " \n"}, "E_ROW_EMPTY"),
        ({"text": "x" * 11}, "E_TEXT_TOO_LONG"),
        ({"text": "x" * 1_000}, "E_TEXT_TOO_LONG"),
        ({"label": "Harmful"}, "E_LABEL"),
        ({"images": [None]}, "E_IMAGE_MISSING"),
        ({"images": [{"bytes": b"", "path": None}]}, "E_IMAGE_MISSING"),
        ({"images": [{"bytes": None, "path": "gone.png"}]}, "E_IMAGE_NOT_FOUND"),
        ({"images": [{"bytes": None, "path": "../gone.png"}]}, "E_PATH_OUTSIDE_ROOT"),
        ({"images": [{"bytes": None, "path": "/etc/passwd"}]}, "E_PATH_OUTSIDE_ROOT"),
        ({"images": [{"bytes": None, "path": "http://169.254.169.254/x.png"}]}, "E_URI_FORBIDDEN"),
        ({"images": [{"bytes": bytes(32 * 2**20 + 1), "path": None}]}, "E_IMAGE_BYTES"),
    ],
)
def test_a_flawed_row_says_what_is_wrong_and_has_no_content(path: Path, row: dict[str, Any], code: str) -> None:
    image = pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    schema = pa.schema({"id": pa.string(), "text": pa.string(), "label": pa.string(), "images": image})
    good = {"id": "good", "text": "hello", "label": "benign", "images": []}
    pq.write_table(pa.Table.from_pylist([{**good, "id": "first"}, good | row], schema), path)
    first, flawed = read(str(path), max_text_chars=10)
    assert first.flaw is None
    assert flawed.flaw is not None and flawed.flaw.code == code
    assert (flawed.text, flawed.images, flawed.row) == ("", (), 1)
    assert flawed.item_id == ("row-1" if "id" in row else "good")


def test_many_rows_may_lack_an_id(path: Path) -> None:
    assert codes(read(write(path, {"id": [" ", " ", None, None, "", ""], "text": ["x"] * 6}))) == ["E_ID_EMPTY"] * 6


def test_generated_ids_differ_between_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.parquet", {"id": pa.array([None], pa.string()), "text": ["x"]})
    manifest = open_manifest(str(tmp_path))
    ids = {item.item_id for name, *_ in manifest.files() for item in manifest.items(Part(PartId("p"), name, 0, 1))}
    assert ids == {"a.parquet:row-0", "b.parquet:row-0"}


def test_a_link_out_of_the_folder_is_not_followed(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.png"
    secret.write_bytes(b"secret")
    (path.parent / "link.png").symlink_to(secret)
    image = {"bytes": pa.scalar(None, pa.binary()), "path": "link.png"}
    assert codes(read(write(path, {"id": ["a"], "image": [image]}))) == ["E_PATH_OUTSIDE_ROOT"]


def test_links_that_lead_in_a_circle_are_a_missing_picture(path: Path) -> None:
    (path.parent / "one.png").symlink_to("two.png")
    (path.parent / "two.png").symlink_to("one.png")
    assert codes(read(write(path, {"id": ["a"], "image": ["one.png"]}))) == ["E_IMAGE_NOT_FOUND"]


@pytest.mark.parametrize("copies", [{"id": ["a", "b", "a"]}, {"id": [1, 2, 1]}], ids=["texts", "numbers"])
def test_an_id_given_twice_is_refused_with_both_rows(path: Path, copies: dict[str, Any]) -> None:
    with pytest.raises(UserMistake, match=r"given twice, in row 0 of manifest.parquet and in row 2 of manifest"):
        read(write(path, {**copies, "text": ["x", "y", "z"]}))


def test_an_id_given_twice_in_two_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": ["x"], "text": ["x"]})
    write(tmp_path / "b.parquet", {"id": ["y", "x"], "text": ["x", "y"]})
    with pytest.raises(UserMistake, match=r"id 'x' is given twice, in row 0 of a.parquet and in row 1 of b.parq"):
        open_manifest(str(tmp_path)).files()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["x"], "b": [1]}, "has no column id; it has text, b"),
        ({"id": ["a"], "b": [1]}, "needs a column text, image or images; it has id, b"),
        ({"id": [1.5], "text": ["x"]}, "column id must be a string or a whole number, it is double"),
        ({"id": ["a"], "text": [1]}, "column text must be a string, it is int64"),
        ({"id": ["a"], "image": [[b"x"]]}, "column image must be binary, a path or a struct"),
        ({"id": ["a"], "images": [b"x"]}, "column images must be a list of binary"),
        ({"id": ["a"], "image": [{"path": "x.png"}]}, "column image must be binary, a path or a struct"),
        ({"id": ["a"], "text": ["x"], "label": [1]}, "column label must be a string, it is int64"),
    ],
)
def test_a_table_that_cannot_be_a_manifest_is_refused(path: Path, columns: Any, message: str) -> None:
    with pytest.raises(UserMistake, match=message):
        read(write(path, columns))


def test_two_columns_of_one_name_are_refused(path: Path) -> None:
    table = pa.table([["a"], ["b"], ["x"]], names=["id", "id", "text"])
    pq.write_table(table, path)
    with pytest.raises(UserMistake, match="several columns named id"):
        read(str(path))


def test_a_column_named_on_purpose_must_exist(path: Path) -> None:
    address = write(path, {"id": ["a"], "text": ["x"]})
    with pytest.raises(UserMistake, match="has no column gt; it has id, text"):
        read(address, columns=ColumnMap(label="gt"))


@pytest.mark.parametrize(
    ("column", "each"),
    [
        ({"text": "hello"}, 1.0),
        ({"text": "x" * 12_288}, 3.0),
        ({"text": "", "image": bytes(192 * 1024)}, 3.0),
        ({"text": "", "image": {"bytes": bytes(192 * 1024), "path": None}}, 3.0),
        ({"text": "", "images": [bytes(96 * 1024)] * 2}, 3.0),
        ({"text": "", "image": bytes(2**20)}, 4.0),
        ({"text": "", "image": {"bytes": pa.scalar(None, pa.binary()), "path": "1.png"}}, 1.0),
    ],
)
def test_rows_cost_by_the_sizes_of_their_texts_and_pictures(path: Path, column: dict[str, Any], each: float) -> None:
    columns = {"id": list(range(20)), **{name: [value] * 20 for name, value in column.items()}}
    manifest = open_manifest(write(path, columns, row_group_size=8, use_dictionary=False))
    stretches = list(manifest.stretches(path.name))
    assert [stretch.rows for stretch in stretches] == [8, 8, 4]
    assert [stretch.cost / stretch.rows for stretch in stretches] == pytest.approx([each] * 3, rel=0.01)


def test_a_misspelt_name_of_ours_in_the_column_map_is_refused() -> None:
    with pytest.raises(UserMistake, match="lable is not one of id, text"):
        ColumnMap.of({"lable": "gt"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "looks like an empty file"),
        (b"id,text\na,hello\n", "looks like plain text such as CSV"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML or HTML page"),
        (b"\x1f\x8b\x08\x00", "gzip archive"),
        (b"PARE" + bytes(40) + b"PARE", "encrypted Parquet"),
        (b"\x00\x01\x02", "unknown binary data"),
        (b"PAR1" + bytes(40), "is truncated or damaged"),
        (b"PAR1" + bytes(40) + b"\xff\xff\x00\x00PAR1", "is truncated or damaged"),
    ],
)
def test_a_file_that_is_no_parquet_says_what_it_looks_like(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UserMistake, match=rf"manifest\.parquet .*{message}"):
        read(str(path))


@pytest.mark.parametrize("cut", [8, 200, 2_000])
def test_a_truncated_file_is_refused(path: Path, cut: int) -> None:
    write(path, {"id": list(range(1_000)), "text": ["x"] * 1_000})
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(UserMistake, match="truncated or damaged"):
        read(str(path))


def test_a_flipped_bit_in_the_data_is_refused_and_not_read_as_other_text(path: Path) -> None:
    texts = [f"sentence number {row}" for row in range(500)]
    write(path, {"id": list(range(500)), "text": texts}, write_page_checksum=True, compression="none")
    data = bytearray(path.read_bytes())
    data[data.index(b"sentence number 77")] ^= 4
    path.write_bytes(data)
    with pytest.raises(UserMistake, match=r"truncated or damaged .*get a new copy"):
        read(str(path))


@pytest.mark.parametrize("nested", [False, True])
def test_an_extension_type_is_refused_even_in_a_column_that_is_not_read(path: Path, nested: bool) -> None:
    tag = {"ARROW:extension:name": "ray.data.arrow_pickled_object", "ARROW:extension:metadata": ""}
    inner = pa.field("x", pa.binary(), metadata=tag)
    odd = pa.field("odd", pa.struct([inner])) if nested else inner.with_name("odd")
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), odd])
    pq.write_table(pa.table([["a"], ["x"], pa.array([None], odd.type)], schema=schema), path)
    with pytest.raises(UserMistake, match="column odd has an Arrow extension type"):
        read(str(path))


def test_nothing_is_read_in_a_process_that_knows_ray_data(path: Path) -> None:
    program = """
import sys; sys.modules["ray.data"] = sys
from infra.open_manifest import open_manifest
open_manifest(sys.argv[1]).files()
"""
    address = write(path, {"id": ["a"], "text": ["x"]})
    done = subprocess.run([sys.executable, "-c", program, address], capture_output=True, text=True)
    assert "StopWorker: manifests must be read in a process that has not imported ray.data" in done.stderr


def test_a_part_that_the_file_no_longer_holds_is_refused(path: Path) -> None:
    address = write(path, {"id": ["a"], "text": ["x"]})
    with pytest.raises(UserMistake, match="has 1 rows, the run was planned with 9 or more"):
        read(address, 0, 9)


@pytest.mark.parametrize("make_folder", [False, True])
def test_a_path_with_nothing_to_read_is_named(tmp_path: Path, make_folder: bool) -> None:
    address = tmp_path / "gone"
    if make_folder:
        address.mkdir()
    with pytest.raises(UserMistake, match=r"gone (cannot be read|holds no \.parquet)"):
        read(str(address))


def test_a_folder_with_both_kinds_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": ["a"], "text": ["x"]})
    (tmp_path / "b.jsonl").write_text('{"id": "b", "text": "x"}')
    with pytest.raises(UserMistake, match="holds both"):
        read(str(tmp_path))


def test_a_file_without_a_suffix_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    assert read(write(tmp_path / "noname", {"id": ["a"], "text": ["x"]})) == [Item("a", "x")]
    (tmp_path / "table.csv").write_text("id,text\n")
    with pytest.raises(UserMistake, match=r"table\.csv looks like plain text such as CSV"):
        read(str(tmp_path / "table.csv"))
