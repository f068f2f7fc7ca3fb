"""CINIC-10 in its own layout: from the archive, from a folder, with and without valid/."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from loopback import Loopback, serve
from made_images import draw

from kdlsr.config import UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.data import cinic10
from kdlsr.data.cinic10 import Cinic10
from kdlsr.files.download import Archive

CLASSES = ("airplane", "bird", "truck")


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDLSR_DATA", str(tmp_path / "data"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "data"


def make_cinic(root: Path) -> Path:
    """Two images of each class in train, three in valid, one in test; a grey one among them."""
    for split, count in (("train", 2), ("valid", 3), ("test", 1)):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                mode = "L" if (split, number) == ("train", 1) else "RGB"
                path = root / split / name / f"n0{label}_{number}.png"
                draw(path, 100 * label + 10 * number + count, (32, 32), mode)
    return root


def test_valid_is_left_out_or_joined_to_what_is_trained_on(data_dir: Path) -> None:
    make_cinic(data_dir / "CINIC-10")
    alone, joined = Cinic10(), Cinic10(join_valid=True)
    assert (alone.facts().train, joined.facts().train, joined.facts().test) == (6, 15, 3)
    assert alone.facts().fingerprint != joined.facts().fingerprint
    assert alone.facts().class_names == CLASSES
    train, test = joined.load()
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert test.labels.tolist() == [0, 1, 2]
    assert train.pixels.shape == (15, 32, 32, 3)
    assert np.array_equal(alone.load()[0].pixels, train.pixels[:6])


def test_a_root_that_holds_the_splits_itself_is_read(tmp_path: Path) -> None:
    root = make_cinic(tmp_path / "mine")
    assert Cinic10(root=str(root)).facts().train == 6


def test_a_split_that_is_not_there_is_named(data_dir: Path) -> None:
    make_cinic(data_dir / "CINIC-10")
    (data_dir / "CINIC-10" / "valid").rename(data_dir / "CINIC-10" / "val")
    Cinic10().facts()
    with pytest.raises(UserError, match="there is no folder valid/ in it"):
        Cinic10(join_valid=True).facts()
    (data_dir / "CINIC-10" / "test" / "bird").rename(data_dir / "CINIC-10" / "test" / "cat")
    with pytest.raises(UserError, match="test has no class 'bird', which train has"):
        Cinic10().facts()


def _packed(root: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path in sorted(root.rglob("*")):
            tar.add(path, f"./{path.relative_to(root)}", recursive=False)
        aside = tarfile.TarInfo("../outside.png")
        aside.size = 1
        tar.addfile(aside, io.BytesIO(b"x"))
    return buffer.getvalue()


def test_from_archive_to_arrays_with_the_archives_fingerprint(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = _packed(make_cinic(tmp_path / "made"))
    with serve(Loopback()) as server:
        server.files["CINIC-10.tar.gz"] = content
        checksum = f"md5:{hashlib.md5(content).hexdigest()}"
        archive = Archive((server.url("CINIC-10.tar.gz"),), "CINIC-10.tar.gz", checksum)
        monkeypatch.setattr(cinic10, "ARCHIVE", archive)
        before, joined = Cinic10().facts(), Cinic10(join_valid=True).facts()
        assert (before.spec, before.num_classes) == (ImageSpec(32, 32, 3), 10)
        assert (before.train, joined.train, before.test) == (90_000, 180_000, 90_000)
        train, test = Cinic10().load()
    assert (len(train.labels), len(test.labels)) == (6, 3)
    assert Cinic10().facts().fingerprint == before.fingerprint == checksum
    assert Cinic10(join_valid=True).facts().fingerprint == joined.fingerprint
    assert not list(tmp_path.rglob("outside.png"))
    draw(data_dir / "CINIC-10" / "train" / "bird" / "more.png", 3, (32, 32))
    assert Cinic10().facts().fingerprint != before.fingerprint
