"""What items and secrets say is found in no log, no report, no record and on no terminal."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.workspace import Workspace, make_workspace

pytestmark = [pytest.mark.security, pytest.mark.ray, pytest.mark.timeout(600)]

CANARIES = {
    "text": "canary-text-7f3a", "mail": "canary.person@example.org", "bearer": "Bearer canary-token-91c2",
    "comment in a picture": "canary-exif-5b1d", "query of an address": "canary-signature-8e20",
    "label": "canary-label-2d9b", "line that is no JSON": "canary-line-6a5e",
    "key of the store": "canary-secret-key-3f77", "password of a queue": "canary-password-c1d8",
    "token of a hub": "canary-hub-token-44aa",
}  # fmt: skip


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = make_workspace(tmp_path_factory.mktemp("canaries"), 4)
    picture = made.root / "picture.jpg"
    exif = Image.Exif()
    exif[0x9286] = exif[0x010E] = CANARIES["comment in a picture"]
    Image.new("RGB", (30, 20), "red").save(picture, exif=exif, comment=CANARIES["comment in a picture"].encode())
    address = f"https://bucket.example.org/a.png?X-Amz-Signature={CANARIES['query of an address']}"
    rows = [
        {"id": "a", "text": f"{CANARIES['text']} {CANARIES['mail']} {CANARIES['bearer']}"},
        {"id": "b", "text": CANARIES["text"], "image": picture.name},
        {"id": "c", "text": CANARIES["text"], "image": f"missing/{picture.name}"},
        {"id": "d", "text": CANARIES["text"], "image": address},
        {"id": "e", "text": CANARIES["text"], "label": CANARIES["label"]},
        {"id": "f", "text": CANARIES["text"] * 2_000},
    ]
    lines = [*map(json.dumps, rows), '{"id": "g", "text": "' + CANARIES["line that is no JSON"]]
    (made.root / "canaries.jsonl").write_text("\n".join(lines))
    return made


@pytest.fixture(scope="module")
def said(workspace: Workspace) -> Iterator[dict[str, bytes]]:
    """Everything that was written anywhere, by where, after an audit, a generation and commands that fail."""
    ray = Path("/tmp") / f"canary-ray-{os.getpid()}"  # a socket's path must be short
    environment = {
        "RAY_TMPDIR": str(ray), "XDG_STATE_HOME": str(workspace.root / "state"),
        "AWS_SECRET_ACCESS_KEY": CANARIES["key of the store"], "HF_TOKEN": CANARIES["token of a hub"],
    }  # fmt: skip
    queue = f"mysql://me:{CANARIES['password of a queue']}@host/db"
    settings = ["--set", "workers=1", "--set", "error_budget=1"]
    model = ["--bundle", "bundle", "--model", "model"]
    commands = {
        "audit": workspace.command("audit", "canaries.jsonl", "--out", "audited", *model, *settings),
        "generate": workspace.generate("answered", "canaries.jsonl", *settings),
        "calibrate": workspace.command("calibrate", "canaries.jsonl", "--out", "new", "--model", "model"),
        "wrong queue": workspace.generate("nowhere", "canaries.jsonl", "--set", f"queue={queue}"),
        "wrong address": workspace.generate("nowhere", f"s3://b/x?sig={CANARIES['query of an address']}"),
    }  # fmt: skip
    ray.mkdir(exist_ok=True)
    found: dict[str, bytes] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        for name, command in commands.items():
            finished = workspace.run(command)
            assert "Traceback" not in finished.stderr
            found[f"{name}, printed"] = (finished.stdout + finished.stderr).encode()
    for folder in (workspace.root / "audited", workspace.root / "answered", workspace.root / "state", ray):
        found |= dict(written(folder))
    yield found
    shutil.rmtree(ray, ignore_errors=True)


def written(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file; of rows, all columns but those that hold an item's words by purpose."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.is_socket():
            if file.suffix == ".parquet" and file.parent.name == "parts":
                table = pq.read_table(file).drop_columns(["answer"])
                yield str(file), repr(table.to_pylist()).encode()
            else:
                yield str(file), file.read_bytes()


@pytest.mark.parametrize("name", CANARIES)
def test_nothing_repeats(name: str, said: dict[str, bytes], report: Callable[[str, object], None]) -> None:
    sinks = [where for where, data in said.items() if CANARIES[name].encode() in data]

    assert not sinks
    report("canaries", f"{len(CANARIES)} in {len(said)} files and prints, 0 found")


def test_the_rows_were_read_and_their_errors_told(said: dict[str, bytes]) -> None:
    """The control: what was planted came through the whole of it."""
    rows = b"".join(data for where, data in said.items() if "/parts/" in where)

    for code in (b"E_IMAGE_NOT_FOUND", b"E_URI_FORBIDDEN", b"E_LABEL", b"E_TEXT_TOO_LONG", b"E_JSON"):
        assert code in rows
    assert any("raylet" in where or "worker" in where for where in said)
