"""Files that run code where they are read carelessly run none here."""

import base64
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autosteer_core.errors import AutosteerError
from infra.open_manifest import open_manifest
from pipelines.settings import load_settings
from tests.security.manifest_cases import whole

pytestmark = pytest.mark.security

_NAME, _TOLD = b"ARROW:extension:name", b"ARROW:extension:metadata"


class _Payload:
    """What unpickles to a file that was not there."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.marker, "w")


def payload(folder: Path) -> bytes:
    """Harmless, but for a marker below the folder."""
    return pickle.dumps(_Payload(folder / "marker"))


def tagged(kind: str, field: pa.Field, value: object, told: bytes = b"") -> Callable[[Path], Path]:
    """A Parquet file whose second column claims an extension type."""

    def make(folder: Path) -> Path:
        metadata = {_NAME: kind.encode(), _TOLD: told or payload(folder)}
        filled = payload(folder) if value is None else value
        schema = pa.schema([pa.field("id", pa.string()), field.with_metadata(metadata)])
        pq.write_table(
            pa.table({"id": ["a"], field.name: pa.array([filled], field.type)}, schema), folder / "m.parquet"
        )
        return folder / "m.parquet"

    return make


def nested(folder: Path) -> Path:
    """The claim stands inside a struct."""
    inner = pa.field("x", pa.binary(), metadata={_NAME: b"ray.data.arrow_pickled_object", _TOLD: payload(folder)})
    table = pa.table(
        {"id": ["a"], "text": pa.array([{"x": payload(folder)}], pa.struct([inner]))},
        pa.schema([("id", pa.string()), ("text", pa.struct([inner]))]),
    )
    pq.write_table(table, folder / "m.parquet")
    return folder / "m.parquet"


def beside_the_columns(folder: Path) -> Path:
    """Only the Arrow schema in the footer's metadata makes the claim."""
    odd = pa.field("text", pa.binary(), metadata={_NAME: b"ray.data.arrow_pickled_object", _TOLD: payload(folder)})
    stored = base64.b64encode(pa.schema([pa.field("id", pa.string()), odd]).serialize().to_pybytes())
    plain = pa.schema([("id", pa.string()), ("text", pa.binary())], metadata={b"ARROW:schema": stored})
    pq.write_table(
        pa.table({"id": ["a"], "text": [payload(folder)]}, plain), folder / "m.parquet", store_schema=False
    )
    return folder / "m.parquet"


def bytes_of(name: str, wrap: Callable[[bytes], bytes] = bytes) -> Callable[[Path], Path]:
    """The pickle itself under another name."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(wrap(payload(folder)))
        return folder / name

    return make


def line(**row: object) -> Callable[[Path], Path]:
    """A line of JSON with a trick in it."""

    def make(folder: Path) -> Path:
        text = json.dumps({"id": "a", **row}).replace("MARKER", str(folder / "marker"))
        (folder / "m.jsonl").write_text(text)
        return folder / "m.jsonl"

    return make


def setting(name: str, text: str) -> Callable[[Path], Path]:
    """A settings file."""

    def make(folder: Path) -> Path:
        (folder / name).write_text(text.replace("MARKER", str(folder / "marker")))
        return folder / name

    return make


_TEXT, _IMAGE = pa.field("text", pa.binary()), pa.field("image", pa.binary())
MANIFESTS: dict[str, Callable[[Path], Path]] = {
    "pickled object": tagged("ray.data.arrow_pickled_object", _TEXT, None),
    "pickled object as image": tagged("ray.data.arrow_pickled_object", _IMAGE, None),
    "tensor": tagged("ray.data.arrow_tensor", _TEXT, b"x"),
    "tensor, second version": tagged("ray.data.arrow_tensor_v2", _TEXT, b"x"),
    "variable tensor": tagged("ray.data.arrow_variable_shaped_tensor", _TEXT, b"x"),
    "python extension": tagged("arrow.py_extension_type", _TEXT, b"x"),
    "nested": nested,
    "beside the columns": beside_the_columns,
    "pickle as parquet": bytes_of("m.parquet"),
    "pickle between magics": bytes_of("m.parquet", lambda data: b"PAR1" + data + b"PAR1"),
    "pickle as lines": bytes_of("m.jsonl"),
    "template": line(text="{{ ''.__class__.__mro__[1].__subclasses__() }}{% set x = cycler.__init__.__globals__ %}"),
    "template that opens": line(text="{{ self.__init__.__globals__.__builtins__.open('MARKER', 'w') }}"),
    "tag in a text": line(text="!!python/object/apply:builtins.open ['MARKER', 'w']"),
    "pickle in base64": line(image=base64.b64encode(pickle.dumps({})).decode(), text="x"),
}
SETTINGS = {
    "apply": setting("s.yaml", "model: !!python/object/apply:builtins.open ['MARKER', 'w']\n"),
    "new": setting("s.yaml", "model: !!python/object/new:builtins.open ['MARKER', 'w']\n"),
    "name": setting("s.yaml", "model: !!python/name:os.system\n"),
}


def attempt(act: Callable[[], object]) -> None:
    try:
        act()
    except AutosteerError:
        return


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_runs_no_code(name: str, tmp_path: Path) -> None:
    file = MANIFESTS[name](tmp_path)

    attempt(lambda: whole(open_manifest(str(file))))

    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_settings_file_runs_no_code(name: str, tmp_path: Path) -> None:
    file = SETTINGS[name](tmp_path)

    attempt(lambda: load_settings(file))

    assert not (tmp_path / "marker").exists()


READ = """
import sys
from types import ModuleType
if sys.argv[2] == "carelessly":
    import ray.data
    import pyarrow.parquet as pq
    pq.read_table(sys.argv[1]).to_pylist()
else:
    sys.modules["ray.data"] = ModuleType("ray.data")  # it takes no more to be refused
    from infra.open_manifest import open_manifest
    open_manifest(sys.argv[1]).files()
"""


def read_beside_ray_data(file: Path, how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", READ, str(file), how], capture_output=True, text=True, timeout=120)


def test_beside_ray_data_nothing_is_read_at_all(tmp_path: Path, report: Callable[[str, object], None]) -> None:
    file = MANIFESTS["pickled object"](tmp_path)

    ours = read_beside_ray_data(file, "as we do")
    assert ours.returncode != 0 and "has not imported ray.data" in ours.stderr
    assert not (tmp_path / "marker").exists()
    report("files that would run code", f"{len(MANIFESTS) + len(SETTINGS)}, 0 markers")


def test_a_careless_reader_beside_ray_data_runs_the_code(tmp_path: Path) -> None:
    """The control: the payload works. ray.data needs pandas, whose mere presence makes pyarrow take more memory."""
    pytest.importorskip("pandas")
    file = MANIFESTS["pickled object"](tmp_path)

    read_beside_ray_data(file, "carelessly")

    assert (tmp_path / "marker").exists()
