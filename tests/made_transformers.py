"""Networks of texts as they lie on a disk, made here: a tokenizer and drawn weights, in no time."""

import json
from pathlib import Path

import torch

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["a", "the", "film", "plot", "is", "was", "not", "so", "good", "bad", "fine", "dull"]
WORDS += ["very", ",", ".", "un", "##fine", "##ly"]


def make_tokenizer(folder: Path, words: list[str] = WORDS) -> Path:
    """Writes a tokenizer.json like MiniLM's, which pads to 128 tokens; returns the folder."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: token for token, word in enumerate([*MARKS, *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.enable_padding(length=128)
    tokenizer.enable_truncation(128)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def make_vocabulary(folder: Path, words: list[str] = WORDS) -> Path:
    """Writes the same tokenizer as BERT's code has it: a vocab.txt; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join([*MARKS, *words]) + "\n")
    return folder


def make_pretrained(folder: Path, kind: str = "bert", classes: int | None = None) -> Path:
    """Writes a network of four layers with its tokenizer; returns the folder.

    Args:
        folder: where.
        kind: `bert`, `distilbert` or `roberta`.
        classes: with a classifier for so many; None: without one.
    """
    import transformers as library

    vocabulary = len(MARKS) + len(WORDS)
    size = {"vocab_size": vocabulary, "pad_token_id": 0, "num_labels": classes or 2}
    if kind == "distilbert":
        config = library.DistilBertConfig(dim=16, hidden_dim=32, n_layers=4, n_heads=2, **size)
    else:
        named = {"bert": library.BertConfig, "roberta": library.RobertaConfig}[kind]
        config = named(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=4,
            num_attention_heads=2,
            **size,
        )
    made = library.AutoModel if classes is None else library.AutoModelForSequenceClassification
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        made.from_config(config).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == kind
    return make_tokenizer(folder)
