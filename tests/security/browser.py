"""What a real browser makes of a page: the document after every script that it would run has run."""

import os
import shutil
import subprocess
from pathlib import Path

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


def dom_after(page: bytes, folder: Path) -> str:
    """Its source after the page was loaded from a file, as a person would open it."""
    assert BROWSER
    file = folder / "page.html"
    file.write_bytes(page)
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=2000", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    home = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=home)
    assert done.returncode == 0, done.stderr
    return done.stdout
