"""What a model folder may hold: data only. Code, and what asks for code, is refused before anything is loaded."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from jinja2 import TemplateError, nodes
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from autosteer_core.errors import BundleRefused, UserMistake
from infra.plain_files import read_plain_file

CODE = "E_REMOTE_CODE"
_MOST_BYTES = 16 * 2**20
_ASKS_FOR_CODE = ("auto_map", "trust_remote_code", "custom_pipelines", "custom_generate")
_VOCABULARIES = {
    "tokenizer.json",
    "vocab.json",
    "added_tokens.json",
    "special_tokens_map.json",
}  # large, and only words
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_INSIDE = re.compile(r"__[A-Za-z]\w*")
_LOOKS_LIKE_IT = re.compile(r"__[A-Za-z]\w*|\{%[-+]?\s*(?:import|from|include|extends)\b")
_TAGS = (nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends)


def refuse_code(source: str) -> None:
    """Look through a model's folder, or the hub's snapshot of it on this disk; elsewhere there is nothing to look at.

    Raises:
        UserMistake: E_REMOTE_CODE for a setting or a template that reaches for code, E_ARTIFACT_FORMAT for weights
            that are pickles only, E_PATH for what is no plain file.
    """
    folder = _folder(source)
    if folder is None:
        return
    _refuse_pickles(folder)
    for path in sorted(folder.glob("*.json")):
        if path.name not in _VOCABULARIES and not path.name.endswith(".index.json"):
            _refuse_in_settings(path)
    for path in sorted([*folder.glob("*.jinja"), *folder.glob("additional_chat_templates/*.jinja")]):
        _refuse_in_template(path.name, _text(path), path)


def _folder(source: str) -> Path | None:
    if Path(source).is_dir():
        return Path(source)
    try:
        found = try_to_load_from_cache(source, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _refuse_pickles(folder: Path) -> None:
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled and not any(folder.glob("*.safetensors")):
        raise BundleRefused(
            f"model {folder} has its weights in {pickled[0]}, a pickle, which can run code when it is read, expected "
            "safetensors: convert it where that does no harm (`save_pretrained` writes them), and use the copy",
            "E_ARTIFACT_FORMAT",
        )


def _refuse_in_settings(path: Path) -> None:
    try:
        found = json.loads(_text(path))
    except (ValueError, RecursionError):
        return  # Transformers says which file it cannot read
    for key, value in _entries(found):
        if key in _ASKS_FOR_CODE and value:
            raise _refused(path, f"has `{key}`, which makes Transformers load code that comes with the model")
        if key == "chat_template":
            for name, template in _templates(value):
                _refuse_in_template(name, template, path)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at every depth."""
    if isinstance(value, dict):
        yield from value.items()
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _entries(inner)


def _templates(value: Any) -> Iterator[tuple[str, str]]:
    """One template, or several with names: older models have them as a list, newer ones as an object."""
    if isinstance(value, str):
        yield "chat_template", value
    elif isinstance(value, dict):
        yield from ((str(name), text) for name, text in value.items() if isinstance(text, str))
    elif isinstance(value, list):
        yield from ((str(one.get("name")), str(one.get("template"))) for one in value if isinstance(one, dict))


def _refuse_in_template(name: str, template: str, path: Path) -> None:
    """Transformers renders in Jinja's sandbox, which stops these too; nothing honest needs them."""
    for reached in _reached_for(template):
        raise _refused(path, f"has a template, {name[:60]!a}, that reaches for {reached[:40]!a}")


def _reached_for(template: str) -> Iterator[str]:
    """Other templates, and names with two underscores: as an attribute, or as a text that asks for one."""
    try:
        tree = ImmutableSandboxedEnvironment(extensions=[loopcontrols]).parse(template)
    except (TemplateError, RecursionError):
        # Another dialect, such as that of training: then whatever looks like it counts.
        yield from _LOOKS_LIKE_IT.findall(template)
        return
    yield from (type(node).__name__.lower() for node in tree.find_all(_TAGS))
    # The sandbox stops a range at 100,000, and counts each by itself: two inside one another take an hour.
    yield from (
        "range in range" for loop in tree.find_all(nodes.For) if _counts(loop) and any(map(_counts, _inner(loop)))
    )
    yield from (name for text in _names_in(tree) for name in _INSIDE.findall(text))


def _inner(loop: nodes.For) -> Iterator[nodes.For]:
    for node in loop.body:
        yield from [node] if isinstance(node, nodes.For) else []
        yield from node.find_all(nodes.For)


def _counts(loop: nodes.For) -> bool:
    return any(
        isinstance(name, nodes.Name) and name.name == "range" for name in [loop.iter, *loop.iter.find_all(nodes.Name)]
    )


def _names_in(tree: nodes.Template) -> Iterator[str]:
    yield from (node.attr for node in tree.find_all(nodes.Getattr))
    yield from (node.name for node in tree.find_all(nodes.Name))
    yield from (node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str))


def _text(path: Path) -> str:
    try:
        return read_plain_file(path, _MOST_BYTES, follow=True).decode("utf-8", "replace")
    except KeyError:
        raise UserMistake(f"{path} leads nowhere: fetch the model again") from None


def _refused(path: Path, what: str) -> UserMistake:
    return UserMistake(
        f"model file {path} {what}: no code of a model is ever run, choose a model that needs none, or remove it "
        "from a copy that you have read",
        CODE,
    )
