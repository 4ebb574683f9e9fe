"""Pictures come from where the manifest lies, or from the declared places, by exactly the name that a row has."""

import json
from pathlib import Path

import boto3
import pytest

from autosteer_core.errors import BadItem, UserMistake
from autosteer_core.ports import BlobStore
from autosteer_core.values import Item, Part, PartId
from infra.column_map import ColumnMap
from infra.open_manifest import open_manifest
from infra.open_store import open_store
from infra.picture_places import PicturePlaces, Pictures
from pipelines.job import Job
from pipelines.reading import open_items
from pipelines.settings import load_settings

ODD = [
    "a+b.png", "a b.png", "100%.png", "a%20b.png", "a%2Bb.png", "what?.png", "what?x=1.png", "#1.png", "a#b.png",
    "\u00e9.png", "e\u0301.png", "日本語/1.png", "=&;,$!'()*[]{}.png", "~/1.png", "@.png", "1.PNG", "1.png",
]  # fmt: skip


def items(address: str, names: list[str], places: PicturePlaces = PicturePlaces()) -> list[Item]:  # noqa: B008
    """The items of a manifest of `source-ref` lines that is put at the address."""
    lines = "".join(json.dumps({"source-ref": name}) + "\n" for name in names)
    open_store(address).put("m.jsonl", lines.encode())
    part = Part(PartId("p"), "m.jsonl", 0, len(names))
    return list(open_manifest(f"{address}/m.jsonl", places=places).items(part))


def codes(found: list[Item]) -> list[str | None]:
    return [item.flaw.code if item.flaw else None for item in found]


@pytest.fixture(params=["folder", "bucket"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "set") if request.param == "folder" else request.getfixturevalue("s3_address")


def test_an_odd_name_is_the_name_of_one_picture_and_of_no_other(address: str) -> None:
    store = open_store(address)
    for name in ODD:
        store.put(name, name.encode())
    assert [item.images for item in items(address, ODD)] == [(name.encode(),) for name in ODD]
    whole = [f"{address}/{name}" for name in ODD]
    assert [item.images for item in items(address, whole)] == [(name.encode(),) for name in ODD]


def test_a_name_is_not_taken_for_another_one_that_is_there(address: str) -> None:
    """Each of these leads to a picture once something is decoded, cut off or normalised."""
    store = open_store(address)
    for name in ("a b.png", "what", "e\u0301.png", "1.png"):
        store.put(name, b"x")
    careless = ["a%20b.png", "a+b.png", "what?", "what#x", "\u00e9.png", "1.png%00", "1.PNG"]
    assert codes(items(address, careless)) == ["E_IMAGE_NOT_FOUND"] * len(careless)


def test_a_name_with_a_colon_is_no_scheme_after_a_dot_and_a_slash(address: str) -> None:
    open_store(address).put("a:b.png", b"x")
    assert codes(items(address, ["a:b.png", "./a:b.png"])) == ["E_URI_SCHEME", None]


def test_declared_roots_take_the_place_of_the_manifests_own(tmp_path: Path) -> None:
    for folder in ("set", "one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.png").write_bytes(folder.encode())
        (tmp_path / folder / "same.png").write_bytes(folder.encode())
    names = ["one.png", "two.png", "same.png", "set.png", f"{tmp_path}/two/two.png", f"{tmp_path}/set/set.png"]
    roots = PicturePlaces((str(tmp_path / "one"), str(tmp_path / "two")))
    found = items(str(tmp_path / "set"), names, roots)
    assert [item.images for item in found] == [(b"one",), (b"two",), (b"one",), (), (b"two",), ()]
    assert codes(found) == [None, None, None, "E_IMAGE_NOT_FOUND", None, "E_PATH_OUTSIDE_ROOT"]


def test_a_path_of_this_machine_is_read_below_the_manifest_only(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1.png").write_bytes(b"x")
    (tmp_path / "1.png").write_bytes(b"secret")
    found = items(str(tmp_path / "set"), [f"{tmp_path}/set/1.png", f"{tmp_path}/1.png", f"{tmp_path}/gone.png"])
    assert codes(found) == [None, "E_PATH_OUTSIDE_ROOT", "E_PATH_OUTSIDE_ROOT"]


def test_a_link_may_lead_from_one_root_to_another_and_nowhere_else(tmp_path: Path) -> None:
    for folder in ("set", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.png").write_bytes(b"x")
    (tmp_path / "set" / "link.png").symlink_to(tmp_path / "other" / "other.png")
    both = PicturePlaces((str(tmp_path / "set"), str(tmp_path / "other")))
    assert codes(items(str(tmp_path / "set"), ["link.png"], both)) == [None]
    assert codes(items(str(tmp_path / "set"), ["link.png"])) == ["E_PATH_OUTSIDE_ROOT"]


def test_another_bucket_is_read_once_it_is_declared(tmp_path: Path, s3_address: str) -> None:
    open_store(s3_address).put("1.png", b"x")
    outside = s3_address.removesuffix("/prefix")
    open_store(outside).put("2.png", b"secret")
    named = [f"{s3_address}/1.png", "1.png", f"{s3_address}/gone.png", f"{outside}/2.png", "s3://other-bucket/1.png"]
    home = str(tmp_path)
    assert codes(items(home, named[:1])) == ["E_BUCKET_NOT_ALLOWED"]
    found = items(home, named, PicturePlaces((s3_address,)))
    assert codes(found) == [None, None, "E_IMAGE_NOT_FOUND", "E_PATH_OUTSIDE_ROOT", "E_BUCKET_NOT_ALLOWED"]


def test_a_root_with_the_same_beginning_is_another_one(s3_address: str) -> None:
    open_store(f"{s3_address}-2").put("1.png", b"secret")
    assert codes(items(s3_address, [f"{s3_address}-2/1.png"])) == ["E_PATH_OUTSIDE_ROOT"]


@pytest.mark.parametrize(
    ("root", "code"),
    [("gs://bucket", "E_URI_SCHEME"), ("s3://ab", "E_URI"), ("s3://u:p@bucket/x", "E_URI"), ("gone", "E_REQUEST")],
)
def test_a_wrong_root_ends_the_command_before_anything_is_read(tmp_path: Path, root: str, code: str) -> None:
    (tmp_path / "m.jsonl").write_text('{"id": "a", "text": "x"}\n')
    with pytest.raises(UserMistake) as refusal:
        open_manifest(str(tmp_path), places=PicturePlaces((root,)))
    assert refusal.value.code == code


def test_a_wrong_host_does_too(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"id": "a", "text": "x"}\n')
    with pytest.raises(UserMistake, match="fetch_hosts is no host"):
        open_manifest(str(tmp_path), places=PicturePlaces(hosts=("https://example.com/pictures",)))


def test_no_more_is_read_of_a_large_picture_than_shows_that_it_is(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.picture_places._ENOUGH", 11)
    store: BlobStore = open_store(address)
    store.put("large.png", bytes(2**20))
    pictures = Pictures([Path(address)], []) if "s3:" not in address else Pictures([], [store])
    assert pictures.read("large.png") == bytes(11)


def test_the_answer_does_not_tell_whether_a_file_outside_exists(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "out").symlink_to(tmp_path)
    (tmp_path / "there").write_bytes(b"x")
    pictures, said = Pictures([tmp_path / "set"], []), []
    for name in (f"{tmp_path}/there", f"{tmp_path}/gone", "out/there", "out/gone"):
        with pytest.raises(BadItem, match="E_PATH_OUTSIDE_ROOT") as refusal:
            pictures.read(name)
        said.append(str(refusal.value).replace(name, "NAME"))
    assert len(set(said)) == 1


def test_the_settings_reach_the_reader_and_belong_to_the_run(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(b"x")
    (tmp_path / "m.jsonl").write_text('{"source-ref": "1.png"}\n{"source-ref": "https://host.example/1.png"}\n')
    manifest, part = str(tmp_path / "m.jsonl"), Part(PartId("p"), "m.jsonl", 0, 2)
    plain = load_settings()
    declared = load_settings(picture_roots=str(tmp_path / "elsewhere"), fetch_hosts='["other.example"]')
    assert codes(list(open_items(manifest, None, plain).items(part))) == ["E_IMAGE_NOT_FOUND", "E_URI_FORBIDDEN"]
    found = list(open_items(manifest, None, declared).items(part))
    assert codes(found) == [None, "E_URI_FORBIDDEN"]
    assert found[1].flaw is not None and "not in the setting fetch_hosts" in found[1].flaw.message
    jobs = [Job("audit", manifest, "out", each, ColumnMap(), False, {}, 1) for each in (plain, declared)]
    assert [sorted({"picture_roots", "fetch_hosts"} & job.answer_settings.keys()) for job in jobs] == [
        [],
        ["fetch_hosts", "picture_roots"],
    ]


def test_reading_needs_the_right_to_get_and_to_list_and_no_other(
    s3_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rights of a role that only reads: nothing else is ever asked for."""
    store = open_store(s3_address)
    for place in ("set/1.png", "pictures/2.png"):
        store.put(place, b"x")
    asked: set[str] = set()
    session = boto3.Session()
    session.events.register("before-call.s3", lambda event_name, **_: asked.add(event_name.rpartition(".")[2]))
    lines = [{"source-ref": name} for name in ("1.png", f"{s3_address}/pictures/2.png", "gone.png")]
    store.put("set/m.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())

    monkeypatch.setattr("boto3.DEFAULT_SESSION", session)
    manifest = open_manifest(f"{s3_address}/set", places=PicturePlaces((f"{s3_address}/set", s3_address)))
    manifest.files()
    found = list(manifest.items(Part(PartId("p"), "m.jsonl", 0, 3)))

    assert codes(found) == [None, None, "E_IMAGE_NOT_FOUND"]
    assert asked == {"GetObject", "ListObjectsV2"}
