"""Nothing in the product reads a format that can run code: its source is looked through, and the look has teeth."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("autosteer_core", "infra", "workers", "pipelines")
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pickletools"}
NAMES = {"eval", "exec", "compile", "__import__"}
CALLS = {
    "torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen", "pd.read_pickle", "pandas.read_pickle",
}  # fmt: skip
ALLOWED = {
    # Walks over the opcodes of the demo's pickled trunk and runs none: only the maker of the demo's weights calls it.
    ("pipelines/demo/training/inert_pickle.py", "imports pickletools"),
    # A worker tells its own child what to do, over a pipe that nobody else holds; nothing comes back as a pickle.
    ("workers/encoding_child.py", "imports pickle"),
    ("workers/encoding_process.py", "imports pickle"),
    # Its loader is a stricter child of the safe one: no tags, no aliases.
    ("pipelines/settings_file.py", "calls yaml.load"),
}


def banned(source: str) -> Iterator[str]:
    """What the source does that can run code which is not its own."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (f"imports {name.name}" for name in names if name.name.split(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in MODULES:
                yield f"imports {module}"
            case ast.Call():
                yield from _calls(node)


def _calls(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    if name in NAMES | CALLS:
        yield f"calls {name}"
    for keyword in node.keywords:
        flag = keyword.arg in ("trust_remote_code", "allow_pickle", "shell")
        if flag and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
            yield f"sets {keyword.arg}"
        if keyword.arg == "weights_only":
            yield "relies on weights_only"


def test_no_source_reads_what_can_run_code() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    found = {(path.relative_to(ROOT).as_posix(), what) for path in files for what in banned(path.read_text("utf-8"))}

    assert len(files) > 200
    assert found == ALLOWED


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "import pickle as p", "from pickle import loads", "import joblib.numpy_pickle",
        "def f():\n    import dill", "torch.load(path)", "torch.load(path, weights_only=True)", "eval(text)",
        "exec(text)", "f(trust_remote_code=True)", "f(trust_remote_code=flag)", "np.load(path, allow_pickle=True)",
        "yaml.load(text)", "subprocess.run(text, shell=True)", "__import__(name)",
    ],
)  # fmt: skip
def test_the_look_finds_every_way(source: str) -> None:
    assert list(banned(source))


@pytest.mark.parametrize(
    "source", ["f(trust_remote_code=False)", "re.compile(text)", "yaml.safe_load(text)", "torch.compile(model)"]
)
def test_the_look_leaves_honest_code_alone(source: str) -> None:
    assert not list(banned(source))
