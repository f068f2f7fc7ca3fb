"""What all data sets of texts share: facts and content from texts that are read whole at the plan.

Texts are small, and what is wrong with a line of them is to be known before anything starts, so
a data set's identity is its very content. No tokenizer.
"""

import functools
import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from kdlsr.config import AtLeast
from kdlsr.config.inputs import TextSpec
from kdlsr.data.dataset import Dataset, Facts, quiet
from kdlsr.data.texts import Texts
from kdlsr.files.download import Progress


@dataclass(frozen=True)
class TextSplits:
    """A data set of texts, read.

    Attributes:
        class_names: in the order of the labels.
        train: what is trained on.
        test: what is tested on.
        more: further test sets, by name.
        remark: what a user should know of what was read.
    """

    class_names: tuple[str, ...]
    train: Texts
    test: Texts
    more: Mapping[str, Texts] = field(default_factory=dict)
    remark: str | None = None

    @property
    def fingerprint(self) -> str:
        """Of classes, texts and labels: the same in whatever files they lie."""
        splits = {"train": self.train, "test": self.test, **self.more}
        told = {
            name: [texts.digest, hashlib.sha256(texts.labels.astype("<i8").tobytes()).hexdigest()]
            for name, texts in splits.items()
        }
        content = json.dumps([self.class_names, told])
        return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class TextDataset(Dataset):
    """Texts, or pairs of texts, and their classes.

    Attributes:
        max_length: tokens of the longest text, special ones included; the rest is cut off.
    """

    max_length: Annotated[int, AtLeast(8)] = 128

    f1_is_reported = False

    @abstractmethod
    def read(self) -> TextSplits:
        """Reads all of it.

        Raises:
            UserError: it can be neither found nor downloaded, or a line of it is wrong.
        """

    def facts(self) -> Facts:
        splits = _read_once(self, self.folder)
        return Facts(
            spec=TextSpec(len(splits.train.parts[0]), self.max_length),
            num_classes=len(splits.class_names),
            fingerprint=splits.fingerprint,
            class_names=splits.class_names,
            train=len(splits.train.parts),
            test=len(splits.test.parts),
            remark=splits.remark,
            finds_classes=True,
            with_f1=self.f1_is_reported,
        )

    def load(self, progress: Progress = quiet) -> tuple[Texts, Texts]:  # noqa: ARG002
        splits = _read_once(self, self.folder)
        return splits.train, splits.test

    def more(self) -> Mapping[str, Texts]:
        return _read_once(self, self.folder).more


@functools.lru_cache(maxsize=2)
def _read_once(dataset: TextDataset, folder: Path) -> TextSplits:  # noqa: ARG001 (it may move)
    return dataset.read()
