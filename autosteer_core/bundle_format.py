"""What a file is that claims to be safetensors, by its first bytes: it is named, and never read by another loader."""

import re

_MAGIC = {
    b"PK\x03\x04": "a zip archive, as torch.save and numpy.savez write",
    b"GGUF": "a GGUF model",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x1f\x8b": "a gzip file, as joblib writes",
    b"BZh": "a bzip2 file, as joblib writes",
    b"\xfd7zXZ\x00": "an xz file, as joblib writes",
    b"\x04\x22\x4d\x18": "an LZ4 file, as joblib writes",
    b"x\x01": "a zlib stream, as joblib writes",
    b"x\x5e": "a zlib stream, as joblib writes",
    b"x\x9c": "a zlib stream, as joblib writes",
    b"x\xda": "a zlib stream, as joblib writes",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself",
    b"<": "an HTML or XML page",
}
_PICKLE = re.compile(rb"\x80[\x01-\x05]|c[\w.]+\n[\w.]+\n|[(\]}][dlpq.]|\(i[\w.]+\n")
_ONNX = re.compile(rb"\x08[\x01-\x20]\x12.[\x20-\x7e]{2}", re.DOTALL)  # ir_version, then the producer's name


def foreign_format(data: bytes) -> str | None:
    """A name for a person; None where it may be safetensors or nothing that is known.

    Safetensors begin with a number, which can look like another format's mark: the brace after it tells.
    """
    if data[3:9] == b"\0\0\0\0\0{":
        return None
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            return name
    if _PICKLE.match(data):
        return "a pickle, which can run code when it is read"
    return "an ONNX model" if _ONNX.match(data) else None
