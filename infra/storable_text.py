"""A reason quotes whatever went wrong; no database keeps a NUL or half a surrogate pair."""


def storable(reason: str) -> str:
    """The same text, with a mark in the place of what cannot be stored."""
    return reason.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
