"""The toy model's tokenizer and processor: byte-level pieces, and Chameleon's control and image tokens."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import ChameleonProcessor, PreTrainedTokenizerFast
from transformers.models.chameleon.image_processing_pil_chameleon import ChameleonImageProcessorPil

from pipelines.toy_chameleon.drawing import SIDE

BOS, PAD, EOS, IMAGE, BOI, EOI, SEP = (
    "<s>", "<pad>", "</s>", "<image>", "<racm3:break>", "<eoss>", "<reserved08706>",
)  # fmt: skip
CONTROL = [BOS, PAD, EOS, IMAGE, BOI, EOI, SEP]
CODES = 256
PICTURE_TOKENS = 16
_VOCABULARY = 1200


def image_token(code: int) -> str:
    """A code's name in Chameleon's vocabulary: digits spelled A to J between IMGIMG and Z."""
    return "IMGIMG" + "".join(chr(ord("A") + int(digit)) for digit in str(code)) + "Z"


def build_processor(texts: Iterable[str]) -> ChameleonProcessor:
    """Pieces learned from the training texts; every other text still splits into bytes."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    specials = CONTROL + [image_token(code) for code in range(CODES)]
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator(texts, trainer)
    bos = (BOS, backend.token_to_id(BOS))
    backend.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[bos])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=BOS, eos_token=EOS, pad_token=PAD, sep_token=SEP, padding_side="left"
    )
    side = {"height": SIDE, "width": SIDE}
    images = ChameleonImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=side)
    return ChameleonProcessor(images, tokenizer, image_seq_length=PICTURE_TOKENS)
