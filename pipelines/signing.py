"""Whose bundles this machine trusts, and the key that it signs its own with."""

from pathlib import Path

from autosteer_core.bundle_signature import Signer, Trust, is_public_key, public_text
from autosteer_core.errors import UserMistake
from infra.plain_files import read_plain_file
from infra.signing_keys import key_file, make_key, own_key
from pipelines.settings import Settings

_MOST_BYTES = 2**16


def trust_of(settings: Settings) -> Trust:
    """This machine's own key, where it has one, and those of the settings; files are read here, not by workers.

    Raises:
        UserMistake: an entry of `trusted_keys` is neither a key nor a file with keys.
    """
    own = own_key(key_file())
    keys = [public_text(own.public_key())] if own else []
    keys += [key for entry in settings.trusted_keys for key in _keys(entry)]
    return Trust(tuple(dict.fromkeys(keys)), settings.allow_unsigned, settings.least_epoch)


def signer_of(settings: Settings) -> Signer:
    """The machine's own key, made where there is none; the epoch is the oldest that is served, unless set."""
    epoch = settings.least_epoch if settings.epoch is None else settings.epoch
    return Signer(make_key(key_file()), epoch)


def own_public_key() -> str:
    """What other machines need to trust this one's bundles."""
    return public_text(make_key(key_file()).public_key())


def _keys(entry: str) -> list[str]:
    if is_public_key(entry):
        return [entry]
    try:
        lines = read_plain_file(Path(entry), _MOST_BYTES, follow=True).decode("ascii").splitlines()
    except KeyError:
        raise _no_key(entry, "is neither a key nor a file") from None
    except ValueError:
        raise _no_key(entry, "holds more than text") from None
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    wrong = next((number for number, line in enumerate(keys, 1) if not is_public_key(line)), None)
    if wrong or not keys:
        raise _no_key(entry, f"has no public key as entry {wrong or 1}")
    return keys


def _no_key(entry: str, what: str) -> UserMistake:
    return UserMistake(
        f"setting `trusted_keys`: {entry[:200]} {what}, expected base64 of 32 bytes as `autosteer keys` prints it, "
        "or a file with one a line: check the entry"
    )
