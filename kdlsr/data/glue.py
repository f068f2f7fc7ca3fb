"""Tasks of GLUE (Wang et al. 2019): what their files, columns and labels are called.

GLUE hides the labels of its test sets, so what the papers call test is its dev set, and is so
here; a folder whose own test.tsv is labelled (SST-2 as it was published) is tested on that.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from kdlsr.config import UserError
from kdlsr.data.dataset import datasets
from kdlsr.data.glue_download import GlueTask, download
from kdlsr.data.text_dataset import TextDataset, TextSplits
from kdlsr.data.text_table import header_of, read_bare, read_named, wrong
from kdlsr.data.texts import Texts

ON_DEV = "tested on {}, since GLUE hides the labels of its test set"
ON_ITS_OWN = "tested on the labelled {}"
HIDDEN = "-1"  # what Hugging Face's export has for a label that GLUE hides


@dataclass(frozen=True, kw_only=True)
class Glue(TextDataset):
    """Read from `<root>`, or a folder in it that is called as GLUE calls it.

    Without `root`, such a folder in the data directory. Where there is none it is downloaded
    there with Hugging Face's `datasets` (extra `text`).
    """

    task: ClassVar[GlueTask]

    def read(self) -> TextSplits:
        task = self.task
        folder = self._found() or download(task, self.folder / task.folder)
        train = self._texts(folder / "train.tsv")
        own = folder / "test.tsv"
        if own.is_file() and self._is_labelled(own):
            remark = ON_ITS_OWN.format(own)
            return TextSplits(task.class_names, train, self._texts(own), remark=remark)
        test, *others = (self._texts(folder / file) for file in task.dev)
        more = dict(zip(task.more, others, strict=True))
        remark = ON_DEV.format(" and ".join(task.dev))
        return TextSplits(task.class_names, train, test, more, remark)

    def _found(self) -> Path | None:
        """Returns the folder that holds train.tsv; None where it may be downloaded."""
        names = [self.task.folder, self.task.folder.lower(), self.task.name]
        inner = [*names, *(f"glue_data/{name}" for name in names)]
        own = [] if self.root is None else [self.folder]
        for folder in [*own, *(self.folder / name for name in inner)]:
            if (folder / "train.tsv").is_file():
                return folder
        if self.root is not None and self.folder.is_dir() and any(self.folder.iterdir()):
            raise UserError(
                f"dataset.root={self.folder}: there is neither train.tsv nor "
                f"{self.task.folder}/train.tsv in it"
            )
        return None

    def _is_labelled(self, path: Path) -> bool:
        header, task = header_of(path), self.task
        if {task.label, *task.texts} <= set(header):
            return {*read_named(path, task.texts, task.label).labels} != {HIDDEN}
        return task.label in header or header[-1] in task.written

    def _texts(self, path: Path) -> Texts:
        task, header = self.task, header_of(path)
        if set(task.texts) <= set(header):
            table = read_named(path, task.texts, task.label)
        elif len(header) == len(task.texts) + 1 and header[-1] in task.written:
            table = read_bare(path)
        else:
            expected = "<TAB>".join([*task.texts, task.label])
            raise wrong(
                path,
                1,
                f"expected the columns {expected} of {task.folder}, or lines of them without names",
            )
        return table.numbered(task.written, f"expected one of {', '.join(task.written)}")


@datasets.register("sst2")
@dataclass(frozen=True, kw_only=True)
class Sst2(Glue):
    """SST-2: is a sentence of a film review positive? Phrases and sentences in GLUE's files."""

    task = GlueTask(
        name="sst2",
        folder="SST-2",
        texts=("sentence",),
        label="label",
        class_names=("negative", "positive"),
        labels_are_numbers=True,
        hub_texts=("sentence",),
    )


@datasets.register("mrpc")
@dataclass(frozen=True, kw_only=True)
class Mrpc(Glue):
    """MRPC: do two sentences of the news say the same? Two thirds do, so F1 is reported too."""

    task = GlueTask(
        name="mrpc",
        folder="MRPC",
        texts=("#1 String", "#2 String"),
        label="Quality",
        class_names=("not_equivalent", "equivalent"),
        labels_are_numbers=True,
        hub_texts=("sentence1", "sentence2"),
    )
    f1_is_reported = True


@datasets.register("qnli")
@dataclass(frozen=True, kw_only=True)
class Qnli(Glue):
    """QNLI: does a sentence answer a question?"""

    task = GlueTask(
        name="qnli",
        folder="QNLI",
        texts=("question", "sentence"),
        label="label",
        class_names=("entailment", "not_entailment"),
        hub_texts=("question", "sentence"),
    )


@datasets.register("rte")
@dataclass(frozen=True, kw_only=True)
class Rte(Glue):
    """RTE: does the first text entail the second?"""

    task = GlueTask(
        name="rte",
        folder="RTE",
        texts=("sentence1", "sentence2"),
        label="label",
        class_names=("entailment", "not_entailment"),
        hub_texts=("sentence1", "sentence2"),
    )


@datasets.register("mnli")
@dataclass(frozen=True, kw_only=True)
class Mnli(Glue):
    """MNLI: does the first text entail or contradict the second, or neither?

    The test set is of the kinds of text that are trained on (matched); figures on others
    (mismatched) stand beside its own.
    """

    task = GlueTask(
        name="mnli",
        folder="MNLI",
        texts=("sentence1", "sentence2"),
        label="gold_label",
        class_names=("entailment", "neutral", "contradiction"),
        hub_texts=("premise", "hypothesis"),
        dev=("dev_matched.tsv", "dev_mismatched.tsv"),
        more=("mismatched",),
    )
