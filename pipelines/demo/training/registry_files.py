"""Fetches named files of npm packages into a scratch folder, once."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path


def npm_folder(package: str, scratch: Path) -> Path:
    """The unpacked package; `package` carries its version, so that a rerun reads the same bytes."""
    target = scratch / "npm" / package.replace("/", "_")
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", package]
        printed = subprocess.run(command, cwd=target.parent, check=True, capture_output=True, text=True).stdout
        archive = target.parent / printed.split()[-1]
        with tarfile.open(archive) as opened:
            opened.extractall(target.with_suffix(".part"), members=_wanted(opened), filter="data")
        target.with_suffix(".part").rename(target)
        archive.unlink()
    return target / "package"


def _wanted(opened: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """Everything but the large sprite sheets of the emoji packages."""
    return [member for member in opened.getmembers() if "/sheets" not in member.name and "/sheet_" not in member.name]
