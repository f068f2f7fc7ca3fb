"""Texts: what is read from users' files, what is refused, and what a tokenizer makes of it."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made_texts import GLUE, WordEncoder, lay_glue, make_reviews, reviews, write_tsv

from kdlsr.config import UserError, build
from kdlsr.config.inputs import TextSpec
from kdlsr.data import datasets, tokenised
from kdlsr.data.text_dataset import TextDataset
from kdlsr.data.texts import Texts


def read(name: str, root: Path, **options: object) -> TextDataset:
    found = build(datasets.get(name), {"root": str(root), **options}, "dataset")
    assert isinstance(found, TextDataset)
    return found


def texts_of(name: str, root: Path, **options: object) -> tuple[Texts, Texts]:
    return read(name, root, **options).load()


# ---------------------------------------------------------------- files


def test_a_folder_of_tsv_files_is_read_with_its_labels_sorted(tmp_path: Path) -> None:
    make_reviews(tmp_path)
    dataset = read("text_folder", tmp_path, max_length=32)
    facts = dataset.facts()
    assert (facts.spec, facts.class_names) == (TextSpec(1, 32), ("good", "poor"))
    assert (facts.train, facts.test, facts.with_f1) == (101, 45, False)
    train, test = dataset.load()
    for texts, expected in ((train, reviews(101, 0)), (test, reviews(45, 1))):
        assert [part for (part,) in texts.parts] == [text for text, _ in expected]
        assert [facts.class_names[label] for label in texts.labels] == [c for _, c in expected]


def test_a_double_quote_is_a_character_in_tsv_and_quotes_in_csv(tmp_path: Path) -> None:
    rows = [('he said "no', "b"), ('"a', "a")]
    write_tsv(tmp_path / "tsv" / "train.tsv", rows)
    write_tsv(tmp_path / "tsv" / "test.tsv", rows)
    train, _ = texts_of("text_folder", tmp_path / "tsv")
    assert train.parts == (('he said "no',), ('"a',))
    folder = tmp_path / "csv"
    folder.mkdir()
    for split in ("train", "test"):
        content = 'id,says,kind\n1,"a, ""b""\nand c",x\n2,d,y\n'
        (folder / f"{split}.csv").write_text(content, encoding="utf-8-sig")
    train, _ = texts_of("text_folder", folder, text="says", label="kind")
    assert (train.parts, train.labels.tolist()) == ((('a, "b"\nand c',), ("d",)), [0, 1])


def test_pairs_are_read_with_names_and_without(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_tsv(tmp_path / "bare" / f"{split}.tsv", [("p", "q", "1"), ("r", "s", "0")])
        rows = [("id", "first", "second", "is"), ("7", "p", "q", "1"), ("8", "r", "s", "0")]
        write_tsv(tmp_path / "named" / f"{split}.tsv", rows)
    bare = read("text_folder", tmp_path / "bare")
    named = read("text_folder", tmp_path / "named", text=["first", "second"], label="is")
    assert bare.facts() == named.facts()  # of one content, whatever its files look like
    assert bare.facts().spec == TextSpec(2, 128)
    assert named.load()[0].parts == (("p", "q"), ("r", "s"))


def test_a_fingerprint_is_of_texts_labels_and_classes(tmp_path: Path) -> None:
    rows = [("one", "a"), ("two", "b"), ("three", "a")]
    found = set()
    changes = [rows, rows[::-1], [("one", "b"), *rows[1:]], [("0", "a"), *rows[1:]]]
    for number, train in enumerate([*changes, [(t, c + "x") for t, c in rows]]):
        folder = tmp_path / str(number)
        write_tsv(folder / "train.tsv", train)
        write_tsv(folder / "test.tsv", train[:1])
        found.add(read("text_folder", folder).facts().fingerprint)
    assert len(found) == 5


REFUSED = {
    "an empty text": (["fine\tgood\n", " \tpoor\n"], "train.tsv, line 2: the text is empty"),
    "a line without a label": (["fine\tgood\n", "dull\n"], "train.tsv, line 2: 1 columns; the f"),
    "another encoding": (["fine\tgood\n", b"na\xefve\tpoor\n"], "line 2: byte 0xef is not UTF-8"),
    "one class": (["fine\tgood\n"], "train.tsv: all labels are 'good'; 2 classes are needed"),
    "an empty label": (["fine\tgood\n", "dull\t \n"], "train.tsv, line 2: the label is empty"),
    "names of columns": (["sentence\tlabel\n", "fine\tgood\n"], "line 1: 'sentence', 'label' seem"),
    "names of three columns": (
        ["first one\tsecond\tlabel\n", "fine\tfine\tgood\n"],
        "choose them by 'dataset.text=[\"first one\",second]' dataset.label=label",
    ),
    "no columns": (["fine good\n", "dull poor\n"], "line 1: 1 columns; expected text, label, or"),
    "nothing": ([], "train.tsv is empty"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_line_is_named_with_its_file(what: str, tmp_path: Path) -> None:
    lines, expected = REFUSED[what]
    content = b"".join(x if isinstance(x, bytes) else x.encode() for x in lines)
    (tmp_path / "train.tsv").write_bytes(content)
    write_tsv(tmp_path / "test.tsv", [("fine", "good")])
    with pytest.raises(UserError, match=re.escape(expected)):
        read("text_folder", tmp_path).facts()


def test_a_first_line_that_both_files_share_is_no_text_where_its_label_is_no_others(
    tmp_path: Path,
) -> None:
    make_reviews(tmp_path)
    for split in ("train", "test"):
        content = (tmp_path / f"{split}.tsv").read_text()
        (tmp_path / f"{split}.tsv").write_text("review\tsentiment\n" + content)
    with pytest.raises(UserError) as refused:
        read("text_folder", tmp_path).facts()
    message = str(refused.value)
    assert message.startswith(f"{tmp_path / 'train.tsv'}, line 1: 'review', 'sentiment' seem to be")
    assert message.endswith("choose them by dataset.text=review dataset.label=sentiment")
    facts = read("text_folder", tmp_path, text="review", label="sentiment").facts()
    assert facts.class_names == ("good", "poor")
    (tmp_path / "test.tsv").write_text(content)  # a rare class's only text
    assert read("text_folder", tmp_path).facts().num_classes == 3


def test_what_is_missing_or_in_one_split_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected train\.tsv or train\.csv in it, found neither"):
        read("text_folder", tmp_path).facts()
    make_reviews(tmp_path)
    write_tsv(tmp_path / "test.tsv", [("fine", "good"), ("odd", "odd")])
    expected = r"test\.tsv, line 2: the label 'odd' is not possible; no line of train\.tsv has it"
    with pytest.raises(UserError, match=expected):
        read("text_folder", tmp_path).facts()
    write_tsv(tmp_path / "train.tsv", [("fine", "good")])
    with pytest.raises(UserError, match=r"line 1: there is no column 'kind' among 'fine', 'good'"):
        read("text_folder", tmp_path, text="fine", label="kind").facts()
    with pytest.raises(UserError, match="text and label go together"):
        read("text_folder", tmp_path, text="fine")
    with pytest.raises(UserError, match=r"dataset\.root is missing: set dataset\.root=FOLDER"):
        build(datasets.get("text_folder"), {}, "dataset").facts()  # type: ignore[attr-defined]


# ---------------------------------------------------------------- data sets by name


@pytest.mark.parametrize("name", ["sst2", "mrpc", "qnli", "mnli", "rte"])
def test_glue_is_read_in_its_own_layout_and_tested_on_dev(name: str, tmp_path: Path) -> None:
    dataset = read(name, tmp_path)
    files = lay_glue(name, tmp_path)
    facts = dataset.facts()
    pairs = {"sst2": 1}.get(name, 2)
    assert (facts.spec, facts.train, facts.test) == (TextSpec(pairs, 128), 6, 6)
    assert facts.num_classes == (3 if name == "mnli" else 2)
    assert facts.with_f1 == (name == "mrpc")
    assert facts.remark is not None
    assert "GLUE hides the labels of its test set" in facts.remark
    loaded = dict(zip(files, [*dataset.load(), *dataset.more().values()], strict=True))
    for file, rows in files.items():
        assert loaded[file].parts == tuple(tuple(row[1 : 1 + pairs]) for row in rows)
        assert loaded[file].labels.tolist() == [i % facts.num_classes for i in range(6)]
    assert list(dataset.more()) == (["mismatched"] if name == "mnli" else [])


def test_a_folder_with_a_labelled_test_set_of_its_own_is_tested_on_that(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("dev", 3), ("test", 4)):
        write_tsv(tmp_path / f"{split}.tsv", [(f"{split} {i}", str(i % 2)) for i in range(count)])
    dataset = read("sst2", tmp_path)
    facts = dataset.facts()
    assert (facts.train, facts.test) == (6, 4)
    assert facts.remark == f"tested on the labelled {tmp_path / 'test.tsv'}"
    assert dataset.load()[1].parts[0] == ("test 0",)


def test_a_test_set_whose_labels_are_all_minus_one_is_hidden(tmp_path: Path) -> None:
    lay_glue("sst2", tmp_path)
    path = tmp_path / "SST-2" / "test.tsv"
    write_tsv(path, [("sentence", "label"), ("fine", "-1"), ("dull", "-1")])
    facts = read("sst2", tmp_path).facts()
    assert "GLUE hides the labels" in str(facts.remark)
    write_tsv(path, [("sentence", "label"), ("fine", "-1"), ("dull", "0")])
    with pytest.raises(UserError, match=r"test\.tsv, line 2: the label '-1' is not possible"):
        read("sst2", tmp_path, max_length=9).facts()


def test_files_that_are_not_the_tasks_are_refused(tmp_path: Path) -> None:
    write_tsv(tmp_path / "dev.tsv", [("sentence", "label"), ("fine", "1")])
    with pytest.raises(UserError, match=r"there is neither train\.tsv nor SST-2/train\.tsv in"):
        read("sst2", tmp_path).facts()
    write_tsv(tmp_path / "train.tsv", [("sentence", "label"), ("fine", "1"), ("dull", "2")])
    with pytest.raises(UserError, match=r"train\.tsv, line 3: the label '2' is not possible; exp"):
        read("sst2", tmp_path).facts()
    with pytest.raises(UserError, match=r"line 1: expected the columns question<TAB>sentence<TAB>"):
        read("qnli", tmp_path).facts()


def test_a_task_that_is_not_there_is_one_line_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError) as refused:
        read("rte", tmp_path).facts()
    message = str(refused.value)
    assert message.startswith(f"dataset=rte: there is no {tmp_path / 'RTE' / 'train.tsv'}, and ")
    assert message.endswith("; put GLUE's files there, or set dataset.root")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["sst2", "mrpc", "mnli"])
def test_what_the_hub_gives_becomes_the_files_that_glue_has(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = lay_glue(name, tmp_path / "laid")
    task = GLUE[name]
    splits = {
        file.removesuffix(".tsv").replace("dev", "validation"): [
            dict(zip(task.hub_texts, row[1:], strict=False)) | {"label": task.written[row[-1]]}
            for row in rows
        ]
        for file, rows in files.items()
    }
    asked: list[tuple[str, str]] = []

    def load_dataset(*what: str) -> dict[str, list[dict[str, object]]]:
        asked.append((what[0], what[1]))
        return splits

    hub = SimpleNamespace(load_dataset=load_dataset, disable_progress_bars=lambda: None)
    monkeypatch.setitem(sys.modules, "datasets", hub)  # type: ignore[arg-type]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    downloaded = read(name, tmp_path / "empty")
    assert downloaded.facts() == read(name, tmp_path / "laid").facts()
    assert asked == [("nyu-mll/glue", name)]
    read(name, tmp_path / "empty", max_length=9).facts()
    assert len(asked) == 1


def test_without_the_extra_it_is_said_how_to_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"train\.tsv, and without pip install 'kdlsr\[text\]' it"):
        read("sst2", tmp_path).facts()


def test_clinc150_and_banking77_are_read_as_they_are_published(tmp_path: Path) -> None:
    content = {
        "oos_train": [["odd", "oos"]],
        "val": [["held", "b"]],
        "train": [["one", "b"], ["two", "a"]],
        "test": [["three", "a"]],
    }
    (tmp_path / "data_full.json").write_text(json.dumps(content))
    facts = read("clinc150", tmp_path).facts()
    assert (facts.class_names, facts.train, facts.test) == (("a", "b"), 2, 1)
    (tmp_path / "data_full.json").write_text(json.dumps(content | {"test": [["x", "c"]]}))
    with pytest.raises(UserError, match="test, entry 1: no query of train has the intent 'c'"):
        read("clinc150", tmp_path, max_length=16).facts()
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text('text,category\n"a, b",lost\nc,late\n')
    train, _ = texts_of("banking77", tmp_path)
    assert (train.parts, train.labels.tolist()) == ((("a, b",), ("c",)), [1, 0])


# ---------------------------------------------------------------- tokens


def test_tokens_are_kept_and_a_damaged_or_other_cache_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDLSR_DATA", str(tmp_path))
    monkeypatch.setattr(tokenised, "_held", {})
    texts = Texts((("a b c",), ("d e",)), np.array([0, 1]))
    asked: list[int] = []

    class Counting(WordEncoder):
        def encode(self, texts, length):  # type: ignore[no-untyped-def]
            asked.append(length)
            return super().encode(texts, length)

    def tokens(length: int = 16, **options: bool) -> list[list[int]]:
        tokenised._held.clear()
        found = tokenised.tokenised(texts, Counting(**options), length)
        return [found.ids.tolist(), found.offsets.tolist()]

    expected = tokens()
    assert expected[1] == [0, 5, 9]
    assert tokens() == expected
    assert asked == [16]
    assert tokens(4)[1] == [0, 4, 8]
    assert tokens(letters=True) != expected
    assert len(asked) == 3
    path = tokenised._path(texts, Counting(), 16)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(np.array(expected[0], dtype=np.int32).tobytes())] ^= 1
    for count, damaged in enumerate((flipped, whole[: len(whole) // 2]), 4):
        path.write_bytes(damaged)
        assert tokens() == expected
        assert len(asked) == count
