"""The training commands, in the order in which they are run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.demo.training import choose, evaluate, export, language, objects, pictures, styles, words

app = typer.Typer(no_args_is_help=True, add_completion=False)
Scratch = Annotated[Path, typer.Option(help="Downloads and intermediate weights.")]
Minutes = Annotated[float, typer.Option(help="Length of the run; learning rates follow it.")]
HERE = Path("demo-training")


@app.command("choose")
def list_concepts(scratch: Scratch = HERE) -> None:
    """Print the names that the rule keeps; concepts.json holds them with their articles."""
    print("\n".join(candidate.name for candidate in choose.chosen(scratch)))


@app.command("pictures")
def write_pictures(scratch: Scratch = HERE) -> None:
    """Fetch the drawings and fonts, and write the small ones that the demo carries."""
    pictures.write_pictures(scratch)
    pictures.write_fonts(scratch)


@app.command("objects")
def train_objects(
    scratch: Scratch = HERE,
    minutes: Minutes = 10,
    seed: int = 0,
    resume: Annotated[bool, typer.Option()] = False,
) -> None:
    """Fine-tune the trunk on the training styles."""
    scratch.mkdir(parents=True, exist_ok=True)
    objects.train(scratch, minutes, scratch / "objects.safetensors", seed=seed, resume=resume)


@app.command("words")
def train_words(scratch: Scratch = HERE, minutes: Minutes = 6) -> None:
    """Train the word reader on the training fonts."""
    words.train(scratch, minutes, scratch / "reader.safetensors")


@app.command("language")
def train_language(scratch: Scratch = HERE, minutes: Minutes = 19) -> None:
    """Teach memory and projector to speak to the frozen language model."""
    language.train_from_scratch(minutes, scratch / "memory.safetensors")


@app.command("export")
def write_weights(scratch: Scratch = HERE) -> None:
    """Join the three parts into pipelines/demo/weights."""
    parts = [scratch / f"{name}.safetensors" for name in ("objects", "reader", "memory")]
    export.export(parts[0], parts[1], parts[2], scratch)


@app.command("evaluate")
def measure(scratch: Scratch = HERE, held_out: Annotated[bool, typer.Option("--held-out")] = False) -> None:
    """Measure naming and reading; the held-out styles only when asked, so that nobody tunes on them."""
    chosen = styles.HELD_OUT + styles.TRAINING if held_out else styles.TRAINING
    evaluate.measure(scratch, scratch / "measured.json", chosen)


if __name__ == "__main__":
    app()
