"""Trees of images as people have them: what is read, what is passed over, and that it is said."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, RecordingWatcher
from made_images import draw, make_pets, make_tiny, source
from PIL import Image

from kdlsr.config import UserError, build
from kdlsr.config.compose import compose_config
from kdlsr.config.schema import read_config
from kdlsr.data import tiny_imagenet
from kdlsr.data.tiny_imagenet import TinyImageNet
from kdlsr.reporting.any_runs.choices import ReportChoices
from kdlsr.reporting.any_runs.report import report_runs
from kdlsr.runs.card import RunCard
from kdlsr.runs.execute import complete_run, store_of
from kdlsr.runs.plan import plan_run
from kdlsr.runs.session import Session


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDLSR_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_pets(tmp_path / "pets")


def cats(folder: Path) -> Path:
    return folder / "train" / "cat"


def many(folder: Path, count: int) -> None:
    """So many cats that one more or less is not a percent of them."""
    content = (cats(folder) / "0.png").read_bytes()
    for number in range(count):
        (cats(folder) / f"more-{number:03}.png").write_bytes(content)


# ---------------------------------------------------------------- what is an image


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.jfif", "JPEG"),
        ("a.JPE", "JPEG"),
        ("a", "PNG"),
        ("a.avif", "AVIF"),
        ("a.jp2", "JPEG2000"),
    ],
)
def test_an_image_is_read_whatever_its_suffix(folder: Path, name: str, form: str) -> None:
    before = source(folder).facts()
    with Image.open(cats(folder) / "0.png") as image:
        image.save(cats(folder) / name, format=form)
    facts = source(folder).facts()
    assert (facts.train, facts.test, facts.skipped) == (13, 6, ())
    assert facts.fingerprint != before.fingerprint
    train, _ = source(folder).load()
    with Image.open(cats(folder) / name) as image:
        assert any(np.array_equal(pixels, np.asarray(image)) for pixels in train.pixels[:5])


def test_of_an_animation_the_first_frame_is_read(folder: Path) -> None:
    frames = []
    for number in (0, 1):
        with Image.open(cats(folder) / f"{number}.png") as image:
            frames.append(image.convert("P"))
    frames[0].save(cats(folder) / "moving.gif", save_all=True, append_images=frames[1:])
    assert source(folder).facts().train == 13
    train, _ = source(folder).load()
    assert np.array_equal(train.pixels[4], np.asarray(frames[0].convert("RGB")))


def test_what_is_no_image_is_passed_over_and_counted(folder: Path) -> None:
    before = source(folder).facts()
    for number in range(5):  # more than there are images
        (cats(folder) / f"{number}.json").write_text("{}")
    (folder / "test" / "emu" / "Thumbs.db").write_bytes(bytes(range(256)))
    (folder / "test" / "emu" / "README").write_text("of emus")
    (folder / "test" / "emu" / ".DS_Store").write_text("hidden: not counted")
    for _ in range(2):  # remembered, the second time
        facts = source(folder).facts()
        assert dict(facts.skipped) == {".json": 5, ".db": 1, "without suffix": 1}
        assert (facts.train, facts.test, facts.fingerprint) == (12, 6, before.fingerprint)


def test_postscript_is_no_image_and_starts_no_program(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    (cats(folder) / "0.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 12 10\n%%EOF"
    )
    with pytest.raises(UserError, match=r"0\.png is no readable image"):
        source(folder).load()


# ---------------------------------------------------------------- what is lost


@pytest.mark.parametrize("name", ["a.heic", "a.avif", "a.jfif", "a.gif", "a.svg", "a.dng"])
def test_a_class_that_loses_images_is_refused_unless_told_otherwise(
    folder: Path, name: str
) -> None:
    (cats(folder) / name).write_bytes(b"\0\0\0 nothing that is read here")
    with pytest.raises(UserError) as refused:
        source(folder).facts()
    message = str(refused.value)
    suffix = Path(name).suffix
    assert message.startswith(f"{cats(folder)} would lose 1 of 5 images (1 {suffix}; the first: ")
    assert message.endswith("dataset.skip_unreadable=true")
    facts = source(folder, skip_unreadable=True).facts()
    assert (facts.train, facts.skipped) == (12, ((suffix, 1),))
    assert len(source(folder, skip_unreadable=True).load()[0].labels) == 12
    many(folder, 100)
    assert (source(folder).facts().train, source(folder).facts().skipped) == (112, ((suffix, 1),))


def test_damaged_images_are_skipped_where_told_and_refused_again_where_not(folder: Path) -> None:
    many(folder, 200)
    (cats(folder) / "0.png").write_bytes(b"damaged")
    for _ in range(2):
        with pytest.raises(UserError, match=r"0\.png is no readable image"):
            source(folder).facts()
        assert source(folder, skip_unreadable=True).facts().skipped == ((".png", 1),)
    train, _ = source(folder, skip_unreadable=True).load()
    assert train.labels.tolist() == [0] * 203 + [1] * 4 + [2] * 4


def test_a_class_that_loses_all_its_images_is_refused_in_any_case(folder: Path) -> None:
    for path in cats(folder).iterdir():
        path.rename(path.with_suffix(".heic")).write_bytes(b"not read here")
    for skip in (False, True):
        with pytest.raises(UserError, match=r"cat holds no image that can be read: .*4 \.heic"):
            source(folder, skip_unreadable=skip).facts()


def test_images_in_folders_below_a_class_are_not_lost_in_silence(folder: Path) -> None:
    draw(cats(folder) / "kittens" / "deeper" / "1.png", 3)
    (cats(folder) / "kittens" / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"1 of 5 images \(1 in folders below; .*deeper/1\.png\)"):
        source(folder).facts()
    facts = source(folder, skip_unreadable=True).facts()
    assert facts.skipped == (("in folders below", 1),)


def irregular(kind: str, path: Path) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
@pytest.mark.parametrize("name", ["a.png", "a"])
def test_what_is_no_regular_file_is_counted_and_never_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    monkeypatch.chdir(cats(folder))  # a socket's path is short
    irregular(kind, Path(name))
    with pytest.raises(UserError, match="would lose 1 of 5 images \\(1 no regular file"):
        source(folder).facts()
    facts = source(folder, skip_unreadable=True).facts()
    assert (facts.train, facts.skipped) == (12, (("no regular file", 1),))


def test_a_link_that_leads_nowhere_is_named(folder: Path) -> None:
    many(folder, 200)
    (cats(folder) / "a.png").symlink_to("gone.png")
    with pytest.raises(UserError, match=r"cannot read .*a\.png: No such file"):
        source(folder).facts()
    facts = source(folder, skip_unreadable=True).facts()
    assert facts.skipped == ((".png", 1),)


def test_images_that_no_disk_holds_are_refused_before_they_are_decoded(folder: Path) -> None:
    with pytest.raises(UserError, match=r"18 images of 1000000x1000000 with 3 .* GB free"):
        source(folder, image_size=1_000_000).load()


# ---------------------------------------------------------------- who is told


def test_a_run_says_what_was_read_and_passed_over(folder: Path, tmp_path: Path) -> None:
    (cats(folder) / "a.json").write_text("{}")
    overrides = ["dataset=image_folder", f"dataset.root={folder}", "model=resnet8", "threads=1"]
    more = ["model.width=4", "schedule=quick", "schedule.epochs=1", f"output_dir={tmp_path / 'o'}"]
    run = plan_run(read_config(compose_config([*overrides, *more])))
    watcher = RecordingWatcher()
    complete_run(run, Session(watcher))
    line = "dataset=image_folder: 12 images to train on, 6 to test on; passed over: 1 .json"
    assert watcher.lines.count(line) == 1
    card = store_of(run.config).run(run.run_id).card()
    assert card is not None
    assert card.data is not None
    assert (card.data.train, card.data.test, card.data.skipped) == (12, 6, {".json": 1})
    report = report_runs(ReportChoices(), tmp_path / "o", "a command")
    assert report.caveats.count(
        "Files of image_folder: 12 to train on and 6 to test on, before any split or subset; "
        "passed over: 1 .json."
    )
    older = card.to_json()
    del older["data"]
    assert RunCard.from_json(older).data is None
    assert RunCard.from_json(card.to_json()) == card


def test_sets_with_a_name_say_how_much_they_hold(plan: Any) -> None:
    from kdlsr.data.prepare import dataset_of
    from kdlsr.runs.plan import card_of

    card = card_of(plan(), "itself")
    assert card.data is not None
    train, test = dataset_of(plan().config.dataset).load()
    assert (card.data.train, card.data.test) == (len(train.labels), len(test.labels))


def test_a_lost_class_costs_one_line(train: Command, folder: Path) -> None:
    for path in cats(folder).iterdir():
        path.rename(path.with_suffix(".heic")).write_bytes(b"not read here")
    done = train("dataset=image_folder", f"dataset.root={folder}", "model=resnet8")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


# ---------------------------------------------------------------- Tiny-ImageNet


def sort_into(pattern: str) -> Callable[[Path], None]:
    def rearrange(root: Path) -> None:
        val = root / "val"
        for line in (val / "val_annotations.txt").read_text().splitlines():
            name, wnid, *_ = line.split("\t")
            place = val / pattern.format(wnid)
            place.mkdir(parents=True, exist_ok=True)
            (val / "images" / name).rename(place / name)
        (val / "images").rmdir()

    return rearrange


@pytest.mark.parametrize("pattern", ["{}", "{}/images"])
@pytest.mark.parametrize("is_annotated", [True, False])
def test_validation_images_sorted_into_classes_are_the_same_test_set(
    data_dir: Path, pattern: str, is_annotated: bool
) -> None:
    root = data_dir / tiny_imagenet.FOLDER
    make_tiny(root)
    published = [images.pixels.copy() for images in TinyImageNet().load()]
    sort_into(pattern)(root)
    if not is_annotated:
        (root / "val" / "val_annotations.txt").unlink()
    facts = TinyImageNet().facts()
    assert (facts.train, facts.test, facts.skipped) == (9, 4, ())
    train, test = TinyImageNet().load()
    assert test.labels.tolist() == [0, 2, 1, 0]
    assert all(map(np.array_equal, published, (train.pixels, test.pixels)))


def test_validation_images_sorted_in_part_are_refused(data_dir: Path) -> None:
    root = data_dir / tiny_imagenet.FOLDER
    make_tiny(root)
    (root / "val" / "n01").mkdir()
    (root / "val" / "images" / "val_0.JPEG").rename(root / "val" / "n01" / "val_0.JPEG")
    with pytest.raises(UserError, match="sorted into classes in part: val/images still holds 3"):
        TinyImageNet().facts()
    sort_into("{}/images")
    for path in (root / "val" / "images").iterdir():
        path.rename(root / "val" / "n01" / path.name)
    with pytest.raises(UserError, match="has no folder val/n02"):
        TinyImageNet().facts()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"val_0.JPEG n01\n", r"line 1: val_0\.JPEG n01 has class none"),
        (b"val_0.JPEG\tn01\nval_1.JPEG\tn09\n", r"line 2: val_1\.JPEG has class n09"),
        (b"\xff\xfe", "it is not UTF-8"),
    ],
)
def test_annotations_that_cannot_be_read_are_one_line(
    data_dir: Path, content: bytes, message: str
) -> None:
    root = data_dir / tiny_imagenet.FOLDER
    make_tiny(root)
    (root / "val" / "val_annotations.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        TinyImageNet().facts()


def test_validation_images_without_a_class_are_counted(data_dir: Path) -> None:
    root = data_dir / tiny_imagenet.FOLDER
    make_tiny(root)
    draw(root / "val" / "images" / "val_9.JPEG", 3, (64, 64))
    with pytest.raises(UserError, match=r"val/images would lose 1 of 5 images \(1 not annotated"):
        TinyImageNet().facts()
    facts = build(TinyImageNet, {"skip_unreadable": True}, "dataset").facts()
    assert (facts.test, facts.skipped) == (4, (("not annotated", 1),))


def test_annotations_that_are_a_pipe_are_not_waited_for(data_dir: Path) -> None:
    root = data_dir / tiny_imagenet.FOLDER
    make_tiny(root)
    (root / "wnids.txt").unlink()
    os.mkfifo(root / "wnids.txt")
    with pytest.raises(UserError, match=r"wnids\.txt is no regular file"):
        TinyImageNet(root=str(root.parent)).facts()
