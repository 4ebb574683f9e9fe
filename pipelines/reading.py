"""Opening the manifest that a person names: always in a process of its own."""

from collections.abc import Mapping
from dataclasses import asdict

from autosteer_core.ports import ManifestReader
from infra.column_map import ColumnMap
from pipelines.settings import Settings
from workers.reader_process import ReaderProcess


def open_items(
    address: str,
    columns: ColumnMap | None = None,
    settings: Settings | None = None,
    planned: Mapping[str, str] | None = None,
) -> ManifestReader:
    """The manifest at a file, a folder or an s3:// address; without settings its pictures lie beside it.

    A file that is not what it was `planned` as, name -> SHA-256, is refused when it is read.
    """
    values = {"address": address, "columns": asdict(columns or ColumnMap()), "planned": dict(planned or {})}
    if settings is not None:
        values |= {"roots": list(settings.picture_roots), "hosts": list(settings.fetch_hosts)}
    return ReaderProcess("infra.manifest_request:opened", values)
