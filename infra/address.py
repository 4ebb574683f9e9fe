"""What an address says: its scheme, its bucket and key, and how it may be shown."""

import re
from dataclasses import dataclass

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]*[a-z0-9]")
_IPV4 = re.compile(r"\d+\.\d+\.\d+\.\d+")
_SIGNED = re.compile(r"[?&](x-amz-[a-z-]+|awsaccesskeyid|signature|sig|token)=", re.IGNORECASE)
_MAX_SHOWN = 200
_MAX_KEY_BYTES = 1_024  # S3's own limit


class WrongAddress(ValueError):
    """The address breaks a rule; the text names the rule, and repeats nothing that may be secret."""


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket and a key or prefix in it, exactly as given: nothing in a key is decoded."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}".removesuffix("/")


def scheme_in(address: str) -> str:
    """What stands before the first colon, in lower case, if it can be a scheme; nothing for a path."""
    found = _SCHEME.match(address)
    return found[1].lower() if found else ""


def s3_place(address: str) -> S3Place:
    """The bucket and the key of an `s3://` address.

    Raises:
        WrongAddress: it breaks a rule of S3 or of ours; keys have the names that `checked_key` allows.
    """
    before, slashes, rest = address.partition("//")
    if before.lower() != "s3:" or not slashes:
        raise WrongAddress("an s3 address begins with s3://")
    bucket, _, key = rest.partition("/")
    _check_bucket(bucket)
    if len(key.encode(errors="surrogatepass")) > _MAX_KEY_BYTES:
        raise WrongAddress(f"the key has more than {_MAX_KEY_BYTES:,} bytes")
    return S3Place(bucket, key)


def shown(address: str) -> str:
    """The address for a message: short, on one line, without user name, password or query."""
    scheme = scheme_in(address)
    if not scheme:
        plain = address.partition("?")[0] if has_signature(address) else address
        return f"{plain!r:.{_MAX_SHOWN}}"
    rest = address[len(scheme) + 1 :]
    plain = re.split(r"[?#]", rest, maxsplit=1)[0]
    # A password may hold any character, so what is not surely plain is left out whole.
    if not rest.startswith("//") or ("@" in rest and "@" not in plain):
        return f"'{scheme}:...'"
    if "@" in plain:
        plain = "//***@" + plain.rpartition("@")[2]
    query = "?..." if re.search(r"[?#]", rest) else ""
    return f"{f'{scheme}:{plain}'!r:.{_MAX_SHOWN}}{query}"


def has_login(address: str) -> bool:
    """Whether a user name or a password stands before the host or bucket."""
    _, slashes, rest = address.partition("://")
    return bool(scheme_in(address) and slashes and "@" in re.split(r"[/?#\\]", rest, maxsplit=1)[0])


def has_signature(address: str) -> bool:
    """Whether it is a presigned address: whoever reads it in a log could use it."""
    return bool(_SIGNED.search(address))


def has_control(address: str) -> bool:
    """Whether it has a line end, a NUL or the like: it could forge a line of a log, or end early for a reader."""
    return any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in address)


def _check_bucket(bucket: str) -> None:
    if not bucket:
        raise WrongAddress("it names no bucket")
    if "@" in bucket:
        raise WrongAddress("no user name or password may stand before the bucket")
    if not 3 <= len(bucket) <= 63:
        raise WrongAddress(f"a bucket's name has 3 to 63 characters, this one has {len(bucket)}")
    if not _BUCKET.fullmatch(bucket):
        raise WrongAddress(
            "a bucket's name has lower case letters, digits, dots and hyphens, and begins and ends with a letter "
            "or digit"
        )
    if ".." in bucket or _IPV4.fullmatch(bucket):
        raise WrongAddress("a bucket's name has no two dots in a row and is not an IP address")
