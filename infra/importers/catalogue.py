"""Every importer: its reader, what the set is, its licence as published, and what the user must obtain."""

from collections.abc import Mapping
from dataclasses import dataclass

from autosteer_core.errors import UserMistake
from infra.importers.contrast import contrast
from infra.importers.figstep import figstep
from infra.importers.harmbench import harmbench
from infra.importers.mm_safetybench import mm_safetybench
from infra.importers.mm_vet import mm_vet
from infra.importers.mmmu import mmmu
from infra.importers.realworldqa import realworldqa
from infra.importers.row import Reader
from infra.importers.text_sets import (
    any_table,
    category_tree,
    conversations,
    json_texts,
    named_list,
    table,
    tasks_with_input,
    text_lines,
)
from infra.importers.tovilag import tovilag
from infra.importers.vlguard import vlguard
from infra.importers.vlsafe import vlsafe, vlsafe_pairs
from infra.importers.xstest import xstest

GITHUB, HUB = "https://github.com/", "https://huggingface.co/datasets/"
UNSTATED = "none stated: treat as research use only"
YOURS = "your own"
TEXT_ONLY = "text only: the suite names no folder of its pictures (`images`)"


@dataclass(frozen=True, slots=True)
class Importer:
    """`obtain` says what `path` must be; licences are as the publisher states them, and theirs to change.

    `without_images` is what a report says where a set that is of use without its pictures got none.
    """

    read: Reader
    title: str
    licence: str
    homepage: str
    obtain: str
    without_images: str = ""


IMPORTERS: Mapping[str, Importer] = {
    # Picture sets
    "vlsafe": Importer(
        vlsafe, "VLSafe: harmful texts beside ordinary COCO pictures", "MIT (as carried by AutoSteer); COCO's own",
        GITHUB + "zjunlp/AutoSteer", "dataset/VLSafe/*.jsonl; `images`: COCO train2017, or none for text only",
        TEXT_ONLY,
    ),
    "vlsafe-pairs": Importer(
        vlsafe_pairs, "VLSafe training queries with their safe rewrites (twins)", "MIT; COCO's own",
        GITHUB + "zjunlp/AutoSteer", "dataset/VLSafe/train/vlsafe_convert_safe.jsonl; `images` as for vlsafe",
        TEXT_ONLY,
    ),
    "tovilag": Importer(
        tovilag, "ToViLaG+: toxic text, toxic picture, or both", "MIT (texts); pictures by agreement only",
        GITHUB + "zjunlp/AutoSteer",
        "dataset/ToViLaG/*.jsonl; pictures: COCO 2014, and on request from ToViLaG's authors",
    ),
    "mm-safetybench": Importer(
        mm_safetybench, "MM-SafetyBench: questions with SD, SD_TYPO and TYPO pictures", "CC BY-NC 4.0",
        GITHUB + "isXinLiu/MM-SafetyBench", "folder with processed_questions/ and imgs/SCENARIO/VARIANT/",
    ),
    "figstep": Importer(
        figstep, "FigStep: forbidden instructions as typographic pictures", "MIT",
        GITHUB + "ThuCCSLab/FigStep", "data/ with question/safebench.csv and images/SafeBench/",
    ),
    "vlguard": Importer(
        vlguard, "VLGuard: instructions beside safe and unsafe pictures", "see the homepage; access is granted there",
        HUB + "ys-zong/VLGuard", "train.json or test.json, pictures unpacked beside it in train/ or test/",
    ),
    "mmmu": Importer(
        mmmu, "MMMU: college questions about pictures (accuracy)", "Apache-2.0",
        HUB + "MMMU/MMMU", "the repository's folder, or some of its Parquet files",
    ),
    "realworldqa": Importer(
        realworldqa, "RealWorldQA: questions about photographs (accuracy)", "CC BY-ND 4.0",
        HUB + "xai-org/RealworldQA", "its Parquet files: one, or their folder",
    ),
    "mm-vet": Importer(
        mm_vet, "MM-Vet: open questions about pictures (accuracy)", "see the homepage",
        GITHUB + "yuweihao/MM-Vet", "mm-vet.zip unpacked: mm-vet.json and images/",
    ),
    # Text sets
    "xstest": Importer(
        xstest, "XSTest: safe prompts that look unsafe, with unsafe contrasts", "CC BY 4.0",
        GITHUB + "paul-rottger/xstest", "xstest_prompts.csv or xstest_v2_prompts.csv",
    ),
    "oktest": Importer(
        table(), "OKTest: safe prompts with harmful words", UNSTATED,
        GITHUB + "InvokerStark/OverKill", "data/OKTest.csv",
    ),
    "jailbreakbench": Importer(
        table("Goal", "Index", "Index", {"category": "Category"}),
        "JailbreakBench: harmful behaviours, and their benign twins", "MIT",
        HUB + "JailbreakBench/JBB-Behaviors", "data/harmful-behaviors.csv or data/benign-behaviors.csv",
    ),
    "advbench": Importer(
        table("goal"), "AdvBench: harmful behaviours", "MIT",
        GITHUB + "llm-attacks/llm-attacks", "data/advbench/harmful_behaviors.csv",
    ),
    "harmbench": Importer(
        harmbench, "HarmBench: standard and contextual behaviours, without copyright", "MIT",
        GITHUB + "centerforaisafety/HarmBench", "data/behavior_datasets/harmbench_behaviors_text_*.csv",
    ),
    "strongreject": Importer(
        table("forbidden_prompt", facts={"category": "category", "source": "source"}),
        "StrongREJECT: forbidden prompts", "MIT",
        GITHUB + "alexandrasouly/strongreject", "strongreject_dataset/strongreject_dataset.csv",
    ),
    "malicious-instruct": Importer(
        text_lines, "MaliciousInstruct: harmful questions", UNSTATED,
        GITHUB + "Princeton-SysML/Jailbreak_LLM", "data/MaliciousInstruct.txt",
    ),
    "tdc2023": Importer(
        json_texts, "Trojan Detection Challenge 2023: harmful behaviours", "MIT",
        GITHUB + "centerforaisafety/tdc2023-starter-kit", "red_teaming/data/dev/behaviors.json",
    ),
    "catqa": Importer(
        category_tree, "CatQA: harmful questions by category", "Apache-2.0",
        GITHUB + "declare-lab/red-instruct", "harmful_questions/catqa_english.json",
    ),
    "dangerousqa": Importer(
        json_texts, "DangerousQA: harmful questions", "Apache-2.0",
        GITHUB + "declare-lab/red-instruct", "harmful_questions/dangerousqa.json",
    ),
    "trustllm": Importer(
        conversations, "TrustLLM misuse or exaggerated safety, as SafeSwitch splits them", "MIT (TrustLLM)",
        GITHUB + "Hanpx20/SafeSwitch", "datasets/trustllm-*.jsonl",
    ),
    "coconot": Importer(
        table("prompt", "id", facts={"category": "category", "subcategory": "subcategory"}),
        "CoCoNot preferences: requests that should be answered", "ODC-BY",
        HUB + "allenai/coconot", "coconot_pref.json, a list of objects with category, subcategory and prompt",
    ),
    "safety-tuned-llamas": Importer(
        named_list("instructions"), "Safety-Tuned LLaMAs: I-* and Q-Harm instruction lists", "see the homepage",
        GITHUB + "vinid/safety-tuned-llamas", "data/evaluation/I-*.json or Q-Harm.json",
    ),
    "alphasteer": Importer(
        table("query"), "AlphaSteer: benign or jailbreak queries", "Apache-2.0",
        GITHUB + "AlphaLab-USTC/AlphaSteer", "data/instructions/train_val/*_train.json",
    ),
    "refusal-direction": Importer(
        table("instruction", facts={"category": "category"}),
        "Refusal Direction splits; harmless is Alpaca without inputs", "Apache-2.0; Alpaca CC BY-NC 4.0",
        GITHUB + "andyrdt/refusal_direction", "dataset/splits/harm*_*.json",
    ),
    "seed-tasks": Importer(
        tasks_with_input, "Alpaca's seed tasks: ordinary instructions", "Apache-2.0",
        GITHUB + "tatsu-lab/stanford_alpaca", "seed_tasks.jsonl",
    ),
    "figstep-questions": Importer(
        table("question"), "FigStep's questions as text: SafeBench, or HiddenDetect's benign ones", "MIT",
        GITHUB + "ThuCCSLab/FigStep", "data/question/safebench.csv, or a csv with a column question",
    ),
    # Ours
    "contrast": Importer(
        contrast, "alarming but harmless requests with harmful twins, written for this project", "Apache-2.0",
        "", "nothing: `path` is shipped:contrast/NAME.jsonl",
    ),
    # Anything else
    "table": Importer(
        any_table,
        "any CSV, JSONL, JSON list of objects or Parquet; `columns` names text, id, label, pair, answer, image",
        YOURS, "", "a file with a column of texts",
    ),
    "lines": Importer(text_lines, "any text file, one item per line", YOURS, "", "a text file"),
    "json-texts": Importer(json_texts, "any JSON list of texts", YOURS, "", "a JSON file"),
}  # fmt: skip


def importer_named(name: str) -> Importer:
    """UserMistake listing the importers if there is none of that name."""
    if name not in IMPORTERS:
        raise UserMistake(f"there is no importer {name}: expected one of {', '.join(sorted(IMPORTERS))}")
    return IMPORTERS[name]
