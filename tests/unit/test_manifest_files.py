"""Images beside a manifest: a bad row is told apart from a store that is out of reach."""

import os
from pathlib import Path

import pytest

from autosteer_core.errors import BadItem, TryAgain, UserMistake
from infra.manifest_files import LocalFiles, StoredFiles
from infra.memory_store import MemoryStore


class OutOfReach(MemoryStore):
    """A store that fails with the given error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def get(self, key: str) -> bytes:
        raise self._error


@pytest.mark.parametrize("error", [UserMistake("access refused"), TryAgain("not answering")])
def test_a_store_out_of_reach_is_not_the_fault_of_a_row(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        StoredFiles(OutOfReach(error), ["m.parquet"]).image("images/1.png")


def test_an_image_that_is_missing_is() -> None:
    with pytest.raises(BadItem, match="E_IMAGE_NOT_FOUND"):
        StoredFiles(MemoryStore(), ["m.parquet"]).image("images/1.png")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_manifest_that_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.jsonl"
    {"pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"), "folder": Path.mkdir}[kind](path)
    with pytest.raises(UserMistake, match="m.jsonl cannot be read .*it is (not a file|a folder)") as refusal:
        LocalFiles(tmp_path, ["m.jsonl"]).open("m.jsonl")
    assert refusal.value.code == "E_PATH"


def test_a_file_is_fetched_once_for_all_its_parts() -> None:
    store = MemoryStore()
    store.put("m.parquet", b"rows")
    files = StoredFiles(store, ["m.parquet"])
    files.open("m.parquet").close()
    store.delete("m.parquet")
    assert files.open("m.parquet").read() == b"rows"
