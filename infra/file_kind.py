"""What a file is from its first bytes: a manifest of a kind, or something that an error should name."""

HEAD_BYTES = 512

PARQUET, JSON_LINES = "parquet", "jsonl"
SUFFIXES = {".parquet": PARQUET, ".pq": PARQUET, ".jsonl": JSON_LINES, ".ndjson": JSON_LINES, ".manifest": JSON_LINES}

_MAGICS = [
    (b"PAR1", "a Parquet file"),
    (b"PARE", "an encrypted Parquet file, which is not supported"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"ARROW1", "an Arrow IPC file"),
    (b"SQLite format 3", "a SQLite database"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
]


def looks_like(head: bytes) -> str:
    """A noun phrase such as `JSON` or `an XML or HTML page, perhaps a saved error message`."""
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return kind
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        return "an empty file"
    if start.startswith(b"<"):
        return "an XML or HTML page, perhaps a saved error message"
    if start.startswith((b"{", b"[")):
        return "JSON"
    return "unknown binary data" if b"\0" in head else "plain text such as CSV"


def row_kind(head: bytes) -> str | None:
    """The kind of manifest that starts like this, or None."""
    return {"a Parquet file": PARQUET, "JSON": JSON_LINES}.get(looks_like(head))
