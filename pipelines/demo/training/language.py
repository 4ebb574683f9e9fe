"""Teaches the tower's memory and the projector to speak to the frozen language model."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.demo.model import IMAGE_TOKEN_ID, language_model_file, save_processor
from pipelines.demo.training.memory import Memory, drift, warm_start
from pipelines.demo.training.sayings import NAME_PROMPTS, READ_PROMPTS, TWINS, Entry, entries
from pipelines.demo.training.teacher import Teacher, slot_texts

HIDDEN = 256
TAIL = 5
ANCHORED = 5.0
ROWS, NAMED_ROWS = 20, 12


def blurred_values(memory: Memory, rows: list[int], dice: random.Random) -> Tensor:
    """Values as an unsure tower would give them: now and then with a share of another entry."""
    other = torch.tensor([dice.randrange(len(memory.index)) for _ in rows])
    share = torch.tensor([dice.uniform(0, 0.3) if dice.random() < 0.5 else 0.0 for _ in rows])[:, None, None]
    own, strange = memory.table[memory.index[rows]], memory.table[memory.index[other]].detach()
    return own * (1 - share) + strange * share


def padded(teacher: Teacher, sequences: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Right-padded ids and their embeddings; causal attention never looks at the padding."""
    longest = max(map(len, sequences))
    ids = torch.tensor(
        [sequence + [teacher.tokenizer.eos_token_id] * (longest - len(sequence)) for sequence in sequences]
    )
    return ids, F.embedding(ids, teacher.table)


def with_pictures(embedded: Tensor, ids: Tensor, pictures: Tensor) -> Tensor:
    """The placeholders replaced, as the full model does."""
    mask = (ids == IMAGE_TOKEN_ID)[..., None].expand_as(embedded)
    return embedded.masked_scatter(mask, pictures)


def naming_loss(
    teacher: Teacher, memory: Memory, things: list[Entry], rows: list[int], dice: random.Random
) -> Tensor:
    """Cross-entropy of the wanted answer."""
    prompts, answers = [], []
    for row in rows:
        reads = dice.random() < (0.6 if things[row].is_word else 0.15)
        prompt = dice.choice(READ_PROMPTS if reads else NAME_PROMPTS)
        prompts.append(teacher.turn(prompt, pictured=True))
        answers.append([*teacher.ids(things[row].answer(reads=reads)), teacher.tokenizer.eos_token_id])
    ids, embedded = padded(teacher, [p + a for p, a in zip(prompts, answers, strict=True)])
    pictures = memory.picture(blurred_values(memory, rows, dice), blurred_values(memory, rows, dice))
    hidden = teacher.run(with_pictures(embedded, ids, pictures)).last_hidden_state
    wanted = [
        (i, len(p) - 1 + k, token)
        for i, (p, a) in enumerate(zip(prompts, answers, strict=True))
        for k, token in enumerate(a)
    ]
    batch, place, token = (torch.tensor(column) for column in zip(*wanted, strict=True))
    return F.cross_entropy(teacher.logits(hidden[batch, place]), token)


def twin_loss(teacher: Teacher, memory: Memory, things: list[Entry], rows: list[int], dice: random.Random) -> Tensor:
    """The end of the prompt must look, at every layer, as if the noun had been written."""
    pairs = [dice.choice(TWINS) for _ in rows]
    seen = [teacher.turn(pictured, pictured=True) for pictured, _ in pairs]
    told = [
        teacher.turn(text.format(thing=things[r].thing), pictured=False)
        for r, (_, text) in zip(rows, pairs, strict=True)
    ]
    with torch.no_grad():
        _, embedded = padded(teacher, told)
        goal = _tails(teacher.run(embedded).hidden_states, told)
    ids, embedded = padded(teacher, seen)
    pictures = memory.picture(blurred_values(memory, rows, dice), blurred_values(memory, rows, dice))
    got = _tails(teacher.run(with_pictures(embedded, ids, pictures)).hidden_states, seen)
    layers = ((_scaled(got) - _scaled(goal)) ** 2).mean()
    log_goal = teacher.logits(goal[-1][:, -1]).log_softmax(-1)
    log_got = teacher.logits(got[-1][:, -1]).log_softmax(-1)
    return layers + 0.5 * F.kl_div(log_got, log_goal, log_target=True, reduction="batchmean")


def _tails(hidden_states: tuple[Tensor, ...], sequences: list[list[int]]) -> Tensor:
    """(layer, row, last tokens, width)."""
    places = torch.tensor([[len(s) - TAIL + k for k in range(TAIL)] for s in sequences])
    rows = torch.arange(len(sequences))[:, None]
    return torch.stack([hidden[rows, places] for hidden in hidden_states])


def _scaled(hidden: Tensor) -> Tensor:
    """Root mean square one, as the next layer sees it."""
    return hidden * hidden.pow(2).mean(-1, keepdim=True).clamp(min=1e-6).rsqrt()


def train(teacher: Teacher, memory: Memory, anchors: Tensor, minutes: float, out: Path, *, seed: int = 0) -> None:
    """Alternate the two losses; entries in shuffled rounds so that each is seen equally often."""
    dice, things = random.Random(seed), entries()
    shared = [*memory.linear_1.parameters(), *memory.linear_2.parameters()]
    groups = [
        {"params": [memory.table], "lr": 8e-3},
        {"params": shared, "lr": 2e-4},
        {"params": [memory.newline], "lr": 3e-3},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    tops = [group["lr"] for group in optimizer.param_groups]
    queue: list[int] = []
    began, step = time.monotonic(), 0
    while (share := (time.monotonic() - began) / (minutes * 60)) < 1:
        if len(queue) < ROWS:
            # Concepts three times as often: they are fewer and matter as much.
            fresh = [i for i, e in enumerate(things) for _ in range(1 if e.is_word else 3)]
            dice.shuffle(fresh)
            queue = fresh + queue
        rows = [queue.pop() for _ in range(ROWS)]
        for group, top in zip(optimizer.param_groups, tops, strict=True):
            group["lr"] = top * min(1.0, (step + 1) / 10) * max(0.03, 1 - share)
        named = naming_loss(teacher, memory, things, rows[:NAMED_ROWS], dice)
        named.backward()
        twin = twin_loss(teacher, memory, things, rows[NAMED_ROWS:], dice)
        (twin + ANCHORED * drift(memory, anchors)).backward()
        nn.utils.clip_grad_norm_(shared, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % 5 == 0:
            moved = drift(memory, anchors).item()
            print(f"{step} {share:.2f} naming {named:.3f} twin {twin:.3f} drift {moved:.4f}", flush=True)
        if step % 15 == 0:
            _save(memory, out)
    _save(memory, out)


def _save(memory: Memory, out: Path) -> None:
    """The trained state, and beside it the values per entry that the tower takes over."""
    values = memory.values().detach().contiguous()
    save_file(memory.state_dict() | {"values": values}, out)


def train_from_scratch(minutes: float, out: Path, seed: int = 0) -> None:
    """Warm start, then the language-model losses."""
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        save_processor(Path(folder))
        tokenizer = AutoTokenizer.from_pretrained(folder)
    file = language_model_file()
    language = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    teacher, things = Teacher(language, tokenizer), entries()
    index, tokens, names = slot_texts(teacher, things)
    memory = Memory(index, HIDDEN, language.config.hidden_size)
    warm_start(memory, teacher.table[tokens])
    train(teacher, memory, teacher.table[tokens[-names:]], minutes, out, seed=seed)
