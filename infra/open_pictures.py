"""From the places that a person allows to the reader of the pictures that lie there."""

from collections.abc import Sequence
from pathlib import Path

from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from infra.open_store import open_store, scheme_of
from infra.picture_places import Fetch, PicturePlaces, Pictures, no_fetch


def open_pictures(
    places: PicturePlaces, own_folders: Sequence[Path] = (), own_stores: Sequence[BlobStore] = ()
) -> Pictures:
    """The declared roots, or the manifest's own where none is declared; and the declared hosts.

    Raises:
        UserMistake: a root is no folder or address, or a host is none.
    """
    fetch = _fetch(places.hosts)
    if not places.roots:
        return Pictures(own_folders, own_stores, fetch)
    folders = [_folder(root) for root in places.roots if scheme_of(root) != "s3"]
    return Pictures(folders, [open_store(root) for root in places.roots if scheme_of(root) == "s3"], fetch)


def _folder(root: str) -> Path:
    if not Path(root).is_dir():
        raise UserMistake(f"{root!r:.200} in picture_roots is not a folder: name one, or s3://bucket/prefix")
    return Path(root)


def _fetch(hosts: Sequence[str]) -> Fetch:
    if not hosts:
        return no_fetch
    from infra.web_pictures import WebPictures  # most runs fetch nothing, and need no TLS

    return WebPictures(hosts).fetch
