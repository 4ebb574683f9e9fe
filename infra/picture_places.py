"""Where the pictures that a row names may come from, and nowhere else."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from autosteer_core.errors import BadItem, UserMistake
from autosteer_core.ports import BlobStore
from infra.address import S3Place, WrongAddress, s3_place, scheme_in, shown
from infra.blob_key import checked_key
from infra.confined_folders import ConfinedFolders
from infra.row_to_item import MAX_IMAGE_BYTES

_ENOUGH = MAX_IMAGE_BYTES + 1  # tells that a picture is too large
_MOST_DECODED = 4  # times: %25252e is a dot for whoever decodes three times

Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class PicturePlaces:
    """What a person allows: `roots` are folders and s3:// prefixes, none: the manifest's own; `hosts` of the web."""

    roots: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


def no_fetch(address: str) -> bytes:
    """What happens to an http address unless hosts are named: no name is looked up, no packet leaves."""
    raise BadItem(
        "E_URI_FORBIDDEN",
        f"image {shown(address)} lies in the web: give bytes or a path, nothing is fetched but from the hosts in the "
        "setting fetch_hosts",
    )


class Pictures:
    """Reads what a row names: below a folder, below a prefix of a bucket, or from a named host."""

    def __init__(self, folders: Sequence[Path], stores: Sequence[BlobStore], fetch: Fetch = no_fetch) -> None:
        self._folders = ConfinedFolders(folders)
        self._any_folder = bool(folders)
        self._stores = stores
        self._fetch = fetch
        self._where = ", ".join([*map(str, folders), *(store.describe() for store in stores)])

    def read(self, named: str) -> bytes:
        """The bytes, a byte more than an image may have at most.

        Raises:
            BadItem: E_PATH_OUTSIDE_ROOT, E_BUCKET_NOT_ALLOWED, E_URI, E_URI_SCHEME, E_URI_FORBIDDEN,
                E_IMAGE_NOT_FOUND, or what the fetcher says.
            UserMistake: E_ACCESS: the store refuses us, which is not the row's fault.
        """
        scheme = scheme_in(named)
        if scheme == "s3":
            return self._stored(named)
        if scheme in ("http", "https"):
            return self._fetch(named)
        if scheme == "file":
            raise _outside(named, "is a file: address, give a plain path")
        if scheme:
            raise BadItem(
                "E_URI_SCHEME",
                f"image {shown(named)} has the scheme {scheme[:20]}: allowed are a path, s3:// and, for the hosts in "
                "fetch_hosts, https://; write ./ before a file name with a colon",
            )
        return self._at_path(named)

    def _at_path(self, named: str) -> bytes:
        """Folders come first, in the order in which they were given."""
        path = _plain(named)
        absolute = path.startswith("/")
        if absolute and not self._any_folder:
            raise _outside(named, "is a path of this machine")
        found = self._folders.read(path, _ENOUGH)
        if found is None and not absolute:
            found = _first_found((store, path) for store in self._stores)
        return self._found(named, found)

    def _stored(self, named: str) -> bytes:
        """By its whole address; its bucket must be one that was declared, or the manifest's own."""
        try:
            place = s3_place(named)
        except WrongAddress as error:
            raise BadItem("E_URI", f"image {shown(named)} is no s3 address ({error}): correct it") from error
        if not place.key:
            raise BadItem("E_URI", f"image {shown(named)} names no key: write s3://bucket/key")
        roots = [(store, root) for store in self._stores if (root := _root(store))]
        if place.bucket not in {root.bucket for _, root in roots}:
            raise BadItem(
                "E_BUCKET_NOT_ALLOWED",
                f"image {shown(named)} lies in another bucket than {self._where}: declare it in picture_roots",
            )
        below = [(store, str(place).removeprefix(f"{root}/")) for store, root in roots if _is_below(place, root)]
        if not below:
            raise _outside(named, f"does not lie below {self._where}")
        return self._found(named, _first_found([(store, _plain(key)) for store, key in below]))

    def _found(self, named: str, data: bytes | None) -> bytes:
        if data is None:
            raise BadItem(
                "E_IMAGE_NOT_FOUND", f"image {shown(named)} does not exist below {self._where}: check its name"
            )
        return data


def _plain(named: str) -> str:
    """The path, if no reader of it could take it for one that leads elsewhere; a leading `./` is left out."""
    path = named.removeprefix("./")
    if not path or "\0" in path or "\\" in path:
        raise _outside(named, "is empty or has a backslash or a NUL")
    if ".." in re.split(r"[/\\]", _decoded(path)):
        raise _outside(named, "climbs with ..")
    try:
        if not path.startswith("/"):
            checked_key(path)
        path.encode()
    except (UserMistake, UnicodeEncodeError) as error:
        raise _outside(named, "is not a plain path: no name in it is empty, begins with a dot or is odd") from error
    return path


def _decoded(path: str) -> str:
    """Only to look at: a file is never opened by a decoded name."""
    for _ in range(_MOST_DECODED):
        path = unquote(path)
    return path


def _root(store: BlobStore) -> S3Place | None:
    where = store.describe()
    return s3_place(where) if scheme_in(where) == "s3" else None


def _is_below(place: S3Place, root: S3Place) -> bool:
    return str(place).startswith(f"{root}/")


def _first_found(places: Iterable[tuple[BlobStore, str]]) -> bytes | None:
    for store, key in places:
        try:
            return store.first_bytes(key, _ENOUGH)
        except KeyError:
            continue
    return None


def _outside(named: str, why: str) -> BadItem:
    return BadItem(
        "E_PATH_OUTSIDE_ROOT",
        f"image {shown(named)} {why}: give a path below the manifest's folder or below one of picture_roots",
    )
