"""A manifest of one row that names a picture, and what is said of it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

from autosteer_core.errors import AutosteerError
from autosteer_core.values import Part, PartId
from infra.open_manifest import open_manifest
from infra.picture_places import PicturePlaces
from tests.security.case import Level, Outcome

SECRET = b"\x89 the secret beside the folder"
PICTURE = b"\x89 a picture of the folder"


def folder_with_a_secret(place: Path) -> Path:
    """`set` is the manifest's folder: a picture, links that lead elsewhere, a pipe; the secret lies beside it."""
    inside = place / "set"
    (inside / "pictures").mkdir(parents=True)
    (place / "secret.png").write_bytes(SECRET)
    (inside / "pictures" / "1.png").write_bytes(PICTURE)
    (inside / "link.png").symlink_to(place / "secret.png")
    (inside / "up").symlink_to(place)
    (inside / "zero.png").symlink_to("/dev/zero")
    (inside / "round.png").symlink_to(inside / "round.png")
    (inside / "nowhere.png").symlink_to(inside / "gone.png")
    os.mkfifo(inside / "pipe.png")
    return inside


def naming(named: str, **places: tuple[str, ...]) -> tuple[Callable[[Path, Random], Path], Callable[[Path], Outcome]]:
    """(make, feed) of a row that names a picture; `{place}` in it is the folder of the secret."""

    def make(place: Path, random: Random) -> Path:
        inside = folder_with_a_secret(place)
        (inside / "m.jsonl").write_text(_line(named.replace("{place}", str(place))))
        return inside / "m.jsonl"

    return make, lambda manifest: read_row(str(manifest), PicturePlaces(**places))


def read_row(address: str, places: PicturePlaces | None = None, expected: bytes = PICTURE) -> Outcome:
    """What is said of the first row; a picture that is read must be the expected one."""
    try:
        manifest = open_manifest(address, places=places or PicturePlaces())
        name, rows, _ = manifest.files()[0]
        item = next(iter(manifest.items(Part(PartId("p"), name, 0, rows))))
    except AutosteerError as error:
        return Outcome(Level.RUN, error.code, str(error))
    if item.flaw is None:
        assert item.images == (expected,)
        return Outcome(Level.FINE)
    assert "secret" not in item.flaw.message.replace("secret.png", "")
    return Outcome(Level.ROW, item.flaw.code, f"{item.flaw.code}: {item.flaw.message}", item.flaw.column or "")


def _line(named: str) -> str:
    return json.dumps({"source-ref": named}) + "\n"
