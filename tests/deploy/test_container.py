"""The container file is sound, and builds from what is there."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.files import DEPLOY

ROOT = DEPLOY.parents[1]
FILE = DEPLOY / "Containerfile"
TEXT = FILE.read_text("utf-8")
LINES = [line for line in re.sub(r"\\\n", " ", TEXT).splitlines() if line and not line.startswith("#")]
HADOLINT = (
    shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "hadolint"
)


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run([HADOLINT, FILE], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("there", "instead", "rule"),
    [
        (r"^FROM .* AS builder$", "FROM python:latest AS builder", "DL3007"),
        (r"--no-install-recommends ", "", "DL3015"),
        (r"^WORKDIR /build$", "WORKDIR build", "DL3000"),
    ],
)
def test_hadolint_finds_what_is_wrong(there: str, instead: str, rule: str, tmp_path: Path) -> None:
    """A negative control."""
    wrong = re.sub(there, instead, TEXT, flags=re.MULTILINE)
    assert wrong != TEXT
    (tmp_path / "Containerfile").write_text(wrong)
    done = subprocess.run([HADOLINT, tmp_path / "Containerfile"], capture_output=True, text=True)

    assert done.returncode == 1
    assert rule in done.stdout


def test_the_last_user_is_not_root_and_is_the_one_that_pods_run_as() -> None:
    last = [line for line in LINES if line.startswith("USER ")][-1]

    assert last == "USER 10001:10001"
    assert LINES.index(last) > max(number for number, line in enumerate(LINES) if line.startswith("RUN "))


def test_the_base_has_a_version_that_the_package_supports_and_comes_from_no_named_host() -> None:
    base = re.search(r"^ARG BASE=python:(\d+)\.(\d+)\.\d+-", TEXT, re.MULTILINE)
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]

    assert base and wanted == f">={base[1]}.{base[2]}"


def test_everything_that_is_installed_has_a_hash_or_a_version() -> None:
    installs = [line for line in LINES if "pip install" in line]

    assert len(installs) == 3
    for line in installs:
        assert "--require-hashes" in line or '"torch==${version}"' in line or line.endswith("--no-deps .")


def test_no_secret_and_no_remote_file_comes_in() -> None:
    assert not [line for line in LINES if line.startswith("ADD ") or "curl" in line]
    assert not re.search(r"(?i)(password|secret|token|key)=(?!token\b)", "\n".join(LINES))


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    wanted = {
        word for line in LINES if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    }
    sent = {line[1:] for line in (DEPLOY / "Containerfile.dockerignore").read_text("utf-8").split() if line[0] == "!"}

    assert len(wanted) >= 9
    assert all((ROOT / name).exists() for name in wanted)
    assert {name.split("/")[0] for name in wanted} == sent


def test_the_lock_of_the_dashboard_has_hashes_and_no_address_and_nothing_of_the_other_lock() -> None:
    text = (DEPLOY / "dashboard.lock").read_text("utf-8")
    names = set(re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE))
    others = set(re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE))
    entries = re.findall(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)

    assert {"aiohttp", "opencensus", "prometheus-client"} <= names
    assert not names & others
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|--index|--find-links", text)


def test_a_stopped_container_is_told_what_ctrl_c_tells() -> None:
    assert "STOPSIGNAL SIGINT" in LINES
    assert 'ENTRYPOINT ["tini", "--"]' in LINES
