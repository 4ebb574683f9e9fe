"""The oldest versions of libraries that read what strangers made, and why: older ones are refused at the start."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from packaging.version import Version

from autosteer_core.errors import UserMistake

# Each is also pyproject's floor: that one is passed by `pip install --no-deps`, or by a later downgrade.
FLOORS = {
    "pillow": ("12.3", "older ones have holes in their PNG, JPEG and WebP decoders"),
    "pyarrow": ("21", "older ones run code from Parquet files or do not verify page checksums"),
    "ray": ("2.56", "older ones serve their control plane without asking for a token"),
    "safetensors": ("0.5", "older ones accept files with bytes that no tensor names"),
    "torch": ("2.10", "older ones run code from checkpoints"),
    "transformers": ("5.3", "older ones run code from a model's folder although they are told not to"),
}


def require_versions(installed: Callable[[str], str] = version) -> None:
    """Ask the packages' metadata, which takes a millisecond each.

    Raises:
        UserMistake: E_VERSION: a library is older than is safe, or not installed.
    """
    for name, (floor, reason) in FLOORS.items():
        try:
            found = installed(name)
        except PackageNotFoundError:
            raise UserMistake(f"{name} is not installed: pip install autosteer", "E_VERSION") from None
        if Version(found) < Version(floor):
            raise UserMistake(
                f"{name} {found} is installed, expected {floor} or newer, {reason}: pip install '{name}>={floor}'",
                "E_VERSION",
            )
