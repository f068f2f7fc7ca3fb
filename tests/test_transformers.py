"""Networks of texts by transformers: tokens, layers, heads, bits, identities, refusals, runs."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_texts import WORDS as REVIEW_WORDS
from made_texts import make_reviews
from made_transformers import WORDS, make_pretrained, make_tokenizer, make_vocabulary
from torch import Tensor, nn

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.encoding import Encoder
from kdlsr.config.inputs import ImageSpec, TextSpec
from kdlsr.config.schema import read_config
from kdlsr.machine import device
from kdlsr.models import (
    build_model,
    check_builds,
    encoder_of,
    identity_of_options,
    library_versions,
    models,
)
from kdlsr.runs.execute import checkpoint_of, complete_run, store_of
from kdlsr.runs.identity import compare
from kdlsr.runs.plan import Run, identity_of, plan_run
from kdlsr.runs.session import Session
from kdlsr.teachers.weights import load_weights

Planned = Callable[..., Run]
SPEC = TextSpec(parts=1, length=64)
SENTENCES = [("the film is good",), ("unfinely dull , so dull .",), ("A Zebra",)]
PAIRS = [("the film is very , very good", "fine"), ("a", "the plot was not so bad")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained BERT of four layers without a classifier."""
    return make_pretrained(tmp_path_factory.mktemp("hub") / "bert")


def hf(path: Path, classes: int = 2, spec: TextSpec = SPEC, **options: Any) -> nn.Module:
    return build_model("hf", {"path": str(path), **options}, spec=spec, num_classes=classes)


def tokenizer_of(name: str, **options: Any) -> Encoder:
    found = encoder_of(name, {key: str(value) for key, value in options.items()})
    assert found is not None
    return found


def refusal(name: str, options: Mapping[str, Any], spec: TextSpec = SPEC) -> str:
    """What a plan says of a network, in one line."""
    with pytest.raises(UserError) as caught:
        _plan(name, options, spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _plan(name: str, options: Mapping[str, Any], spec: TextSpec) -> None:
    check_builds(name, options, spec=spec, num_classes=2)
    encoder_of(name, options)


def batch(width: int, rows: int = 32) -> dict[str, Tensor]:
    """Texts of 3 to 16 tokens of the made tokenizer, padded to a width."""
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, 17, (rows, 1), generator=draw)
    ids = torch.zeros(rows, width, dtype=torch.int64)
    ids[:, :16] = torch.randint(4, 20, (rows, 16), generator=draw)
    mask = (torch.arange(width) < lengths).long()
    return {
        "input_ids": ids * mask,
        "attention_mask": mask,
        "token_type_ids": torch.zeros_like(ids),
    }


# ---------------------------------------------------------------- tokens


def test_what_a_tokenizers_file_says_of_padding_and_length_is_not_taken_over(folder: Path) -> None:
    tokens = tokenizer_of("hf", path=folder).encode(SENTENCES, 64)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    assert tokens.lengths.tolist() == [6, 10, 4]
    told = [words[i] for i in tokens.ids]
    assert told[:6] == ["[CLS]", "the", "film", "is", "good", "[SEP]"]
    assert told[6:10] == ["[CLS]", "un", "##fine", "##ly"]
    assert told[-4:] == ["[CLS]", "a", "[UNK]", "[SEP]"]


def test_a_pair_loses_the_end_of_its_longer_sentence_and_knows_which_token_is_of_which(
    folder: Path,
) -> None:
    tokens = tokenizer_of("hf", path=folder).encode(PAIRS, 8)
    assert tokens.types is not None
    assert tokens.lengths.tolist() == [8, 8]
    first, second = np.split(tokens.types, [8])
    assert first.tolist() == [0] * 6 + [1] * 2
    assert second.tolist() == [0] * 3 + [1] * 5


def test_a_vocabulary_alone_is_berts_tokenizer(tmp_path: Path) -> None:
    whole = tokenizer_of("tiny_bert", tokenizer=make_tokenizer(tmp_path / "json"))
    bare = tokenizer_of("tiny_bert", tokenizer=make_vocabulary(tmp_path / "txt"))
    for texts in (SENTENCES, PAIRS):
        ours, theirs = bare.encode(texts, 9), whole.encode(texts, 9)
        assert np.array_equal(ours.ids, theirs.ids)
        assert np.array_equal(ours.offsets, theirs.offsets)
        assert ours.types is not None
        assert theirs.types is not None
        assert np.array_equal(ours.types, theirs.types)


def test_a_vocabulary_has_a_token_a_line_whatever_unicode_ends_lines_with(tmp_path: Path) -> None:
    plain = tokenizer_of("tiny_bert", tokenizer=make_vocabulary(tmp_path / "plain"))
    expected = [token + 3 * (token >= 5) for token in plain.encode(SENTENCES, 64).ids.tolist()]
    for ends in ("\n", "\r\n"):
        odd = make_vocabulary(tmp_path / f"odd{len(ends)}", ["\u2028", "b\x85b", "\x0c", *WORDS])
        content = (odd / "vocab.txt").read_bytes()
        (odd / "vocab.txt").write_bytes(content.replace(b"\n", ends.encode()))
        found = tokenizer_of("tiny_bert", tokenizer=odd).encode(SENTENCES, 64)
        assert found.ids.tolist() == expected


def test_encoders_of_one_identity_give_the_same_tokens(tmp_path: Path) -> None:
    one = tokenizer_of("tiny_bert", tokenizer=make_tokenizer(tmp_path / "a"))
    same = tokenizer_of("tiny_bert", tokenizer=make_tokenizer(tmp_path / "b") / "tokenizer.json")
    other = tokenizer_of("tiny_bert", tokenizer=make_tokenizer(tmp_path / "c", WORDS[::-1]))
    assert one.identity == same.identity != other.identity
    assert one.padding == 0


def test_no_more_cores_are_taken_than_torch_has_threads(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    import os

    from kdlsr.models import tokenizing

    seen = []
    fromiter = np.fromiter

    def look(*given: Any) -> Any:
        seen.append(os.environ.get("TOKENIZERS_PARALLELISM"))
        return fromiter(*given)

    monkeypatch.setattr(tokenizing.np, "fromiter", look)
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    encoder = tokenizer_of("hf", path=folder)
    encoder.encode(SENTENCES, 64)
    assert "TOKENIZERS_PARALLELISM" not in os.environ
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    encoder.encode(SENTENCES, 64)
    assert seen == ["false", "false", "true", "true"]


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_the_first_layers_of_a_network_are_those_of_the_whole_to_the_bit(
    tmp_path: Path, kind: str
) -> None:
    from transformers import AutoModelForSequenceClassification

    path = make_pretrained(tmp_path / kind, kind, classes=3)
    ours = hf(path, classes=3, layers=2).eval()
    theirs = AutoModelForSequenceClassification.from_pretrained(path, attn_implementation="eager")
    body = theirs.base_model
    stack = body.transformer if kind == "distilbert" else body.encoder
    stack.layer = stack.layer[:2]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    inputs = batch(16)
    if tokenizer_of("hf", path=path).encode(SENTENCES, 9).types is None:
        del inputs["token_type_ids"]
    with torch.inference_mode():
        assert torch.equal(ours(inputs), theirs.eval()(**inputs).logits)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_padding_moves_no_bits(folder: Path, precision: str) -> None:
    network = hf(folder).eval()
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with torch.inference_mode(), autocast:
        narrow = network(batch(16))
        assert all(torch.equal(narrow, network(batch(width))) for width in (24, 32, 64))


def make_decoder(folder: Path, **tokens: int | None) -> Path:
    """Writes a GPT-2 whose token 0 is a word, as its own is "!"; nothing in it is called [PAD]."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import GPT2Config, GPT2ForSequenceClassification

    words = ["!", "good", "film", "<|endoftext|>"]
    vocabulary = {word: token for token, word in enumerate(words)}
    size = {"vocab_size": 4, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    GPT2ForSequenceClassification(GPT2Config(**size, **tokens)).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=words[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_decoder_without_a_padding_token_reads_each_texts_last_word(tmp_path: Path) -> None:
    path = make_decoder(tmp_path / "gpt2", bos_token_id=3, eos_token_id=3)
    encoder, network = tokenizer_of("hf", path=path), hf(path).eval()
    assert encoder.padding == 3

    def logits(text: str, width: int | None = None) -> Tensor:
        ids = encoder.encode([(text,)], 64).ids.tolist()
        filling = [encoder.padding] * ((width or len(ids)) - len(ids))
        mask = [1] * len(ids) + [0] * len(filling)
        inputs = {"input_ids": [ids + filling], "attention_mask": [mask]}
        with torch.inference_mode():
            found = network({name: torch.tensor(values) for name, values in inputs.items()})
        assert isinstance(found, Tensor)
        return found

    assert torch.allclose(logits("good film !", 8), logits("good film !"), atol=1e-6)
    assert not torch.allclose(logits("good film !", 8), logits("good film", 8), atol=1e-6)


def test_a_decoder_with_nothing_to_pad_by_is_refused(tmp_path: Path) -> None:
    path = make_decoder(tmp_path / "gpt2", bos_token_id=None, eos_token_id=None)
    told = refusal("hf", {"path": str(path)})
    assert told.startswith(f"model.path={path}: no token pads: ")


def test_a_classifier_is_drawn_from_the_seed_unless_the_checkpoint_has_it(tmp_path: Path) -> None:
    path = make_pretrained(tmp_path / "three", classes=3)

    def head(seed: int, classes: int) -> Tensor:
        torch.manual_seed(seed)
        found = hf(path, classes=classes).state_dict()["classifier.weight"]
        assert isinstance(found, Tensor)
        return found

    assert torch.equal(head(0, 2), head(0, 2))
    assert not torch.equal(head(0, 2), head(1, 2))
    assert torch.equal(head(0, 3), head(1, 3))


def test_planning_reads_no_weights_and_loading_says_nothing(
    tmp_path: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hf(folder)
    assert capfd.readouterr() == ("", "")
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"nothing")
    check_builds("hf", {"path": str(broken)}, spec=SPEC, num_classes=2)
    with pytest.raises(UserError, match=r"model\.path=.* cannot be read"):
        hf(broken)


def test_a_network_with_weights_for_half_of_its_body_is_refused(
    tmp_path: Path, folder: Path
) -> None:
    from safetensors.torch import load_file, save_file

    half = shutil.copytree(folder, tmp_path / "half")
    weights = load_file(half / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "layer.3." not in name}
    save_file(kept, half / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"no weights, or others, for bert\.encoder\.layer\.3\."):
        hf(half)
    hf(half, layers=3)


def test_a_checkpoint_of_transformers_is_a_teachers_file_too(tmp_path: Path) -> None:
    path = make_pretrained(tmp_path / "tuned", classes=2)
    torch.manual_seed(0)
    options = {"tokenizer": str(path), "width": 16, "layers": 4}
    network = build_model("tiny_bert", options, spec=SPEC, num_classes=2).eval()
    with pytest.raises(UserError, match=r"intermediate.* in the file"):
        load_weights(network, path / "model.safetensors")  # its inner layers are narrower
    tuned = hf(path).eval()
    other = hf(make_pretrained(tmp_path / "bare")).eval()
    assert load_weights(other, path / "model.safetensors").rule == "names"
    with torch.inference_mode():
        assert torch.equal(tuned(batch(16)), other(batch(16)))


def test_logits_are_evaluated_in_fp32(folder: Path) -> None:
    network = hf(folder).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert network(batch(16)).dtype == torch.float32


def test_the_tiny_one_is_drawn_from_the_seed_and_sized_by_its_tokenizer(folder: Path) -> None:
    def drawn(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        options = {"tokenizer": str(folder), "width": 16}
        return build_model("tiny_bert", options, spec=SPEC, num_classes=3)

    one, same, other = (drawn(seed).eval() for seed in (0, 0, 1))
    name = "bert.embeddings.word_embeddings.weight"
    assert one.state_dict()[name].shape == (5 + len(WORDS), 16)
    with torch.inference_mode():
        assert torch.equal(one(batch(16)), same(batch(16)))
        assert not torch.equal(one(batch(16)), other(batch(16)))


# ---------------------------------------------------------------- identities


def test_a_pretrained_network_is_known_by_its_bytes_wherever_it_lies(
    tmp_path: Path, folder: Path
) -> None:
    def identity(path: Path, layers: int | None = None) -> Mapping[str, Any]:
        return identity_of_options("hf", {"path": str(path), "layers": layers})

    moved = shutil.copytree(folder, tmp_path / "moved")
    assert identity(moved) == identity(folder) != identity(folder, 2)
    assert str(folder) not in json.dumps(identity(folder))
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps({**config, "hidden_dropout_prob": 0.5}))
    assert identity(moved) != identity(folder)


def test_other_networks_are_known_by_their_options_as_before() -> None:
    assert identity_of_options("resnet8", {"width": 4}) == {"width": 4}
    assert library_versions("resnet8") == {}
    assert set(library_versions("hf")) == {"tokenizers", "transformers"}


@pytest.mark.parametrize(("flags", "precision"), [("avx512_bf16", "fp32"), ("amx_bf16", "bf16")])
def test_bf16_is_chosen_where_whole_matrices_are_multiplied_in_it(
    monkeypatch: pytest.MonkeyPatch, flags: str, precision: str
) -> None:
    monkeypatch.setattr(device, "cpu_info", lambda *fields: flags)
    worth_while = models.get("hf").bf16_flags
    assert device.resolve_precision("auto", torch.device("cpu"), worth_while) == precision
    assert device.resolve_precision("auto", torch.device("cpu")) == "bf16"


# ---------------------------------------------------------------- refusals


def test_what_cannot_be_had_or_read_is_one_line(tmp_path: Path, folder: Path) -> None:
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copy(folder / "config.json", pickled)
    (pickled / "pytorch_model.bin").write_bytes(b"")
    assert "nor is pytorch_model.bin read" in refusal("hf", {"path": str(pickled)})
    assert "no such folder" in refusal("hf", {"path": str(tmp_path / "nowhere")})
    assert "has no config.json" in refusal("hf", {"path": str(tmp_path)})
    assert "is a file" in refusal("hf", {"path": str(folder / "config.json")})
    assert "model.path is missing" in refusal("hf", {"path": "???"})
    assert "has 4 layers" in refusal("hf", {"path": str(folder), "layers": 5})
    pictures = shutil.copytree(folder, tmp_path / "pictures")
    (pictures / "config.json").write_text('{"model_type": "vit"}')
    assert "a vit reads no texts" in refusal("hf", {"path": str(pictures)})
    long = TextSpec(1, 513)
    assert "takes at most 512 tokens" in refusal("hf", {"path": str(folder)}, long)
    wordless = shutil.copytree(folder, tmp_path / "wordless")
    (wordless / "tokenizer.json").unlink()
    assert "has no tokenizer.json, nor a vocab.txt" in refusal("hf", {"path": str(wordless)})
    (wordless / "tokenizer.json").write_text('{"version": "1.0"}')
    assert "tokenizer.json is no tokenizer" in refusal("hf", {"path": str(wordless)})
    tiny = {"tokenizer": str(folder)}
    assert "no such file or folder" in refusal("tiny_bert", {"tokenizer": "nowhere"})
    assert "no multiple of model.heads=3" in refusal("tiny_bert", {**tiny, "heads": 3})
    assert "unknown key model.head" in refusal("tiny_bert", {**tiny, "head": 3})
    with pytest.raises(UserError, match="model=hf takes texts; the data set gives images"):
        build_model("hf", {"path": str(folder)}, spec=ImageSpec(8, 8, 1), num_classes=2)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": "wide"},
        {"vocab_size": None},
        {"type_vocab_size": "two"},
        {"pad_token_id": "[PAD]"},
        {"pad_token_id": 99},
        {"id2label": 5},
        {"hidden_act": "bend"},
        {"num_attention_heads": 3},
        {"hidden_size": -16},
    ],
)
def test_a_config_of_wrong_values_is_one_line(
    tmp_path: Path, folder: Path, change: dict[str, Any]
) -> None:
    wrong = shutil.copytree(folder, tmp_path / "wrong")
    config = json.loads((wrong / "config.json").read_text())
    (wrong / "config.json").write_text(json.dumps(config | change))
    told = refusal("hf", {"path": str(wrong)})
    assert told.startswith(f"model.path={wrong}: ")
    if {"type_vocab_size", "pad_token_id"} & change.keys() and 99 not in change.values():
        with pytest.raises(UserError, match="expected a whole number"):
            encoder_of("hf", {"path": str(wrong)})


def test_an_index_of_weights_without_names_is_one_line(tmp_path: Path, folder: Path) -> None:
    sharded = shutil.copytree(folder, tmp_path / "sharded")
    (sharded / "model.safetensors").unlink()
    for content in ("{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}'):
        (sharded / "model.safetensors.index.json").write_text(content)
        assert "has no weight_map" in refusal("hf", {"path": str(sharded)})


def test_a_tokenizer_with_more_tokens_than_its_network_is_refused(
    tmp_path: Path, folder: Path
) -> None:
    larger = shutil.copytree(folder, tmp_path / "larger")
    make_tokenizer(larger, [*WORDS, "plus"])
    told = refusal("hf", {"path": str(larger)})
    assert told == f"model.path={larger}: its tokenizer has 24 tokens, its network 23"


def test_code_that_a_checkpoint_brings_along_is_never_run(tmp_path: Path, folder: Path) -> None:
    foreign = shutil.copytree(folder, tmp_path / "foreign")
    config = json.loads((foreign / "config.json").read_text())
    classes = {"AutoConfig": "code.Config", "AutoModelForSequenceClassification": "code.Model"}
    (foreign / "code.py").write_text("raise SystemExit('run')")
    for kind in ("bert", "unheard-of"):
        told = {**config, "model_type": kind, "auto_map": classes}
        (foreign / "config.json").write_text(json.dumps(told))
        if kind == "bert":
            hf(foreign)  # transformers' own
        else:
            assert "config.json is not of a network" in refusal("hf", {"path": str(foreign)})


def test_the_hub_is_asked_after_what_is_here_and_its_silence_is_one_line(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def refuse(*given: Any, **options: Any) -> str:
        raise RuntimeError("404 Not Found\nfor url")

    def snapshot(name: str, *, local_files_only: bool, allow_patterns: list[str]) -> str:
        asked.append(local_files_only)
        assert not any(pattern.endswith((".bin", ".py")) for pattern in allow_patterns)
        if name == "here/bert":
            return str(folder)
        raise LocalEntryNotFoundError("no route\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    hf(Path("here/bert"))
    assert set(asked) == {True}
    asked.clear()
    told = refusal("bert_base", {"path": "google-bert/bert-base-uncased"})
    assert "the Hugging Face Hub does not give it (it cannot be reached from here)" in told
    assert asked == [True, False]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    assert "does not give it (404 Not Found)" in refusal("hf", {"path": "nobody/nothing"})


@pytest.mark.parametrize("package", ["transformers", "tokenizers"])
def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, folder: Path, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for name, options in (("hf", {"path": str(folder)}), ("tiny_bert", {"tokenizer": "x"})):
        assert f"{package} is not installed; pip install 'kdlsr[text]'" in refusal(name, options)


# ---------------------------------------------------------------- runs


@pytest.fixture
def plan(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Planned:
    """Plans a run of two epochs of a tiny BERT, with dropout, on made-up reviews."""
    monkeypatch.setenv("KDLSR_DATA", str(tmp_path / "data"))
    make_reviews(tmp_path / "reviews", 64, 16)
    words = sorted({word for of_class in REVIEW_WORDS.values() for word in of_class})
    tokenizer = make_tokenizer(tmp_path / "reviews", words)

    def planned(*overrides: str) -> Run:
        common = [
            "dataset=text_folder",
            f"dataset.root={tmp_path / 'reviews'}",
            "dataset.max_length=16",
            "schedule=glue3",
            "schedule.epochs=2",
            "precision=fp32",
            "threads=1",
            f"output_dir={tmp_path / 'outputs'}",
        ]
        tiny = ["model=tiny_bert", f"model.tokenizer={tokenizer}", "model.width=16"]
        model = [] if "model=hf" in overrides else tiny
        return plan_run(read_config(compose_config([*common, *model, *overrides])))

    return planned


def files_of(run: Run) -> dict[str, bytes]:
    path = store_of(run.config).run(run.run_id).path
    return {name: (path / name).read_bytes() for name in ("metrics.jsonl", "test_logits.npz")}


def test_a_stopped_run_with_dropout_ends_with_the_same_bits(plan: Planned, tmp_path: Path) -> None:
    whole, stopped = plan(f"output_dir={tmp_path / 'whole'}"), plan()
    complete_run(whole, Session())
    checkpoint_of(stopped, 1, Session())
    torch.manual_seed(123)  # whatever was drawn in between
    complete_run(stopped, Session())
    assert files_of(stopped) == files_of(whole)
    still = plan("model.dropout=0")
    complete_run(still, Session())
    assert files_of(still) != files_of(whole)


def test_a_run_says_by_which_libraries_its_network_was_built(plan: Planned) -> None:
    run = plan("schedule.epochs=1", "schedule.warmup_epochs=0")
    complete_run(run, Session())
    path = store_of(run.config).run(run.run_id).path / "environment.json"
    told = json.loads(path.read_text())
    assert {key: told[key] for key in ("tokenizers", "transformers")} == library_versions("hf")
    assert (run.optimisation.optimizer, run.optimisation.lr) == ("adamw", 5e-4)


def test_a_pretrained_teacher_reads_with_its_own_tokenizer(plan: Planned, folder: Path) -> None:
    overrides = f'teacher.overrides=["model.path={folder}","model.layers=1"]'
    run = plan("loss=kd", "teacher=hf", overrides)
    assert run.teacher_run is not None
    assert run.teacher_run.optimisation.lr == 5e-5
    assert run.encoder is not None
    assert run.teacher_run.encoder is not None
    assert run.encoder.identity != run.teacher_run.encoder.identity
    complete_run(run, Session())
    history = store_of(run.config).run(run.run_id).history()
    assert all(record.train["soft"] > 0 for record in history)


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["teacher=tiny_bert"], "model.tokenizer"),
        (["teacher=hf"], "model.path"),
        (["teacher=hf", 'teacher.overrides=["model.path=nowhere"]'], "model.path"),
        (["teacher=checkpoint", "teacher.model=hf", "teacher.path=weights.pt"], "model.path"),
    ],
)
def test_what_a_teachers_network_lacks_is_said_of_the_teacher(
    plan: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.pt").write_bytes(b"not looked into at the plan")
    with pytest.raises(UserError) as refused:
        plan("loss=kd", *overrides)
    told = str(refused.value)
    assert told.startswith(f"{overrides[0]}: {key}")
    assert told.endswith(f"""; it is set by 'teacher.overrides=["{key}=..."]'""")


def test_what_a_students_network_lacks_is_not_said_of_its_teacher(plan: Planned) -> None:
    with pytest.raises(UserError, match=r"^model\.path is missing"):
        plan("loss=kd", "teacher=self", "model=hf")


def test_why_tells_other_weights_layers_and_tokenizers_apart(
    plan: Planned, folder: Path, tmp_path: Path
) -> None:
    def identity(*overrides: str) -> Mapping[str, Any]:
        return identity_of(plan("model=hf", *overrides), with_seeds=True)

    here = identity(f"model.path={folder}")
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert identity(f"model.path={moved}") == here
    make_tokenizer(moved, WORDS[::-1])
    keys = [d.key for d in compare(here, identity(f"model.path={moved}", "model.layers=2"))]
    assert keys == ["model.layers", "model.encoder"]
