"""Whatever becomes of a manifest's bytes: every row is an item, a flaw or a refusal, never a traceback."""

import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autosteer_core.errors import AutosteerError, UserMistake
from autosteer_core.values import Item
from infra.open_manifest import open_manifest
from pipelines.reading import open_items
from tests.pictures import png
from tests.security.manifest_cases import whole
from tests.security.scale import SEED, scaled

pytestmark = pytest.mark.security

FILES = 4_000
ROWS = 6
DIED = "E_READER_DIED"


def seeds(folder: Path) -> dict[str, bytes]:
    """Good manifests of several makes, by the suffix that each has."""
    table = pa.table(
        {
            "id": [f"item-{row}" for row in range(ROWS)],
            "text": [f"question {row}" for row in range(ROWS)],
            "image": [png(size=(4 + row, 5)) if row % 2 else None for row in range(ROWS)],
            "label": ["harmful", "benign"] * (ROWS // 2),
        }
    )
    made: dict[str, bytes] = {}
    for name, how in {
        "plain": {"compression": "none", "use_dictionary": False},
        "zstd": {"compression": "zstd", "row_group_size": 2},
        "snappy": {"compression": "snappy", "data_page_version": "2.0"},
    }.items():
        pq.write_table(table, folder / "seed", write_page_checksum=True, **how)
        made[f"{name}.parquet"] = (folder / "seed").read_bytes()
    lines = [json.dumps({"id": f"item-{row}", "text": f"q {row}", "label": "benign"}) for row in range(ROWS)]
    made["plain.jsonl"] = "\n".join(lines).encode()
    content = [
        {"type": "text", "text": "hello"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]
    asked = {
        "body": {"messages": [{"role": "user", "content": content}]},
        "method": "POST",
        "url": "/v1/chat/completions",
    }
    made["openai.jsonl"] = "\n".join(json.dumps({"custom_id": f"c{row}", **asked}) for row in range(ROWS)).encode()
    made["refs.manifest"] = b'{"source-ref": "a.png"}\n{"source-ref": "../b.png", "prompt": "x"}\n'
    return made


def test_changed_manifests_are_read_whole_or_told_of(tmp_path: Path, report: Callable[[str, object], None]) -> None:
    luck, ended, slowest, deadly = Random(SEED), Counter[str](), 0.0, list[bytes]()
    known = seeds(tmp_path)
    with closing(Apart()) as apart:
        for _ in range(scaled(FILES)):
            name = luck.choice(sorted(known))
            file = tmp_path / f"m.{name.rpartition('.')[2]}"
            file.write_bytes(mutated(known[name], luck))
            began = time.monotonic()
            found = apart.outcome(file)
            slowest = max(slowest, time.monotonic() - began)
            ended[found] += 1
            if found == DIED:
                deadly.append(file.read_bytes())
    report("changed manifests", f"{sum(ended.values())}, slowest {slowest:.2f} s, {dict(ended.most_common())}")
    assert slowest < 5
    for data in deadly[:20]:
        (tmp_path / "m.parquet").write_bytes(data)
        refused = open_items(str(tmp_path / "m.parquet"))
        with pytest.raises(UserMistake) as told:
            whole(refused)
        assert told.value.code == DIED


class Apart:
    """A process that reads one file after the other, as a reader's does; started anew when a file has killed it."""

    def __init__(self) -> None:
        self._pool = self._started()

    def outcome(self, file: Path) -> str:
        try:
            return self._pool.submit(outcome, file).result()
        except BrokenProcessPool:
            self._pool = self._started()
            return DIED

    def close(self) -> None:
        self._pool.shutdown()

    def _started(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(1, get_context("spawn"))
        pool.submit(len, "").result()
        return pool


def outcome(file: Path) -> str:
    """Refused with which code, or read; of what is read every row is there, with content or with a flaw."""
    manifest = open_manifest(str(file))
    try:
        items = whole(manifest)
    except AutosteerError as refusal:
        assert refusal.code.startswith("E_") and "\n" not in str(refusal), refusal
        return refusal.code
    assert [item.row for item in items] == list(range(sum(rows for _, rows, _ in manifest.files())))
    assert all(_sound(item) for item in items)
    return "read, with flaws" if any(item.flaw for item in items) else "read"


def _sound(item: Item) -> bool:
    if item.flaw is not None:
        return not item.text and not item.images and item.flaw.code.startswith("E_")
    return bool(item.item_id) and bool(item.text.strip() or item.images)


def mutated(data: bytes, luck: Random) -> bytes:
    """Bits flipped, pieces cut, doubled, moved or put in; or nothing at all."""
    made = bytearray(data)
    for _ in range(luck.choice([0, 1, 1, 1, 2, 3, 8])):
        at, long = luck.randrange(len(made) + 1), luck.choice([1, 2, 4, 30, 300])
        match luck.randrange(5):
            case 0 if at < len(made):
                made[at] ^= 1 << luck.randrange(8)
            case 1:
                del made[at : at + long]
            case 2:
                made[at:at] = made[max(at - long, 0) : at]
            case 3:
                made[at:at] = luck.choice(
                    [b"\x00", b"\xff\xfe", b"\n", b'"', b"{", b"[", b"PAR1", luck.randbytes(long)]
                )
            case _:
                made[at : at + long] = luck.randbytes(min(long, len(made) - at))
    return bytes(made)
