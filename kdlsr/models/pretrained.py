"""A pretrained network's files: found in a folder or on the Hugging Face Hub, checked, told apart.

A folder of this machine comes first, then what the Hub's client has kept here, then the Hub. What
is read is numbers and text: weights as .safetensors, never a pickle, and no code of anybody's.
"""

import functools
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdlsr.config import UserError
from kdlsr.config.compose import relative_to_here
from kdlsr.files import file_digest, parse_json

CONFIG = "config.json"
WEIGHTS, SHARDS = "model.safetensors", "model.safetensors.index.json"
TOKENIZER, VOCABULARY, TOKENIZER_CONFIG = "tokenizer.json", "vocab.txt", "tokenizer_config.json"
WANTED = (CONFIG, WEIGHTS, SHARDS, "model-*.safetensors", TOKENIZER, VOCABULARY, TOKENIZER_CONFIG)
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
PACKAGE = "package:"
_NAME_ON_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")


def check_extra() -> None:
    """Refuses a network of texts where what it is built and tokenised by is not installed.

    Raises:
        UserError: how it is had.
    """
    for package in ("tokenizers", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"{package} is not installed; pip install 'kdlsr[text]'")


def place_of(path: str, where: str) -> Path:
    """Returns where a file or folder lies that a config names, whether it is there or not.

    Args:
        path: of this machine, or `package:NAME/BELOW`: within an installed Python package.
        where: the config key that named it.

    Raises:
        UserError: no such package is installed.
    """
    if not path.startswith(PACKAGE):
        return relative_to_here(path)
    name, _, below = path.removeprefix(PACKAGE).partition("/")
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    places = found and found.submodule_search_locations
    if not places:
        raise UserError(
            f"{where}={path}: no Python package {name} is installed; pip install {name}"
        )
    return Path(next(iter(places)), below)


def pretrained_folder(path: str) -> Path:
    """Returns the folder that holds a network's files.

    Args:
        path: a folder, one of an installed package (`place_of`), or a name on the Hub
            (`google-bert/bert-base-uncased`), which is downloaded the first time.

    Raises:
        UserError: neither; no config, or no weights that are safe to read.
    """
    check_extra()
    folder = place_of(path, "model.path")
    if not folder.is_dir():
        folder = _from_hub(path, folder)
    if not (folder / CONFIG).is_file():
        raise UserError(f"model.path={path} has no {CONFIG}: no network's folder")
    if not weight_files(folder):
        pickles = [file.name for pattern in PICKLES for file in folder.glob(pattern)]
        beside = f" (nor is {pickles[0]} read: such a file may run code)" if pickles else ""
        raise UserError(f"model.path={path} has no {WEIGHTS}{beside}")
    return folder


def weight_files(folder: Path) -> list[Path]:
    """Returns the files of a network's weights, by name; empty where there are none."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / SHARDS).is_file():
        return []
    listed = read_object(folder / SHARDS).get("weight_map")
    files = list(listed.values()) if isinstance(listed, dict) else []
    if not files or not all(isinstance(name, str) for name in files):
        raise UserError(f"{folder / SHARDS} has no weight_map, which names the files of weights")
    names = sorted(set(files))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder / SHARDS} names {missing[0]}, which is not there")
    return [folder / name for name in names]


def weights_identity(folder: Path) -> dict[str, str | list[str]]:
    """Returns what tells a pretrained network from all others, wherever it lies."""
    digests = [_digest_once(path, *_version(path)) for path in weight_files(folder)]
    config = folder / CONFIG
    return {
        "weights": digests[0] if len(digests) == 1 else digests,
        "config": _digest_once(config, *_version(config)),
    }


def read_object(path: Path) -> Mapping[str, Any]:
    """Returns the mapping that a JSON file holds.

    Raises:
        UserError: it cannot be read, or holds none.
    """
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no mapping")
    return found


def _version(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=64)
def _digest_once(path: Path, size: int, time: int) -> str:  # noqa: ARG001 (another file's)
    return file_digest(path)


# ---------------------------------------------------------------- the Hub


def _from_hub(path: str, folder: Path) -> Path:
    if folder.exists():
        raise UserError(f"model.path={path} is a file; expected a network's folder")
    if not _NAME_ON_HUB.fullmatch(path):
        raise UserError(f"model.path={path}: no such folder")
    kept = _snapshot(path, here_alone=True)
    if isinstance(kept, Path) and (kept / CONFIG).is_file() and _has_weights(kept):
        return kept
    found = _snapshot(path, here_alone=False)
    if isinstance(found, Path):
        return found
    raise UserError(
        f"model.path={path}: no such folder, and the Hugging Face Hub does not give it ({found})"
    )


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (WEIGHTS, SHARDS))


def _snapshot(name: str, here_alone: bool) -> Path | str:
    """Returns the folder of a network of the Hub, or why it cannot be had, in a few words."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()
    logging.set_verbosity_error()
    try:
        return Path(
            snapshot_download(name, allow_patterns=list(WANTED), local_files_only=here_alone)
        )
    except LocalEntryNotFoundError:
        return "it cannot be reached from here"
    except Exception as error:  # of the library that speaks HTTP, which the Hub's client changes
        return next(iter(str(error).strip().splitlines()), type(error).__name__)
