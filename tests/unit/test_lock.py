"""The lock and the bill of materials hold what pyproject asks for, in the versions that the tests ran with."""

import json
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ELSEWHERE = {"torch"}  # its wheel is another one for every kind of GPU

LOCKED = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE))


def test_everything_that_an_installation_needs_is_locked() -> None:
    extras = [each for name in ("s3", "postgres") for each in PROJECT["optional-dependencies"][name]]
    wanted = {canonicalize_name(Requirement(each).name) for each in [*PROJECT["dependencies"], *extras]} - ELSEWHERE

    assert wanted <= {canonicalize_name(name) for name in LOCKED}


def test_what_is_locked_is_what_the_tests_ran_with() -> None:
    tested = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").split() if "==" in line)
    tested = {canonicalize_name(name): version for name, version in tested.items()}

    differing = {name for name, version in LOCKED.items() if tested.get(canonicalize_name(name), version) != version}
    assert not differing


def test_every_locked_package_has_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text("utf-8")
    entries = re.findall(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)

    assert len(entries) == len(LOCKED)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert not re.search(r"://|--index|--find-links", text)


def test_the_bill_of_materials_names_the_same() -> None:
    bill = json.loads((ROOT / "sbom.json").read_text("utf-8"))

    assert {part["name"]: part["version"] for part in bill["components"]} == LOCKED
    assert all(part["hashes"] for part in bill["components"])
