"""Kinds 64 to 77: bundles and model folders that must not be loaded, from a folder, by the keys of the settings."""

import json
import os
import socket
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import torch

from autosteer_core.bundle_names import CARD, SIGNATURE, WEIGHTS
from autosteer_core.bundle_reading import admit, from_files
from autosteer_core.fingerprint import fingerprint
from autosteer_core.values import Fingerprint
from pipelines.bundle_files import load_bundle, read_files
from pipelines.load_model import load_model
from pipelines.settings import load_settings
from tests.bundle_bytes import TRUST, Files, card_with, signed, weights_with
from tests.security.bad_bundles import EPOCH, Bad, bad_bundles, good
from tests.security.case import Case, Level, Outcome, refused
from tests.tiny_model import TEMPLATE, processor, tiny_llava_onevision

_MOST_OF_A_KIND = 6
_CONFIG, _TOKENIZER = "config.json", "tokenizer_config.json"
_MARK = "open('MARKER', 'w')"


def _written(folder: Path, files: Files) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def _load(folder: Path) -> Outcome:
    settings = load_settings(trusted_keys=TRUST.keys, least_epoch=EPOCH)
    return refused(lambda: load_bundle(str(folder), settings), Level.START)


def _bytes(files: Files) -> Callable[[Path, Random], Path]:
    return lambda folder, random: _written(folder, files)


def _few_of_each(found: list[Bad]) -> list[Bad]:
    """The corpus stays small; test_bad_bundles.py has them all."""
    places = Counter[int]()
    few = []
    for bad in found:
        places[bad.number] += 1
        if places[bad.number] <= _MOST_OF_A_KIND:
            few.append(bad)
    return few


# Kind 71: the bundle is sound, and the model is another one.


@cache
def _changed(what: str) -> Fingerprint:
    backbone = tiny_llava_onevision(1 if what == "weights" else 0)
    model, whole = backbone.model, processor()
    if what == "dtype":
        model = model.to(torch.bfloat16)
    if what == "template":
        whole.chat_template = TEMPLATE.replace("assistant", "assistent")
    if what == "tokenizer":
        # The tokenizer is shared with other tests.
        whole.tokenizer = _with_another_word(whole.tokenizer)
    if what == "picture sizes":
        whole.image_processor.size = {"height": 14, "width": 14}
    return fingerprint(model, whole)


def _with_another_word(tokenizer: Any) -> Any:
    """Read again from files in which one special token has another name."""
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for name in ("tokenizer.json", _TOKENIZER):
            file = Path(folder, name)
            file.write_text(file.read_text().replace('"<video>"', '"<film>"'))
        return type(tokenizer).from_pretrained(folder)


def _for_this_model(folder: Path, random: Random) -> Path:
    mark = fingerprint(tiny_llava_onevision().model, processor())
    return _written(folder, signed(card_with(good(), fingerprint=mark), epoch=EPOCH))


def _require(what: str, folder: Path) -> Outcome:
    settings = load_settings(trusted_keys=TRUST.keys, least_epoch=EPOCH)
    bundle = load_bundle(str(folder), settings)
    bundle.require(fingerprint(tiny_llava_onevision().model, processor()))
    outcome = refused(lambda: bundle.require(_changed(what)), Level.START)
    both = bundle.fingerprint[:12] in outcome.said and _changed(what)[:12] in outcome.said
    return outcome if both else Outcome(outcome.level, outcome.code, outcome.said.replace("fitted on", "?"))


# Kind 75: what stands where a file should.


def _instead(name: str, put: Callable[[Path], object]) -> Callable[[Path, Random], Path]:
    def make(folder: Path, random: Random) -> Path:
        _written(folder, good())
        (folder / name).unlink()
        put(folder / name)
        return folder

    return make


def _socket(path: Path) -> None:
    """The address of a socket is short, the folder's may be long: so it is made from inside."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _link_to_the_real_one(path: Path) -> None:
    real = path.with_name("elsewhere")
    real.write_bytes(good()[path.name])
    path.symlink_to(real)


# Kind 76: the file changes after it was read.


def _exchange(folder: Path) -> Outcome:
    files = read_files(str(folder))
    weights = from_files(good()).probe.outer_weight
    _written(folder, weights_with(good(), {"probe.outer_weight": -weights}))
    served = admit(files, TRUST).bundle
    return Outcome(Level.FINE if torch.equal(served.probe.outer_weight, weights) else Level.RUN, said="served")


# Kind 77: model folders that bring code.


def _model(**files: Any) -> Callable[[Path, Random], Path]:
    """Names have `__` for a dot; each file that is no text is written as JSON."""

    def make(folder: Path, random: Random) -> Path:
        written = {"config.json": {"model_type": "llama"}} | {
            name.replace("__", "."): value for name, value in files.items()
        }
        for name, value in written.items():
            (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))
        return folder

    return make


def _pickled(folder: Path, random: Random) -> Path:
    torch.save({"weight": torch.ones(1)}, folder / "pytorch_model.bin")
    return _model()(folder, random)


def _load_model(folder: Path) -> Outcome:
    outcome = refused(lambda: load_model(str(folder), load_settings()), Level.START)
    ran = (folder / "MARKER").exists() or Path("MARKER").exists()
    return Outcome(Level.FINE, said="code of the model ran") if ran else outcome


_AUTO = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
_EVIL = f"{_MARK}\n"
_CLASS = "{{ ''.__class__.__mro__[1].__subclasses__() }}"

_COUNTS = "{% for a in range(99999) %}{% if a %}{% for b in range(99999) %}{% endfor %}{% endif %}{% endfor %}"

_path = partial(Case, 75, level=Level.START, code="E_PATH")
_code = partial(Case, 77, feed=_load_model, level=Level.START, code="E_REMOTE_CODE")

CASES = [
    *(
        Case(bad.number, bad.name.replace(" ", "-"), _bytes(bad.files), _load, Level.START, bad.code, bad.place)
        for bad in _few_of_each(bad_bundles())
    ),
    *(
        Case(71, f"other-{what.replace(' ', '-')}", _for_this_model, partial(_require, what), Level.START,
             "E_ARTIFACT_BASE", "fitted on")
        for what in ("weights", "dtype", "template", "tokenizer", "picture sizes")
    ),
    _path("link-to-weights", _instead(WEIGHTS, _link_to_the_real_one), _load, place=WEIGHTS),
    _path("link-to-card", _instead(CARD, _link_to_the_real_one), _load, place=CARD),
    _path("link-to-nothing", _instead(CARD, lambda path: path.symlink_to("nowhere")), _load, place=CARD),
    _path("link-to-a-device", _instead(WEIGHTS, lambda path: path.symlink_to("/dev/zero")), _load, place=WEIGHTS),
    _path("pipe", _instead(WEIGHTS, os.mkfifo), _load, place="is a pipe"),
    _path("pipe-for-a-signature", _instead(SIGNATURE, os.mkfifo), _load, place="is a pipe"),
    _path("folder", _instead(WEIGHTS, os.mkdir), _load, place="is a folder"),
    _path("socket", _instead(WEIGHTS, _socket), _load, place=WEIGHTS),
    Case(76, "exchanged-after-reading", _bytes(good()), _exchange, Level.FINE),
    _code("auto-map", _model(config__json={"model_type": "evil", "auto_map": _AUTO}, evil__py=_EVIL),
          place="auto_map"),
    _code("auto-map-of-known", _model(config__json={"model_type": "llama", "auto_map": _AUTO}, evil__py=_EVIL),
          place=_CONFIG),
    _code("auto-map-inside", _model(config__json={"model_type": "llava", "text_config": {"auto_map": _AUTO}}),
          place="auto_map"),
    _code("auto-map-elsewhere", _model(config__json={"auto_map": {"AutoModel": "other/repo--evil.M"}}),
          place="auto_map"),
    _code("tokenizer", _model(tokenizer_config__json={"auto_map": {"AutoTokenizer": ["evil.T", None]}}),
          place=_TOKENIZER),
    _code("processor", _model(processor_config__json={"auto_map": {"AutoProcessor": "evil.P"}}, evil__py=_EVIL),
          place="processor_config.json"),
    _code("image-processor", _model(preprocessor_config__json={"auto_map": {"AutoImageProcessor": "evil.P"}}),
          place="preprocessor_config.json"),
    _code("flag", _model(config__json={"model_type": "llama", "trust_remote_code": True}), place="trust_remote_code"),
    _code("flag-for-generation", _model(generation_config__json={"trust_remote_code": True}),
          place="generation_config.json"),
    _code("own-decoding", _model(generation_config__json={"custom_generate": "other/repo"}), place="custom_generate"),
    _code("own-pipeline", _model(config__json={"model_type": "llama", "custom_pipelines": {"a": {"impl": "evil.P"}}}),
          place="custom_pipelines"),
    _code("template-class", _model(chat_template__jinja=_CLASS), place="__subclasses__"),
    _code("template-in-tokenizer", _model(tokenizer_config__json={"chat_template": _CLASS}), place=_TOKENIZER),
    _code("template-by-name", _model(tokenizer_config__json={"chat_template": [{"name": "a", "template": _CLASS}]}),
          place="__subclasses__"),
    _code("template-in-json", _model(chat_template__json={"chat_template": _CLASS}), place="chat_template.json"),
    _code("template-by-filter", _model(chat_template__jinja="{{ messages|attr('__class__') }}"), place="__class__"),
    _code("template-by-key", _model(chat_template__jinja="{{ messages['__class__'] }}"), place="__class__"),
    _code("template-of-globals", _model(chat_template__jinja="{{ cycler.__globals__ }}"), place="__globals__"),
    _code("template-that-imports", _model(chat_template__jinja="{% import 'os' as os %}"), place="import"),
    _code("template-that-includes", _model(chat_template__jinja="{% include '/etc/passwd' %}"), place="include"),
    _code("template-that-extends", _model(chat_template__jinja="{% extends 'a' %}"), place="extends"),
    _code("template-that-counts-for-ever", _model(chat_template__jinja=_COUNTS), place="range in range"),
    _code("template-of-training", _model(chat_template__jinja="{% generation %}" + _CLASS), place="__class__"),
    Case(66, "model-of-pickles", _pickled, _load_model, Level.START, "E_ARTIFACT_FORMAT", "pytorch_model.bin"),
    Case(75, "pipe-in-a-model", lambda folder, random: (os.mkfifo(folder / "config.json"), folder)[1], _load_model,
         Level.START, "E_PATH", "config.json"),
]  # fmt: skip
