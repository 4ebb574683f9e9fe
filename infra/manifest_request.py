"""Opening a manifest from plain values, as they travel to the process that reads it."""

from collections.abc import Mapping, Sequence

from autosteer_core.ports import ManifestReader
from infra.column_map import ColumnMap
from infra.open_manifest import open_manifest
from infra.picture_places import PicturePlaces


def opened(
    address: str,
    columns: Mapping[str, str],
    roots: Sequence[str] = (),
    hosts: Sequence[str] = (),
    planned: Mapping[str, str] | None = None,
) -> ManifestReader:
    """As `open_manifest`; `roots` and `hosts` are those of PicturePlaces, `planned` SHA-256 by file name."""
    places = PicturePlaces(tuple(roots), tuple(hosts))
    return open_manifest(address, ColumnMap(**columns), places=places, planned=planned)
