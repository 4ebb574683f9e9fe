"""Settings, files of them, and starts that must be refused: kinds 78 to 87."""

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from autosteer_core.run import Run, take_over
from infra.folder_store import FolderStore
from infra.queue_disk import filesystem_of, require_local_disk
from infra.sqlite_version import refuse_unsafe_sqlite
from pipelines.disk_space import require_space
from pipelines.settings import load_settings
from pipelines.versions import FLOORS, require_versions
from tests.security.case import Case, Level, Make, Outcome, refused
from workers.ray_access import require_token

_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def file_of(name: str, text: str, mode: int = 0o600) -> Make:
    """A settings file."""

    def make(folder: Path, luck: Random) -> Path:
        file = folder / name
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        file.chmod(mode)
        return file

    return make


def given(**values: Any) -> Make:
    """Settings as flags give them."""
    return lambda folder, luck: values


def from_file(file: Path) -> Outcome:
    return refused(lambda: load_settings(file), Level.START)


def from_flags(values: dict[str, Any]) -> Outcome:
    return refused(lambda: load_settings(**values), Level.START)


def attempt(act: Callable[[], object]) -> Outcome:
    return refused(act, Level.START)


def _with_ray(**variables: str | None) -> Make:
    """Starting Ray in an environment that has, or lacks, these variables."""

    def make(folder: Path, luck: Random) -> Callable[[], object]:
        def start() -> None:
            before = dict(os.environ)
            named = {name: value for name, value in variables.items() if value is not None}
            try:
                for name in variables:
                    os.environ.pop(name, None)
                os.environ.update({name: value.format(folder=folder) for name, value in named.items()})
                require_token()
            finally:
                os.environ.clear()
                os.environ.update(before)

        for name, mode in (("open", 0o644), ("group", 0o640), ("empty", 0o600)):
            (folder / name).write_text("" if name == "empty" else "t" * 64)
            (folder / name).chmod(mode)
        return start

    return make


def _old(name: str) -> Make:
    return lambda folder, luck: lambda: require_versions(lambda asked: "0.1" if asked == name else "999")


def _old_sqlite(version: str) -> Make:
    return lambda folder, luck: lambda: refuse_unsafe_sqlite(version)


def _another_run(folder: Path, luck: Random) -> Callable[[], object]:
    store = FolderStore(folder)
    take_over(store, Run("generate", "m", [("m", 3, "aa")], "b1", {}))
    return lambda: take_over(store, Run("generate", "m", [("m", 3, "bb")], "b1", {}))


def _commits_of_nobody(folder: Path, luck: Random) -> Callable[[], object]:
    store = FolderStore(folder)
    store.put("commits/p.json", b"{}")
    return lambda: take_over(store, Run("generate", "m", [("m", 3, "aa")], "b1", {}))


def _on(kind: str) -> Make:
    """As if the folder's own mount were of this kind: mounting one takes rights that tests do not have."""

    def make(folder: Path, luck: Random) -> Callable[[], object]:
        mounts = folder / "mountinfo"
        place = str(folder).replace(" ", "\\040")
        mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/a rw\n30 22 0:9 / {place} rw - {kind} host:/x rw\n")

        def start() -> None:
            import infra.queue_disk as disk

            real, disk._MOUNTS = disk._MOUNTS, mounts
            try:
                require_local_disk(folder / "queue.sqlite")
            finally:
                disk._MOUNTS = real

        assert filesystem_of(folder, mounts.read_text()) == kind
        return start

    return make


def _too_many_rows(folder: Path, luck: Random) -> Callable[[], object]:
    return lambda: require_space(str(folder / "out"), 10**15)


def _flag(number: int, name: str, place: str, **values: Any) -> Case:
    return Case(number, name, given(**values), from_flags, Level.START, "E_SETTING", place)


def _file(number: int, name: str, file: str, text: str, code: str = "E_SETTING", mode: int = 0o600) -> Case:
    return Case(number, name, file_of(file, text, mode), from_file, Level.START, code, file)


CASES = [
    _flag(78, "unknown", "`colour`", colour="red"),
    _flag(78, "misspelt", "did you mean workers?", wokers=3),
    _file(78, "misspelt-in-a-file", "s.toml", "wokers = 3\n"),
    Case(79, "lease-too-short", given(lease_seconds=0.5), from_flags, Level.START, "E_CONFIG_LEASE", "lease_seconds"),
    Case(79, "lease-nan", given(lease_seconds="nan"), from_flags, Level.START, "E_CONFIG_LEASE", "three times"),
    Case(79, "lease-negative", given(lease_seconds=-1), from_flags, Level.START, "E_CONFIG_LEASE", "3.0 to 86400.0"),
    _flag(80, "zero-batch", "`batch_rows`", batch_rows=0),
    _flag(80, "negative-workers", "`workers`", workers=-1),
    _flag(80, "huge-slots", "`slots`", slots=10**9),
    _flag(80, "no-failures-allowed", "`max_failures`", max_failures=0),
    _flag(80, "alpha-nan", "`alpha`", alpha="nan"),
    _flag(80, "alpha-above-one", "`alpha`", alpha=1.5),
    _file(81, "yaml-tag", "s.yaml", "workers: !!python/object/apply:os.system ['touch marker']\n"),
    _file(81, "yaml-new-tag", "s.yaml", "workers: !!python/object/new:subprocess.Popen [['touch', 'marker']]\n"),
    _file(81, "yaml-bomb", "s.yaml", _BOMB),
    _file(81, "yaml-deep", "s.yaml", "[" * 5_000),
    _file(81, "too-large", "s.toml", "# " + "x" * (2**16 + 10) + "\n"),
    _file(81, "not-utf8", "s.toml", "model = '\udcff'\n"),
    _file(81, "a-list", "s.yaml", "- workers\n"),
    _file(81, "a-number-as-name", "s.yaml", "1: 2\n"),
    _file(82, "password-others-can-read", "s.toml", 'queue = "postgresql://me:s3cret@host/db"\n', "E_SECRET", 0o644),
    Case(83, "mode-disabled", _with_ray(RAY_AUTH_MODE="disabled"), attempt, Level.START, "E_RAY_AUTH", "disabled"),
    Case(83, "mode-missing", _with_ray(RAY_AUTH_MODE=None), attempt, Level.START, "E_RAY_AUTH", "not set"),
    Case(83, "token-in-environment", _with_ray(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="t"), attempt, Level.START,
         "E_RAY_AUTH", "RAY_AUTH_TOKEN"),
    *(
        Case(83, f"token-{name}", _with_ray(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=None,
                                            RAY_AUTH_TOKEN_PATH=f"{{folder}}/{name}"),
             attempt, Level.START, "E_RAY_AUTH", name)
        for name in ("open", "group", "empty", "missing")
    ),
    *(Case(84, f"old-{name}", _old(name), attempt, Level.START, "E_VERSION", name) for name in FLOORS),
    *(
        Case(84, f"sqlite-{version}", _old_sqlite(version), attempt, Level.START, "E_VERSION", version)
        for version in ("3.40.1", "3.51.2")
    ),
    Case(85, "another-run", _another_run, attempt, Level.START, "E_OUTPUT_EXISTS", "manifest contents"),
    Case(85, "commits-of-nobody", _commits_of_nobody, attempt, Level.START, "E_OUTPUT_EXISTS", "run.json"),
    *(
        Case(86, f"on-{kind}", _on(kind), attempt, Level.START, "E_QUEUE_FS", kind)
        for kind in ("nfs4", "cifs", "fuse.sshfs")
    ),
    Case(87, "disk-too-small", _too_many_rows, attempt, Level.START, "E_DISK", "are free at"),
]  # fmt: skip
