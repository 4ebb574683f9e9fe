"""An output that the next reading of the manifest would find is refused; one beside it is not."""

from pathlib import Path

import pytest

from autosteer_core.errors import UserMistake
from infra.open_manifest import open_manifest, refuse_output_inside
from infra.open_store import open_store


@pytest.mark.parametrize(
    ("manifest", "out"),
    [
        ("set", "set/out"),
        ("set", "set"),
        ("set", "link/out"),
        ("link", "set/deep/out"),
        ("set/**/*.parquet", "set/out"),
        ("set/*/*/*.parquet", "set/out"),
        ("s3://bucket/set", "s3://bucket/set/out"),
        ("s3://bucket/set/**/*.parquet", "s3://bucket/set/out"),
    ],
)
def test_an_output_that_would_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: str, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    (tmp_path / "link").symlink_to("set")
    with pytest.raises(UserMistake, match="lies inside the manifest") as refusal:
        refuse_output_inside(manifest, out)
    assert refusal.value.code == "E_OUTPUT_EXISTS"


@pytest.mark.parametrize(
    ("manifest", "out"),
    [
        ("set", "out"),
        ("set", "set-2/out"),
        ("set", "set/_out"),
        ("set", "set/.out/1"),
        ("set/m.jsonl", "set/out"),
        ("set/*.jsonl", "set/out"),
        ("set", "s3://bucket/set"),
        ("s3://bucket/set", "s3://bucket/set-2"),
        ("s3://bucket/set/m.parquet", "s3://bucket/set/out"),
    ],
)
def test_an_output_that_would_not_be_read_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: str, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "m.jsonl").write_text('{"id": "a", "text": "x"}\n')
    refuse_output_inside(manifest, out)
    if not out.startswith("s3:") and not manifest.startswith("s3:"):  # and it really is not read
        before = list(open_manifest(manifest).files())
        open_store(out).put("parts/0.parquet", b"no table")
        assert list(open_manifest(manifest).files()) == before
