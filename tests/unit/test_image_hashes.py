"""Rows that state the SHA-256 of their pictures: others in their place are found."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autosteer_core.errors import BadItem
from autosteer_core.values import Item, Part, PartId
from infra.image_hashes import require_hashes
from infra.open_manifest import open_manifest

A, B = b"one picture", b"another"
HASH_A, HASH_B = (sha256(data).hexdigest() for data in (A, B))


def test_pictures_with_their_own_hashes_pass_in_whatever_letters() -> None:
    require_hashes([A, B], f" {HASH_A.upper()}\n{HASH_B}")


@pytest.mark.parametrize(
    "stated", [HASH_B, f"{HASH_A} {HASH_A}", HASH_A[:-1], f"{HASH_A[:-1]}g", "", "md5"], ids=lambda stated: stated[:8]
)
def test_anything_else_that_is_stated_of_one_picture_is_an_error_of_its_row(stated: str) -> None:
    with pytest.raises(BadItem) as caught:
        require_hashes([A], stated)
    assert (caught.value.flaw.code, caught.value.flaw.column) == ("E_IMAGE_SHA256", "image_sha256")


def test_two_pictures_in_the_wrong_order_are_not_those_that_were_stated() -> None:
    with pytest.raises(BadItem, match="image 1 has the SHA-256"):
        require_hashes([B, A], f"{HASH_A} {HASH_B}")


def test_a_row_that_states_nothing_is_read_as_it_is() -> None:
    require_hashes([A], None)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_manifests_of_every_kind_are_checked_row_by_row(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"m.{kind}"
    if kind == "parquet":
        columns = {"id": ["good", "bad", "silent"], "image": [A] * 3, "image_sha256": [HASH_A, HASH_B, None]}
        pq.write_table(pa.table(columns), file)
    else:
        image = b64encode(A).decode()
        rows = [("good", f'"{HASH_A}"'), ("bad", f'"{HASH_B}"'), ("silent", "null")]
        file.write_text("\n".join(f'{{"id": "{i}", "image": "{image}", "image_sha256": {said}}}' for i, said in rows))
    assert [item.flaw and item.flaw.code for item in whole(file)] == [None, "E_IMAGE_SHA256", None]


def whole(file: Path) -> list[Item]:
    manifest = open_manifest(str(file))
    [(name, rows, _)] = manifest.files()
    return list(manifest.items(Part(PartId("p"), name, 0, rows)))
