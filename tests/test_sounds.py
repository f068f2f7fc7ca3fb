"""Sounds as people have them: what is read, what is refused, and that the file is named."""

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from made_sounds import (
    GENRES,
    RATE,
    SMALL,
    make_beeps,
    make_esc_folders,
    make_esc_listed,
    make_fsdd,
    make_gtzan,
    tone,
    write_wav,
)

from kdlsr.config import UserError, build
from kdlsr.config.inputs import SpectrogramSpec
from kdlsr.config.schema import DatasetConfig
from kdlsr.data import Dataset, datasets
from kdlsr.data.audio import LogMel
from kdlsr.data.prepare import facts_of
from kdlsr.data.sound_files import read_sound


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDLSR_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def beeps(tmp_path: Path) -> Path:
    return make_beeps(tmp_path / "beeps")


def sounds(name: str, root: Path, **options: Any) -> Dataset:
    return build(datasets.get(name), {"root": str(root), **SMALL, **options}, "dataset")


def refusal(name: str, root: Path, **options: Any) -> str:
    """What a data set says, in one line, before or while it is loaded."""

    def attempt() -> None:
        dataset = sounds(name, root, **options)
        dataset.facts()
        dataset.load()

    with pytest.raises(UserError) as refused:
        attempt()
    message = str(refused.value)
    assert "\n" not in message
    return message


# ---------------------------------------------------------------- what is read


def test_a_tree_of_sounds_becomes_spectrograms_with_their_classes(beeps: Path) -> None:
    dataset = sounds("audio_folder", beeps)
    facts = dataset.facts()
    assert facts.spec == SpectrogramSpec(16, 17)
    assert (facts.class_names, facts.train, facts.test) == (("high", "low", "middle"), 12, 6)
    assert facts.skipped == ()
    train, test = dataset.load()
    assert train.pixels.shape == (12, 16, 17, 1)
    assert train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    loudest = train.pixels[..., 0].astype(int).sum(axis=2).argmax(axis=1)
    high, low, middle = (set(loudest[i : i + 4].tolist()) for i in (0, 4, 8))
    assert max(low) < min(middle) <= max(middle) < min(high)
    assert train.pixels.reshape(12, -1).max(axis=1).tolist() == [255] * 12


@pytest.mark.parametrize(
    ("name", "form", "subtype"),
    [
        ("a.au", "AU", "PCM_16"),
        ("a.flac", "FLAC", "PCM_16"),
        ("a.wav", "AU", "PCM_16"),  # the content decides, not the suffix
        ("a.txt", "WAV", "PCM_24"),
        ("a", "AIFF", "PCM_16"),
        ("a.wav", "WAVEX", "FLOAT"),
    ],
)
def test_a_sound_is_read_whatever_it_is_called(
    beeps: Path, name: str, form: str, subtype: str
) -> None:
    samples = np.round(tone(2400, seed=7) * 32767) / 32768
    soundfile.write(beeps / "train/high" / name, samples, RATE, format=form, subtype=subtype)
    assert np.abs(read_sound(beeps / "train/high" / name, RATE) - samples).max() < 1e-7
    assert sounds("audio_folder", beeps).facts().train == 13


def test_what_is_no_sound_is_passed_over_and_counted(beeps: Path) -> None:
    before = sounds("audio_folder", beeps).facts()
    (beeps / "train/low/notes.txt").write_text("of tones")
    (beeps / "test/low/cover.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    (beeps / "test/low/._0.wav").write_bytes(b"hidden: not counted")
    for _ in range(2):  # remembered, the second time
        facts = sounds("audio_folder", beeps).facts()
        assert dict(facts.skipped or ()) == {".txt": 1, ".png": 1}
        assert facts.fingerprint == before.fingerprint


def test_a_tree_that_was_read_as_images_is_read_as_sounds_all_the_same(beeps: Path) -> None:
    with pytest.raises(UserError, match="holds no image"):
        build(datasets.get("image_folder"), {"root": str(beeps)}, "dataset").facts()
    assert sounds("audio_folder", beeps).facts().train == 12


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(400, seed=1), tone(900, seed=2)
    stereo = write_wav(tmp_path / "a.wav", np.stack([left, right], axis=1))
    np.testing.assert_allclose(read_sound(stereo, RATE), (left + right) / 2, atol=1e-4)


@pytest.mark.parametrize("rate", [4000, 11025, 44100])
def test_another_rate_becomes_the_same_sound(tmp_path: Path, rate: int) -> None:
    time = np.arange(rate // 4) / rate
    path = write_wav(tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 500 * time), rate)
    ours = read_sound(path, RATE)
    assert len(ours) == RATE // 4
    expected = 0.5 * np.sin(2 * np.pi * 500 * np.arange(len(ours)) / RATE)
    np.testing.assert_allclose(ours[200:-200], expected[200:-200], atol=2e-3)


def test_of_longer_sounds_the_middle_is_taken_and_shorter_ones_end_with_silence(
    tmp_path: Path,
) -> None:
    decoding = LogMel(SpectrogramSpec(16, 11), RATE, 640, 128, 64)
    long = np.concatenate([tone(300, 0.1), tone(2500, 0.08), tone(300, 0.1)])
    middle = decoding.decode(write_wav(tmp_path / "long.wav", long))
    alone = decoding.decode(write_wav(tmp_path / "middle.wav", tone(2500, 0.08)))
    assert np.array_equal(middle, alone)
    short = decoding.decode(write_wav(tmp_path / "short.wav", tone(2500, 0.03)))
    assert short.shape == (16, 11, 1)
    assert short[:, 5:].max() == 0
    assert short[:, :4].max() == 255


# ---------------------------------------------------------------- what is refused


def _cut(path: Path, by: int) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def _written(path: Path, form: str, **options: Any) -> Path:
    soundfile.write(path, tone(700), RATE, format=form, subtype="PCM_16", **options)
    return path


@pytest.mark.parametrize("form", ["WAV", "AU", "FLAC"])
@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_a_sound_that_ends_before_its_header_says_is_refused(
    beeps: Path, form: str, endian: str
) -> None:
    options = {} if form == "FLAC" else {"endian": endian}
    path = _written(beeps / "train/low/0.wav", form, **options)
    whole = read_sound(path, RATE)
    assert len(whole) == 1024
    _cut(path, 400)
    if form != "FLAC":
        with soundfile.SoundFile(path) as sound:  # which sees nothing amiss
            assert 0 < len(sound.read()) == sound.frames < 1024
    message = refusal("audio_folder", beeps)
    assert str(path) in message
    assert "ends early" in message or "no readable sound" in message


@pytest.mark.parametrize("length", [0xFFFF_FFFF, 0x7FFF_F000])
def test_a_header_that_leaves_the_length_open_is_read_to_the_end(
    tmp_path: Path, length: int
) -> None:
    path = write_wav(tmp_path / "a.wav", tone(700))
    content = path.read_bytes()
    path.write_bytes(content[:40] + struct.pack("<I", length) + content[44:])
    assert len(read_sound(path, RATE)) == 1024


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no readable sound"),
        (bytes(range(256)) * 9, "no readable sound"),
        (b"RIFF", "no readable sound"),
        ("header", "holds no sound"),
        ("rate", "says 7 samples a second"),
    ],
)
def test_a_file_that_is_no_sound_is_named(beeps: Path, content: bytes | str, reason: str) -> None:
    path = beeps / "test/middle/1.wav"
    if content == "header":
        write_wav(path, np.zeros(0))
    elif content == "rate":
        write_wav(path, tone(100), rate=7)
    else:
        assert isinstance(content, bytes)
        path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        sounds("audio_folder", beeps).facts()
    assert str(refused.value).startswith(f"{path} ")
    assert reason in str(refused.value)


def test_a_silent_sound_is_named(beeps: Path) -> None:
    path = write_wav(beeps / "test/low/0.wav", np.zeros(1024))
    assert refusal("audio_folder", beeps).startswith(f"{path} is silent")


def test_samples_that_are_no_numbers_are_refused(beeps: Path) -> None:
    path, samples = beeps / "test/low/0.wav", tone(500)
    samples[3] = np.nan
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    assert refusal("audio_folder", beeps).startswith(f"{path} holds samples that are no finite")


@pytest.mark.filterwarnings("error")
def test_samples_beyond_any_recorders_are_refused(beeps: Path) -> None:
    path, samples = beeps / "test/low/0.wav", tone(500)
    soundfile.write(path, 32768 * samples, RATE, subtype="DOUBLE")
    sounds("audio_folder", beeps).load()
    samples[3] = 1e200
    soundfile.write(path, samples, RATE, subtype="DOUBLE")
    assert refusal("audio_folder", beeps).startswith(f"{path} holds samples as large as 1e+200")


def test_losses_are_refused_unless_told_otherwise(beeps: Path) -> None:
    (beeps / "train/low/1.wav").write_bytes(b"junk")
    assert "1.wav is no readable sound" in refusal("audio_folder", beeps)
    facts = sounds("audio_folder", beeps, skip_unreadable=True).facts()
    assert (facts.train, dict(facts.skipped or ())) == (11, {".wav": 1})
    _cut(_written(beeps / "train/low/1.wav", "WAV"), 400)
    facts = sounds("audio_folder", beeps, skip_unreadable=True).facts()
    assert (facts.train, dict(facts.skipped or ())) == (11, {".wav": 1})
    (beeps / "train/low/1.wav").unlink()
    (beeps / "train/low/1.m4a").write_bytes(b"nothing that is read here")
    message = refusal("audio_folder", beeps)
    assert message.startswith(f"{beeps / 'train/low'} would lose 1 of 4 sounds (1 .m4a; the first:")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"n_fft": 127}, "expected an even n_fft"),
        ({"hop": 129}, "a hop no longer than it"),
        ({"mels": 100}, "bands lie between two frequencies"),
        ({"seconds": 0}, "dataset.seconds=0 is not possible"),
        ({"rate": 100}, "dataset.rate=100 is not possible"),
    ],
)
def test_an_impossible_front_end_is_refused(
    beeps: Path, options: dict[str, Any], reason: str
) -> None:
    assert reason in refusal("audio_folder", beeps, **options)


def test_without_soundfile_the_extra_is_named(beeps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert refusal("audio_folder", beeps).endswith("pip install 'kdlsr[audio]'")


# ---------------------------------------------------------------- what is cached


def test_the_front_end_and_the_split_are_parts_of_the_fingerprint(tmp_path: Path) -> None:
    root = make_fsdd(tmp_path / "fsdd")
    changes = ({}, {"hop": 32}, {"n_fft": 256}, {"rate": 4000, "seconds": 0.256})
    changes += ({"split": "speaker:ann"}, {"split": "speaker:bob"})
    prints = {sounds("fsdd", root, **change).facts().fingerprint for change in changes}
    assert len(prints) == len(changes)


def test_the_second_load_decodes_nothing(beeps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sounds("audio_folder", beeps).load()
    monkeypatch.setattr(LogMel, "decode", None)
    second = sounds("audio_folder", beeps).load()
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, second, strict=True))


# ---------------------------------------------------------------- the data sets


def test_one_folder_of_classes_is_split_at_random_and_says_so(tmp_path: Path) -> None:
    root = make_beeps(tmp_path / "tree", train=6) / "train"
    assert "dataset.test_fraction=0.2" in refusal("audio_folder", root)
    facts = sounds("audio_folder", root, test_fraction=0.34).facts()
    assert (facts.train, facts.test) == (12, 6)
    assert "at random (dataset.test_seed=0)" in str(facts.remark)
    same = sounds("audio_folder", root, test_fraction=0.34).facts()
    other = sounds("audio_folder", root, test_fraction=0.34, test_seed=1).facts()
    assert facts.fingerprint == same.fingerprint != other.fingerprint
    _, test = sounds("audio_folder", root, test_fraction=0.34).load()
    assert np.bincount(test.labels).tolist() == [2, 2, 2]
    assert "has a test/ of its own" in refusal("audio_folder", tmp_path / "tree", test_fraction=0.5)


def test_one_file_a_class_cannot_be_split(tmp_path: Path) -> None:
    root = make_beeps(tmp_path / "tree", train=1) / "train"
    message = refusal("audio_folder", root, test_fraction=0.2)
    assert message.startswith("dataset.test_fraction=0.2 leaves nothing to test on: no class has")
    make_gtzan(tmp_path / "genres", tracks=1)
    assert "leaves nothing to test on" in refusal("gtzan", tmp_path)


def test_fsdd_is_tested_on_recordings_0_to_4_or_on_a_speaker(tmp_path: Path) -> None:
    root = make_fsdd(tmp_path)
    facts = sounds("fsdd", root).facts()
    assert (facts.train, facts.test, facts.num_classes) == (40, 100, 10)
    train, test = sounds("fsdd", root).load()
    assert np.bincount(train.labels).tolist() == [4] * 10
    assert np.bincount(test.labels).tolist() == [10] * 10
    facts = sounds("fsdd", root, split="speaker:bob").facts()
    assert (facts.train, facts.test) == (70, 70)
    message = refusal("fsdd", root, split="speaker:bop")
    assert message.endswith("no such speaker; nearest: bob")
    assert "expected index, or speaker:<name>" in refusal("fsdd", root, split="theo")
    write_wav(root / "recordings/three.wav", tone(300))
    facts = sounds("fsdd", root, skip_unreadable=True).facts()
    assert facts.skipped == (("not named <digit>_<speaker>_<index>.wav", 1),)
    assert "holds no recordings/" in refusal("fsdd", tmp_path / "nothing")


def test_escs_folds_are_its_test_sets_in_both_layouts(tmp_path: Path) -> None:
    folders = make_esc_folders(tmp_path / "a")
    listed = make_esc_listed(tmp_path / "b")
    for name, root, classes in (
        ("esc10", folders, 10),
        ("esc10", listed, 10),
        ("esc50", listed, 50),
    ):
        prints = set()
        for fold in (1, 5):
            facts = sounds(name, root, fold=fold).facts()
            assert (facts.train, facts.test) == (4 * classes, classes)
            assert facts.num_classes == classes
            prints.add(facts.fingerprint)
        assert len(prints) == 2
    facts = sounds("esc10", listed).facts()
    assert facts.class_names == tuple(f"sound{target}" for target in range(0, 50, 5))
    _, test = sounds("esc10", folders).load()
    assert test.labels.tolist() == list(range(10))
    assert "has 10 classes, not 50" in refusal("esc50", folders)
    (folders / "001 - sound/5-05-A.wav").rename(folders / "001 - sound/6-05-A.wav")
    assert "'6' is no fold; expected 1 to 5" in refusal("esc10", folders)
    meta = listed / "meta/esc50.csv"
    meta.write_text(meta.read_text().replace("target", "label", 1))
    assert refusal("esc50", listed) == f"{meta} has no column 'target'"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("1-0-A-0.wav,1,0,sound0,True,0", "1-0-A-0.wav,1", ", line 2: expected 6 columns"),
        ("1-0-A-0.wav,1,0,sound0,True,0", "1-0-A-0.wav,1,0,a,True,0,8", ", line 2: expected 6 col"),
        ("1-0-A-0.wav,1", "2-0-A-0.wav,1", ": 2-0-A-0.wav stands in it twice"),
        ("1-0-A-0.wav,1,0,sound0", "1-0-A-0.wav,1,0,sound5", ": target 0 is 'sound5' and 'sound0'"),
        (",0,sound0,", ",0,sound5,", ": 'sound5' is target 0 and 5"),
    ],
)
def test_escs_table_has_to_be_whole_and_of_one_mind(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    meta = make_esc_listed(tmp_path) / "meta/esc50.csv"
    meta.write_text(meta.read_text().replace(old, new))
    assert refusal("esc10", tmp_path).startswith(f"{meta}{expected}")


@pytest.mark.parametrize(
    ("layout", "suffix"),
    [
        ("", ".wav"),
        ("genres", ".au"),
        ("genres_original", ".wav"),
        ("Data/genres_original", ".wav"),
    ],
)
def test_gtzan_is_read_in_its_layouts(tmp_path: Path, layout: str, suffix: str) -> None:
    make_gtzan(tmp_path / layout, suffix)
    (tmp_path / layout / "blues" / "._blues.00050.wav").write_bytes(b"of a Mac")
    facts = sounds("gtzan", tmp_path).facts()
    assert (facts.train, facts.test, facts.class_names) == (40, 10, tuple(GENRES))
    assert "artists are in both parts" in str(facts.remark)


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Of each genre's tracks 50 to 53 two to train on, one held back, one to test on."""
    folder = tmp_path / "lists"
    folder.mkdir()
    numbers = {"train": (51, 54), "valid": (50,), "test": (52,)}
    for split, chosen in numbers.items():
        lines = [f"{genre}/{genre}.{n:05}.wav\n" for genre in GENRES for n in chosen]
        (folder / f"{split}_filtered.txt").write_text("".join(lines))
    return folder


@pytest.mark.parametrize("suffix", [".wav", ".au"])
def test_gtzans_lists_are_followed_whatever_the_suffix(
    tmp_path: Path, lists: Path, suffix: str
) -> None:
    make_gtzan(tmp_path / "genres", suffix)
    facts = sounds("gtzan", tmp_path, lists=str(lists)).facts()
    assert (facts.train, facts.test, facts.remark) == (20, 10, None)
    assert dict(facts.skipped or ()) == {"of the valid list": 10, "on no list": 10}
    (lists / "test_filtered.txt").write_text("pop/pop.00099.wav\n")
    message = refusal("gtzan", tmp_path, lists=str(lists))
    assert message.endswith("lists 1 tracks that are not there; the first: pop.00099")
    (lists / "test_filtered.txt").write_text("pop/pop.00051.wav\n")
    assert "pop.00051 stands in train_filtered.txt too" in refusal(
        "gtzan", tmp_path, lists=str(lists)
    )
    assert "there is no train_filtered.txt" in refusal("gtzan", tmp_path, lists=str(tmp_path))


def test_gtzans_broken_file_is_named_and_skipped_only_when_told_to(
    tmp_path: Path, lists: Path
) -> None:
    make_gtzan(tmp_path / "genres")
    (tmp_path / "genres/jazz/jazz.00054.wav").write_bytes(b"no sound at all")
    message = refusal("gtzan", tmp_path, lists=str(lists))
    assert "jazz.00054.wav is no readable sound" in message
    assert message.endswith("dataset.skip_unreadable=true goes on without it")
    facts = sounds("gtzan", tmp_path, lists=str(lists), skip_unreadable=True).facts()
    assert (facts.train, facts.test) == (19, 10)
    assert dict(facts.skipped or ())[".wav"] == 1


def test_gtzans_broken_file_may_be_missing_when_told_to(tmp_path: Path, lists: Path) -> None:
    make_gtzan(tmp_path / "genres")
    (tmp_path / "genres/jazz/jazz.00054.wav").unlink()
    message = refusal("gtzan", tmp_path, lists=str(lists))
    assert "the first: jazz.00054; this file is known to be broken" in message
    facts = sounds("gtzan", tmp_path, lists=str(lists), skip_unreadable=True).facts()
    assert (facts.train, facts.test) == (19, 10)
    assert dict(facts.skipped or ())["on a list and not there"] == 1
    (tmp_path / "genres/jazz/jazz.00051.wav").unlink()
    message = refusal("gtzan", tmp_path, lists=str(lists), skip_unreadable=True)
    assert message.endswith("lists 1 tracks that are not there; the first: jazz.00051")


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_list_of_gtzan_is_refused(tmp_path: Path, lists: Path, split: str) -> None:
    make_gtzan(tmp_path / "genres")
    (lists / f"{split}_filtered.txt").write_text("")
    options = {"root": str(tmp_path), "lists": str(lists), **SMALL}
    with pytest.raises(UserError, match=f"dataset=gtzan has nothing to {split} on"):
        facts_of(DatasetConfig(name="gtzan", options=options))


def test_gtzan_without_a_genre_is_refused(tmp_path: Path) -> None:
    make_gtzan(tmp_path / "genres")
    (tmp_path / "genres/pop").rename(tmp_path / "genres/opera")
    assert "has no folder pop/" in refusal("gtzan", tmp_path)
    assert "holds no blues/*.wav" in refusal("gtzan", tmp_path / "elsewhere")
