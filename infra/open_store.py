"""From an address to the store that it names."""

import re
from pathlib import Path

from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from infra.blob_key import checked_key
from infra.folder_store import FolderStore

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_store(address: str) -> BlobStore:
    """The store at a folder path or at `s3://bucket/prefix`; the folder or bucket is not touched yet."""
    if scheme_of(address) == "s3":
        return _s3_store(address)
    return FolderStore(Path(address))


def scheme_of(address: str) -> str:
    """`s3`, or nothing for a path; everything else is refused."""
    found = _SCHEME.match(address)
    scheme = found[1].lower() if found else ""
    # The address is not repeated: what follows the scheme may hold a password.
    if scheme not in ("", "s3"):
        raise UserMistake(f"{scheme}: addresses are not supported: give a folder path or s3://bucket/prefix")
    if not address.strip() or "\0" in address:
        raise UserMistake("the address is empty or has a NUL byte: give a folder path or s3://bucket/prefix")
    return scheme


def _s3_store(address: str) -> BlobStore:
    bucket, _, prefix = address.partition(":")[2].removeprefix("//").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise UserMistake(
            "the bucket in the s3:// address is not valid: it has 3 to 63 lower case letters, digits, dots "
            "and hyphens, and no user name or password before it"
        )
    prefix = checked_key(prefix.removesuffix("/")) if prefix else ""
    try:
        from infra.s3_store import S3Store, s3_client
    except ModuleNotFoundError as error:
        raise UserMistake("s3:// needs boto3: pip install 'autosteer[s3]'") from error
    return S3Store(s3_client(), bucket, prefix)
