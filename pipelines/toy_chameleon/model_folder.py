"""The toy model as a folder in the user's cache, trained on first use; its name carries a hash of its recipe."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from autosteer_core.refusals import REFUSALS
from pipelines.demo.model import default_cache
from pipelines.toy_chameleon.training import Recipe, Say, train

_MADE_FROM = ("things", "drawing", "corpus", "tokens", "picture_tokens", "examples", "training")


def toy_model_folder(cache: Path | None, say: Say, recipe: Recipe | None = None) -> Path:
    """Read by `from_pretrained` as any Chameleon is; another recipe makes another folder."""
    recipe, root = recipe or Recipe(), cache or default_cache()
    folder = root / f"toy-chameleon-{_recipe_hash(recipe)}"
    if not folder.exists():
        root.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix="toy-chameleon-draft-", dir=root))
        try:
            _write(draft, recipe, say)
            if not folder.exists():
                draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def _write(folder: Path, recipe: Recipe, say: Say) -> None:
    model, processor = train(recipe, say)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _recipe_hash(recipe: Recipe) -> str:
    """Changes with the recipe, the code that trains, and the refusals that the model learns to finish."""
    digest = hashlib.sha256(repr((recipe, REFUSALS)).encode())
    for name in _MADE_FROM:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]
