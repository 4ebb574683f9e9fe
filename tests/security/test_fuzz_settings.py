"""Whatever stands in settings and their files: a Settings or one sentence, never a traceback, never a secret."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from autosteer_core.errors import UserMistake
from pipelines.settings import Settings, load_settings
from tests.security.scale import SEED, scaled

pytestmark = pytest.mark.security

CASES = 2_000
NAMES = [*Settings.model_fields, "", "__class__", "model_config", "workers ", "ключ", "a" * 300]
VALUES = [
    0, -1, 1, 3, 10**400, 1e308, float("nan"), float("inf"), "", "x", "demo", "none", "true", True, False, None,
    [], {}, ["a"], [["a"]], {"a": 1}, "[", "[1]", "\x00", "\x1b[2J", "${HOME}", "../..", "x" * 10_000, "\ud800",
]  # fmt: skip
SECRET = "hunter2-canary"
PIECES = [b"\x00", b"\xff", b"[", b"{", b"'", b"&a ", b"*a ", b"!!python/name:os ", b"\n"]
SEEDS = [
    b"workers = 2\nmodel = 'demo'\nalpha = 0.1\nstop = ['a', 'b']\n",
    b"workers: 2\nmodel: demo\nstop:\n  - a\n  - b\n",
    b'[table]\nworkers = 2\n[[rows]]\na = 1979-05-27T07:32:00Z\n',
    b"a: &x {b: 1}\nc: *x\n",
    b"%YAML 1.2\n---\nworkers: !!int '3'\n...\n---\nb: 1\n",
]  # fmt: skip


def test_settings_from_flags_are_settings_or_one_sentence(report: Callable[[str, object], None]) -> None:
    luck, ended = Random(SEED), {"settings": 0, "sentences": 0}
    for _ in range(scaled(CASES)):
        given = {luck.choice(NAMES): luck.choice(VALUES) for _ in range(luck.randint(1, 3))}
        ended[outcome(lambda given=given: load_settings(**given))] += 1
    report("settings fuzzed as flags", json.dumps(ended))
    assert all(ended.values())


def test_settings_files_with_anything_in_them_are_settings_or_one_sentence(
    tmp_path: Path, report: Callable[[str, object], None]
) -> None:
    luck, ended = Random(SEED), {"settings": 0, "sentences": 0}
    for _ in range(scaled(CASES)):
        file = tmp_path / luck.choice(["s.toml", "s.yaml"])
        file.write_bytes(mutated(luck.choice(SEEDS), luck))
        ended[outcome(lambda file=file: load_settings(file))] += 1
    report("settings files fuzzed", json.dumps(ended))
    assert all(ended.values())


@pytest.mark.parametrize("queue", [f"postgresql://me:{SECRET}@host/db", f"mysql://me:{SECRET}@host", f"[{SECRET}"])
def test_a_password_in_an_address_is_never_told(queue: str, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(f"queue = {json.dumps(queue)}\nwokers = 1\n")
    file.chmod(0o644)
    for attempt in (
        lambda: load_settings(file),
        lambda: load_settings(queue=[queue]),
        lambda: load_settings(queue={queue: 1}),
    ):
        with pytest.raises(UserMistake) as refused:
            attempt()
        assert SECRET not in str(refused.value)
    assert SECRET not in repr(load_settings(queue=queue))


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except UserMistake as mistake:
        assert mistake.code in {"E_SETTING", "E_SECRET", "E_CONFIG_LEASE"} and "\n" not in str(mistake)
        return "sentences"
    return "settings"


def mutated(data: bytes, luck: Random) -> bytes:
    """The seed with some bytes changed, cut, doubled or put in."""
    made = bytearray(data)
    for _ in range(luck.randint(0, 4)):
        at = luck.randrange(len(made) + 1)
        match luck.randrange(4):
            case 0:
                made[at:at] = luck.choice(PIECES)
            case 1:
                del made[at : at + luck.randint(1, 5)]
            case 2:
                made[at:at] = made[:at][-luck.randint(1, 20) :]
            case _ if at < len(made):
                made[at] ^= 1 << luck.randrange(8)
    return bytes(made)
