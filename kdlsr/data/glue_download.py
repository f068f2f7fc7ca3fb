"""A task of GLUE fetched from Hugging Face's hub, where there is a network, into GLUE's own layout.

`datasets` is imported where there is nothing else to be read; no code of the hub's is run.
"""

import os
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlsr.config import UserError
from kdlsr.files import disk_refusals, whole_folder, write_whole

HUB = "nyu-mll/glue"
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class GlueTask:
    """Where a task's texts and labels stand.

    Attributes:
        name: the data set's, here and on the hub.
        folder: as GLUE calls it.
        texts: the columns of the text, or of both texts of a pair, in GLUE's files.
        label: the column of the label.
        class_names: K names, in the order of the labels.
        labels_are_numbers: the files have the classes' numbers, not their names.
        hub_texts: as `texts`, on the hub.
        dev: the labelled files that are tested on.
        more: the names of those after the first.
    """

    name: str
    folder: str
    texts: tuple[str, ...]
    label: str
    class_names: tuple[str, ...]
    labels_are_numbers: bool = False
    hub_texts: tuple[str, ...]
    dev: tuple[str, ...] = ("dev.tsv",)
    more: tuple[str, ...] = ()

    @property
    def written(self) -> Mapping[str, int]:
        """The number of each label as GLUE's files have it."""
        names = map(str, range(len(self.class_names)))
        return {
            name: number
            for number, name in enumerate(names if self.labels_are_numbers else self.class_names)
        }


def download(task: GlueTask, folder: Path) -> Path:
    """Fetches a task's labelled files to `folder`; returns it.

    Raises:
        UserError: there is no network, `datasets` is not installed, or the disk refuses.
    """
    splits = _fetched(task, folder)
    with disk_refusals(folder), whole_folder(folder) as partial:
        for file, rows in splits.items():
            write_whole(partial / file, _as_tsv(task, rows))
    return folder


def _fetched(task: GlueTask, folder: Path) -> dict[str, Iterable[Mapping[str, Any]]]:
    refusal = f"dataset={task.name}: there is no {folder / 'train.tsv'}, and "
    advice = "; put GLUE's files there, or set dataset.root"
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"{refusal}without pip install 'kdlsr[text]' it cannot be downloaded{advice}"
        ) from error
    if not any(os.environ.get(name) for name in OFFLINE):
        _check_network(f"{refusal}Hugging Face cannot be reached to download it", advice)
    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(HUB, task.name)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{refusal}it cannot be downloaded ({reason}){advice}") from error
    parts = {file: file.removesuffix(".tsv").replace("dev", "validation") for file in task.dev}
    return {file: found[part] for file, part in {"train.tsv": "train", **parts}.items()}


def _check_network(refusal: str, advice: str) -> None:
    """Refuses at once where there is no network: `datasets` would try for half a minute."""
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()  # it answers
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"{refusal} ({reason}){advice}") from error


def _as_tsv(task: GlueTask, rows: Iterable[Mapping[str, Any]]) -> str:
    written = list(task.written)
    lines = [[*task.texts, task.label]]
    for row in rows:
        lines.append([*(row[name] for name in task.hub_texts), written[row["label"]]])
    return "".join(_line(fields) for fields in lines)


def _line(fields: Sequence[str]) -> str:
    # A tab within a text would be read as the end of its column.
    return "\t".join(" ".join(field.split("\t")).replace("\n", " ") for field in fields) + "\n"
