"""From an address to the store that it names."""

import os
from pathlib import Path

from autosteer_core.errors import UserMistake
from autosteer_core.ports import BlobStore
from infra.address import WrongAddress, has_control, has_login, has_signature, s3_place, scheme_in, shown
from infra.blob_key import KEY_RULE, checked_key
from infra.folder_store import FolderStore


def open_store(address: str) -> BlobStore:
    """The store at a folder path or at `s3://bucket/prefix`; the folder or bucket is not touched yet."""
    if scheme_of(address) == "s3":
        return _s3_store(address)
    return FolderStore(Path(address))


def scheme_of(address: str) -> str:
    """`s3`, or nothing for a path; everything else is refused."""
    scheme = scheme_in(address)
    if has_login(address) or has_signature(address):
        raise UserMistake(
            f"{shown(address)} has a user name or a password or a signature in it: leave them out, S3 takes its "
            "credentials from the environment or a profile",
            "E_URI",
        )
    # The address is not repeated: what follows the scheme may hold a password.
    if scheme not in ("", "s3"):
        raise UserMistake(
            f"{scheme}: addresses are not supported: give a folder path or s3://bucket/prefix", "E_URI_SCHEME"
        )
    if not address.strip() or has_control(address) or not _can_be_a_path(address):
        raise UserMistake(
            "the address is empty, or has a control character or half a character: give a folder path or "
            "s3://bucket/prefix",
            "E_URI",
        )
    return scheme


def _can_be_a_path(address: str) -> bool:
    try:
        return bool(os.fsencode(address))
    except UnicodeEncodeError:
        return False


def _s3_store(address: str) -> BlobStore:
    try:
        place = s3_place(address)
        prefix = place.key.removesuffix("/")
        if prefix:
            checked_key(prefix)
    except WrongAddress as error:
        raise UserMistake(f"{shown(address)} is not valid: {error}: give s3://bucket/prefix", "E_URI") from error
    except UserMistake as error:  # not repeated: it may hold a query
        raise UserMistake(
            f"what follows the bucket in {shown(address)} cannot be a key: {KEY_RULE}", "E_URI"
        ) from error
    try:
        from infra.s3_store import S3Store, s3_client
    except ModuleNotFoundError as error:
        raise UserMistake("s3:// needs boto3: pip install 'autosteer[s3]'") from error
    return S3Store(s3_client(), place.bucket, prefix)
