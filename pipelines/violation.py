"""What `verify` promises to find, and one thing that it found."""

from dataclasses import dataclass

INVARIANTS = {
    "I1": "every row of the manifest is in the output, and no other",
    "I2": "no row is visible twice",
    "I3": "whoever committed, halved or replaced a part had the right to",
    "I4": "what was committed is intact: size, SHA-256, page checksums, rows, ids, counts",
    "I5": "readers are told of exactly what is committed, and of the end only at the end",
    "I6": "a part has one run, one bundle and one model",
    "I7": "nothing is answered or allowed without a gate that says so",
    "I8": "only a row that was alone is called poisonous, and whatever failed has its reason",
    "I9": "an attempt that lost says the same as the one that won",
    "I10": "the audit log is as it was written, and its end is the one that was noted outside",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """`where` is a key of the output, `found` one sentence with rows, what was expected and what to do."""

    invariant: str
    where: str
    found: str
