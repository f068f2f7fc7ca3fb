"""Data sets: facts without effort, pixels and labels as published, damage always noticed."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from loopback import Loopback, serve
from made_images import draw, make_pets, make_tiny, source
from PIL import Image

from kdlsr.config import UserError, build
from kdlsr.config.inputs import ImageSpec
from kdlsr.data import cifar, datasets, fashion_mnist, official_tree, scan, tiny_imagenet
from kdlsr.data.cifar import CIFAR10_LAYOUT, CIFAR100_LAYOUT, Cifar10, Cifar100, Layout
from kdlsr.data.digits import Digits
from kdlsr.data.fashion_mnist import FashionMnist, IdxFile
from kdlsr.data.file_kind import FileKind
from kdlsr.data.image_files import ImageDecoding
from kdlsr.data.image_folder import ImageFolder
from kdlsr.data.images import Images
from kdlsr.data.tiny_imagenet import TinyImageNet
from kdlsr.files import download
from kdlsr.files.download import Archive

CONF = Path(__file__).parent.parent / "conf" / "dataset"
SHARED = {"name", "views", "mean", "std", "val_fraction", "split_seed", "subset"}


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches and downloads of a test stay with the test."""
    monkeypatch.setenv("KDLSR_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "data"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serve(Loopback()) as running:
        yield running


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def publish(server: Loopback, name: str, content: bytes) -> Archive:
    server.files[name] = content
    return Archive((server.url(name),), name, f"md5:{md5(content)}", len(content))


def assert_valid(images: Images, count: int, shape: tuple[int, int, int], classes: int) -> None:
    assert images.pixels.dtype == np.uint8
    assert images.pixels.shape == (count, *shape)
    assert images.labels.dtype == np.int64
    assert images.labels.shape == (count,)
    assert set(images.labels.tolist()) == set(range(classes))


# Config files


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_config_file_names_its_command_and_builds_its_source(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"# python -m kdlsr.train dataset={path.stem} ")
    section = yaml.safe_load(text)
    assert section["name"] == path.stem
    assert set(section) >= SHARED
    own = {key: value for key, value in section.items() if key not in SHARED}
    source = build(datasets.get(path.stem), own, "dataset")
    assert source == datasets.get(path.stem)()


def test_every_source_of_this_package_has_a_config_file() -> None:
    ours = {name for name in datasets.names() if datasets.get(name).__module__[:5] == "kdlsr"}
    assert ours == {path.stem for path in CONF.glob("*.yaml")}


def test_facts_of_named_sets_need_neither_torch_nor_download(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from kdlsr.data.cifar import Cifar10, Cifar100\n"
        "from kdlsr.data.digits import Digits\n"
        "from kdlsr.data.fashion_mnist import FashionMnist\n"
        "from kdlsr.data.tiny_imagenet import TinyImageNet\n"
        "for kind in (Cifar10, Cifar100, Digits, FashionMnist, TinyImageNet):\n"
        "    facts = kind(root=sys.argv[1]).facts()\n"
        "    assert len(facts.class_names) == facts.num_classes\n"
        "assert not {'torch', 'torchvision', 'sklearn', 'PIL'} & sys.modules.keys()\n"
    )
    root = tmp_path / "nothing"
    subprocess.run([sys.executable, "-c", code, str(root)], check=True)
    assert not root.exists()


def test_named_sets_have_fingerprints_of_their_own() -> None:
    facts = [kind().facts() for kind in (Cifar10, Cifar100, Digits, FashionMnist, TinyImageNet)]
    assert len({f.fingerprint for f in facts}) == len(facts)
    assert [f.num_classes for f in facts] == [10, 100, 10, 10, 200]


# Digits


def test_digits_have_fifty_test_images_of_each_class() -> None:
    train, test = Digits().load()
    assert_valid(train, 1297, (8, 8, 1), 10)
    assert_valid(test, 500, (8, 8, 1), 10)
    assert np.bincount(test.labels).tolist() == [50] * 10
    assert train.pixels.max() == 240


def test_digits_hold_every_image_of_scikit_learn_once() -> None:
    from sklearn.datasets import load_digits

    train, test = Digits().load()
    ours = np.concatenate([train.pixels, test.pixels])[..., 0] / 15
    theirs = load_digits().images
    assert sorted(map(bytes, ours.astype(np.uint8))) == sorted(map(bytes, theirs.astype(np.uint8)))


def test_digits_fingerprint_is_that_of_their_content() -> None:
    digest = hashlib.sha256()
    for images in Digits().load():
        digest.update(images.pixels.tobytes() + images.labels.astype("<i8").tobytes())
    assert Digits().facts().fingerprint == f"sha256:{digest.hexdigest()}"


# What torchvision publishes


@pytest.mark.parametrize(
    ("name", "layout"), [("CIFAR10", CIFAR10_LAYOUT), ("CIFAR100", CIFAR100_LAYOUT)]
)
def test_cifar_constants_are_torchvisions(name: str, layout: Layout) -> None:
    import torchvision

    theirs = getattr(torchvision.datasets, name)
    assert layout.archive.urls == (theirs.url,)
    assert layout.archive.filename == theirs.filename
    assert layout.archive.checksum == f"md5:{theirs.tgz_md5}"
    assert layout.folder == theirs.base_folder
    assert layout.train == tuple(map(tuple, theirs.train_list))
    assert layout.test == tuple(map(tuple, theirs.test_list))


def test_fashion_mnist_constants_are_torchvisions() -> None:
    from torchvision.datasets import FashionMNIST

    assert fashion_mnist.MIRROR in FashionMNIST.mirrors
    assert sorted(FashionMNIST.resources) == sorted(
        (file.archive.filename, file.archive.checksum.removeprefix("md5:"))
        for file in fashion_mnist.FILES
    )
    assert list(fashion_mnist.CLASSES) == FashionMNIST.classes


# CIFAR


class Poison:
    """A pickle that writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "unpickled")


def old_pickle(entry: dict[str, Any]) -> bytes:
    """A pickle as NumPy of the time wrote it: a dtype's flags are integers, not truth values."""
    content = pickle.dumps(entry, protocol=2)
    assert b"\x89\x88\x87" in content
    return content.replace(b"\x89\x88\x87", b"K\x00K\x01\x87")


def tar_gz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def made_cifar(server: Loopback, official: Layout) -> tuple[Layout, dict[str, bytes]]:
    rng = np.random.default_rng(0)
    files = {}
    for name, _ in official.train + official.test:
        labels = rng.permutation(20).tolist()
        pixels = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        entry = {"data": pixels, official.label_key: labels, "coarse_labels": [0] * 20}
        files[name] = old_pickle(entry)
    archive = tar_gz({f"{official.folder}/{name}": content for name, content in files.items()})
    layout = replace(
        official,
        archive=publish(server, official.archive.filename, archive),
        train=tuple((name, md5(files[name])) for name, _ in official.train),
        test=tuple((name, md5(files[name])) for name, _ in official.test),
    )
    return layout, files


@pytest.mark.parametrize(
    ("kind", "official", "count"),
    [(Cifar10, CIFAR10_LAYOUT, 100), (Cifar100, CIFAR100_LAYOUT, 20)],
)
def test_cifar_from_archive_to_arrays(
    server: Loopback,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[cifar.Cifar],
    official: Layout,
    count: int,
) -> None:
    layout, files = made_cifar(server, official)
    monkeypatch.setattr(kind, "layout", layout)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train, test = kind().load()
    assert_valid(train, count, (32, 32, 3), 20)
    assert_valid(test, 20, (32, 32, 3), 20)
    entry = pickle.loads(files[layout.test[0][0]], encoding="latin1")
    assert test.labels.tolist() == entry[layout.label_key]
    # The published layout is 1,024 red values, then green, then blue, row by row.
    assert test.pixels[3, 2, 5].tolist() == entry["data"][3, [69, 1024 + 69, 2048 + 69]].tolist()
    kind().load()
    assert len(server.asked) == 1
    assert sorted(p.name for p in (data_dir / layout.folder).iterdir()) == sorted(files)


def test_torchvision_reads_the_same_cifar_from_the_same_folder(
    server: Loopback, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR100

    layout, _ = made_cifar(server, CIFAR100_LAYOUT)
    monkeypatch.setattr(Cifar100, "layout", layout)
    _, ours = Cifar100().load()
    meta = pickle.dumps({"fine_label_names": list(Cifar100.class_names)})
    (data_dir / layout.folder / "meta").write_bytes(meta)
    monkeypatch.setattr(CIFAR100, "train_list", [list(pair) for pair in layout.train])
    monkeypatch.setattr(CIFAR100, "test_list", [list(pair) for pair in layout.test])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": md5(meta)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = CIFAR100(data_dir, train=False)
    assert np.array_equal(ours.pixels, theirs.data)
    assert ours.labels.tolist() == theirs.targets


def test_altered_cifar_batch_is_never_unpickled_but_unpacked_anew(
    server: Loopback, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, files = made_cifar(server, CIFAR100_LAYOUT)
    monkeypatch.setattr(Cifar100, "layout", layout)
    Cifar100().load()
    batch = data_dir / layout.folder / "train"
    batch.write_bytes(pickle.dumps(Poison(data_dir / "executed")))
    Cifar100().load()
    assert not (data_dir / "executed").exists()
    assert batch.read_bytes() == files["train"]


def test_cifar_without_network_is_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    with serve(Loopback()) as gone:
        layout, _ = made_cifar(gone, CIFAR100_LAYOUT)
    monkeypatch.setattr(Cifar100, "layout", layout)
    with pytest.raises(UserError, match=r"cannot download cifar-100-python\.tar\.gz .*digits"):
        Cifar100().load()


# Fashion-MNIST


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


@pytest.fixture
def made_fashion(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = []
    files = []
    for official in fashion_mnist.FILES:
        count = 30 if "train" in official.archive.filename else 10
        if "images" in official.archive.filename:
            arrays.append(rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        else:
            arrays.append(np.arange(count, dtype=np.uint8) % 10)
        content = idx(arrays[-1])
        archive = publish(server, official.archive.filename, gzip.compress(content))
        files.append(IdxFile(archive, md5(content)))
    monkeypatch.setattr(fashion_mnist, "FILES", tuple(files))
    return arrays


def assert_is_fashion(arrays: list[np.ndarray]) -> None:
    train, test = FashionMnist().load()
    assert_valid(train, 30, (28, 28, 1), 10)
    assert_valid(test, 10, (28, 28, 1), 10)
    for ours, made in zip(
        (train.pixels[..., 0], train.labels, test.pixels[..., 0], test.labels), arrays, strict=True
    ):
        assert np.array_equal(ours, made)


def test_fashion_mnist_is_downloaded_once(
    server: Loopback, made_fashion: list[np.ndarray], data_dir: Path
) -> None:
    assert_is_fashion(made_fashion)
    assert_is_fashion(made_fashion)
    assert len(server.asked) == 4
    assert (data_dir / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz").exists()


def test_unpacked_fashion_mnist_needs_no_download_unless_it_is_damaged(
    server: Loopback, made_fashion: list[np.ndarray], data_dir: Path
) -> None:
    raw = data_dir / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in fashion_mnist.FILES:
        name = file.archive.filename
        (raw / name.removesuffix(".gz")).write_bytes(gzip.decompress(server.files[name]))
    assert_is_fashion(made_fashion)
    assert server.asked == []
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"damaged")
    assert_is_fashion(made_fashion)
    assert len(server.asked) == 1


def test_file_that_is_no_idx_is_refused() -> None:
    with pytest.raises(ValueError, match="not an IDX file"):
        fashion_mnist.parse_idx(b"\0\0\x0d\1" + bytes(8))
    with pytest.raises(ValueError, match="reshape"):
        fashion_mnist.parse_idx(idx(np.zeros((3, 4), dtype=np.uint8))[:-1])


# Folders of images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_pets(tmp_path / "pets")


def cache_files(data_dir: Path) -> list[Path]:
    return sorted((data_dir / ".kdlsr-cache" / "decoded").glob("*/*"))


def test_image_folder_holds_every_image_with_the_class_of_its_folder(folder: Path) -> None:
    (folder / "train" / "cat" / "notes.txt").write_text("no image")
    (folder / "train" / "cat" / ".hidden.png").write_text("no image")
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    facts = source(folder).facts()
    assert facts.class_names == ("cat", "dog", "emu")
    assert (facts.num_classes, facts.spec) == (3, ImageSpec(10, 12, 3))
    train, test = source(folder).load()
    assert_valid(train, 12, (10, 12, 3), 3)
    assert_valid(test, 6, (10, 12, 3), 3)
    assert train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    with Image.open(folder / "train" / "dog" / "2.png") as image:
        assert np.array_equal(train.pixels[6], np.asarray(image))


def test_fingerprint_is_the_hash_of_sorted_path_size_and_content(folder: Path) -> None:
    lines = []
    for path in sorted(folder.rglob("*.png"), key=lambda p: p.relative_to(folder).as_posix()):
        content = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        lines.append(f"{name}\0{len(content)}\0{hashlib.sha256(content).hexdigest()}\n")
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert source(folder).facts().fingerprint == expected


def test_fingerprint_does_not_depend_on_where_the_tree_lies(folder: Path) -> None:
    before = source(folder).facts()
    assert source(folder.rename(folder.with_name("moved"))).facts() == before


def test_unchanged_files_are_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "UNSETTLED_NS", -(10**12))
    before = source(folder).facts()
    read: list[str] = []
    read_row = scan._read_row

    def counting(path: str, role: scan.Role, kind: FileKind) -> scan.Row:
        read.append(path)
        return read_row(path, role, kind)

    monkeypatch.setattr(scan, "_read_row", counting)
    assert source(folder).facts() == before
    assert read == []
    draw(folder / "test" / "emu" / "1.png", 999)
    assert source(folder).facts() != before
    assert read == [f"{folder}/test/emu/1.png"]


def test_file_rewritten_within_its_time_stamps_tick_is_noticed(folder: Path) -> None:
    path = folder / "train" / "cat" / "0.bmp"
    draw(path, 1)
    before = source(folder).facts().fingerprint
    draw(path, 2)  # a bitmap: as many bytes as before
    assert source(folder).facts().fingerprint != before


def test_damaged_index_of_checksums_is_read_anew(folder: Path, data_dir: Path) -> None:
    before = source(folder).facts()
    (index,) = (data_dir / ".kdlsr-cache" / "files").iterdir()
    for damage in (b"", b"[1]", b'{"train/cat/0.png": 5}', b'{"train/cat/0.png": [5, 6]}'):
        index.write_bytes(damage)
        assert source(folder).facts() == before


def test_second_load_decodes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = source(folder).load()
    monkeypatch.setattr(ImageDecoding, "decode", None)
    second, _ = source(folder).load()
    assert isinstance(second.pixels, np.memmap)
    assert np.array_equal(first.pixels, second.pixels)


def test_writing_to_loaded_pixels_leaves_the_cache_as_it_was(folder: Path) -> None:
    train, _ = source(folder).load()
    original = train.pixels.copy()
    train.pixels[:] = 0
    assert np.array_equal(source(folder).load()[0].pixels, original)


def test_changed_image_is_decoded_anew(folder: Path) -> None:
    before, _ = source(folder).load()
    draw(folder / "train" / "dog" / "2.png", 999)
    after, _ = source(folder).load()
    changed = [i for i in range(12) if not np.array_equal(before.pixels[i], after.pixels[i])]
    assert changed == [6]


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_damaged_cache_is_rebuilt(folder: Path, data_dir: Path, damage: str) -> None:
    before = [images.pixels.copy() for images in source(folder).load()]
    for path in cache_files(data_dir):
        content = path.read_bytes()
        if damage == "missing":
            path.unlink()
        elif damage == "truncated":
            path.write_bytes(content[:-1])
        else:
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        after = [images.pixels for images in source(folder).load()]
        assert all(map(np.array_equal, before, after))
        assert path.read_bytes() == content


def test_interrupted_decoding_leaves_no_cache(folder: Path, data_dir: Path) -> None:
    def press_ctrl_c(what: str, done: int, total: int) -> None:
        if what.startswith("decode"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source(folder).load(press_ctrl_c)
    assert cache_files(data_dir) == []


def test_leftovers_of_a_killed_decoding_are_removed(folder: Path, data_dir: Path) -> None:
    source(folder).load()
    (cache,) = (data_dir / ".kdlsr-cache" / "decoded").iterdir()
    leftover = cache.rename(cache.with_name(f".{cache.name}.1-abc.tmp"))
    source(folder).load()
    assert cache.exists()
    assert not leftover.exists()


def test_progress_reaches_its_total(folder: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    source(folder).load(lambda *report: reports.append(report))
    for what, total in (("checksum pets", 18), ("decode pets", 18)):
        assert [r for r in reports if r[0] == what][-1] == (what, total, total)


def test_grey_images_alone_have_one_channel(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label, name in enumerate("ab"):
            draw(tmp_path / split / name / "1.jpg", label, mode="L")
    assert source(tmp_path).facts().spec.channels == 1
    train, _ = source(tmp_path).load()
    assert train.pixels.shape == (2, 10, 12, 1)


def test_grey_palette_and_transparent_images_become_rgb(folder: Path) -> None:
    cats = folder / "train" / "cat"
    draw(cats / "0.png", 7, mode="P")
    draw(cats / "1.png", 8, mode="RGBA")
    (cats / "2.png").unlink()
    draw(cats / "2.JPEG", 9, mode="L")
    assert source(folder).facts().spec.channels == 3
    train, _ = source(folder).load()
    for row, name in ((0, "0.png"), (1, "1.png"), (2, "2.JPEG")):
        with Image.open(cats / name) as image:
            assert np.array_equal(train.pixels[row], np.asarray(image.convert("RGB")))
    assert np.ptp(train.pixels[2], axis=-1).max() == 0


def test_sixteen_bit_image_is_refused(folder: Path) -> None:
    path = folder / "train" / "cat" / "0.png"
    Image.fromarray(np.zeros((10, 12), dtype=np.uint16)).save(path)
    with pytest.raises(UserError, match=r"0\.png has more than 8 bits per channel"):
        source(folder).facts()


def test_file_that_is_no_image_is_named(folder: Path) -> None:
    path = folder / "test" / "emu" / "1.png"
    path.write_bytes(b"not a picture")
    with pytest.raises(UserError) as error:
        source(folder).facts()
    assert str(error.value).startswith(f"{path} is no readable image")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_image_is_named(folder: Path, data_dir: Path, suffix: str) -> None:
    path = folder / "train" / "dog" / f"9.{suffix}"
    draw(path, 3)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(UserError) as error:
        source(folder).load()
    assert str(error.value).startswith(f"{path} is no readable image (")
    assert "\n" not in str(error.value)
    assert cache_files(data_dir) == []


def test_mixed_sizes_are_refused_and_the_way_out_is_named(folder: Path) -> None:
    draw(folder / "train" / "dog" / "1.png", 5, size=(20, 10))
    with pytest.raises(
        UserError, match=r"differ in size: .*10x12 .*10x20; set dataset\.image_size"
    ):
        source(folder).facts()


def test_image_size_resizes_and_crops_as_torchvision_does(folder: Path, data_dir: Path) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    sizes = {"0": (20, 10), "1": (9, 31), "2": (17, 17), "3": (13, 14)}
    for name, size in sizes.items():
        draw(folder / "train" / "cat" / f"{name}.png", 5, size=size)
    assert source(folder, image_size=8).facts().spec == ImageSpec(8, 8, 3)
    train, _ = source(folder, image_size=8).load()
    transform = Compose([Resize(8, InterpolationMode.BILINEAR), CenterCrop(8)])
    for row, name in enumerate(sizes):
        with Image.open(folder / "train" / "cat" / f"{name}.png") as image:
            assert np.array_equal(train.pixels[row], np.asarray(transform(image.convert("RGB"))))
    assert source(folder, image_size=9).load()[0].pixels.shape == (12, 9, 9, 3)


@pytest.mark.parametrize("size", [0, -3, 2.5, "big"])
def test_impossible_image_size_is_refused(folder: Path, size: Any) -> None:
    with pytest.raises(UserError, match=r"dataset\.image_size"):
        source(folder, image_size=size)


def test_missing_root_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"dataset\.root=FOLDER"):
        ImageFolder().facts()


def test_tree_without_train_or_test_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.root=.*no folder train/"):
        source(tmp_path / "nowhere").facts()
    (folder / "test").rename(folder / "val")
    with pytest.raises(UserError, match="no folder test/"):
        source(folder).facts()


def test_class_missing_in_test_is_named(folder: Path) -> None:
    (folder / "test" / "dog").rename(folder / "test" / "fox")
    with pytest.raises(UserError, match="test has no class 'dog', which train has"):
        source(folder).facts()
    (folder / "test" / "fox").rename(folder / "test" / "dog")
    (folder / "test" / "fox").mkdir()
    with pytest.raises(UserError, match="train has no class 'fox', which test has"):
        source(folder).facts()


def test_class_without_images_is_named(folder: Path) -> None:
    for split in ("train", "test"):
        (folder / split / "fox").mkdir()
    with pytest.raises(UserError, match="fox holds no image"):
        source(folder).facts()


def test_users_tree_is_left_alone(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    source(folder).load()
    assert sorted(folder.rglob("*")) == before


# Tiny-ImageNet


@pytest.fixture
def tiny_zip(tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(tmp_path / "made" / tiny_imagenet.FOLDER)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for path in sorted((tmp_path / "made").rglob("*")):
            zipped.write(path, path.relative_to(tmp_path / "made"))
    archive = publish(server, tiny_imagenet.ARCHIVE.filename, buffer.getvalue())
    monkeypatch.setattr(tiny_imagenet, "ARCHIVE", archive)


@pytest.mark.usefixtures("tiny_zip")
def test_tiny_imagenet_from_archive_to_arrays(server: Loopback, data_dir: Path) -> None:
    before = TinyImageNet().facts()
    assert (before.num_classes, before.spec) == (200, ImageSpec(64, 64, 3))
    train, test = TinyImageNet().load()
    assert_valid(train, 9, (64, 64, 3), 3)
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert test.labels.tolist() == [0, 2, 1, 0]
    with Image.open(data_dir / tiny_imagenet.FOLDER / "val" / "images" / "val_1.JPEG") as image:
        assert np.array_equal(test.pixels[1], np.asarray(image))
    after = TinyImageNet().facts()
    assert after.class_names == ("n01", "n02", "n03")
    assert after.fingerprint == before.fingerprint
    TinyImageNet().load()
    assert len(server.asked) == 1


@pytest.mark.usefixtures("tiny_zip")
def test_interrupted_unpacking_leaves_no_tree(server: Loopback, data_dir: Path) -> None:
    def press_ctrl_c(what: str, done: int, total: int) -> None:
        if what.startswith("unpack") and done > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TinyImageNet().load(press_ctrl_c)
    assert [path.name for path in data_dir.iterdir()] == [tiny_imagenet.ARCHIVE.filename]
    assert len(TinyImageNet().load()[0].labels) == 9
    assert len(server.asked) == 1


def test_tiny_imagenet_from_elsewhere_is_known_by_its_content(data_dir: Path) -> None:
    root = data_dir / tiny_imagenet.FOLDER
    make_tiny(root)
    facts = TinyImageNet().facts()
    assert (facts.num_classes, facts.spec) == (3, ImageSpec(64, 64, 3))
    assert facts.fingerprint != tiny_imagenet.ARCHIVE.checksum
    assert TinyImageNet(root=str(root)).facts() == facts
    assert TinyImageNet().load()[1].labels.tolist() == [0, 2, 1, 0]
    annotations = root / "val" / "val_annotations.txt"
    annotations.write_text(annotations.read_text().replace("val_1.JPEG\tn03", "val_1.JPEG\tn02"))
    assert TinyImageNet().facts().fingerprint != facts.fingerprint
    assert TinyImageNet().load()[1].labels.tolist() == [0, 1, 1, 0]


def test_tiny_imagenet_without_annotations_is_refused(data_dir: Path) -> None:
    root = data_dir / tiny_imagenet.FOLDER
    make_tiny(root)
    (root / "val" / "val_annotations.txt").unlink()
    with pytest.raises(UserError, match=r"not Tiny-ImageNet as published: .*val_annotations\.txt"):
        TinyImageNet().facts()
    (root / "wnids.txt").write_text("n01\nn09\n")
    with pytest.raises(UserError, match="no folder train/n09/images"):
        TinyImageNet().facts()


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    state = path.stat()
    content[-9] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.usefixtures("tiny_zip")
@pytest.mark.parametrize("how", ["altered", "removed", "added", "annotated anew"])
def test_an_altered_tree_is_official_no_longer(data_dir: Path, how: str) -> None:
    official = tiny_imagenet.ARCHIVE.checksum
    TinyImageNet().load()
    assert TinyImageNet().facts().fingerprint == official
    root = data_dir / tiny_imagenet.FOLDER
    images = root / "train" / "n01" / "images"
    if how == "altered":
        alter(images / "n01_0.JPEG")  # of the same size, and as old as before
    elif how == "removed":
        (images / "n01_0.JPEG").unlink()
    elif how == "added":
        draw(images / "n01_8.JPEG", 3, (64, 64))
    else:
        annotations = root / "val" / "val_annotations.txt"
        annotations.write_text(
            annotations.read_text().replace("val_1.JPEG\tn03", "val_1.JPEG\tn02")
        )
    assert TinyImageNet().facts().fingerprint != official


@pytest.mark.usefixtures("tiny_zip")
def test_a_marker_that_names_no_content_vouches_for_none(data_dir: Path) -> None:
    TinyImageNet().load()
    marker = data_dir / tiny_imagenet.FOLDER / official_tree.MARKER
    marker.write_text(tiny_imagenet.ARCHIVE.checksum + "\n")  # as it was written before
    assert TinyImageNet().facts().fingerprint != tiny_imagenet.ARCHIVE.checksum
