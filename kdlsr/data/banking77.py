"""BANKING77 (Casanueva et al. 2020): queries to a bank, of 77 intents. CC BY 4.0."""

from dataclasses import dataclass
from typing import Annotated

from kdlsr.config import AtLeast, UserError
from kdlsr.data.dataset import data_dir, datasets
from kdlsr.data.text_dataset import TextDataset, TextSplits
from kdlsr.data.text_folder import TextFolder


@datasets.register("banking77")
@dataclass(frozen=True, kw_only=True)
class Banking77(TextDataset):
    """Read from `<root>/train.csv` and `test.csv`, with the columns `text` and `category`.

    They lie in github.com/PolyAI-LDN/task-specific-datasets, `banking_data/`. Without `root` they
    are looked for in `<data dir>/banking77`.
    """

    max_length: Annotated[int, AtLeast(8)] = 64

    def read(self) -> TextSplits:
        folder = data_dir() / "banking77" if self.root is None else self.folder
        if not folder.is_dir():
            raise UserError(
                f"dataset=banking77: there is no folder {folder}; put train.csv and test.csv of "
                "github.com/PolyAI-LDN/task-specific-datasets there, or set dataset.root"
            )
        return TextFolder(text="text", label="category").read_in(folder)
