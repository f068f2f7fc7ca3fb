"""What comes from elsewhere, by entry points and a config folder, without a line of kdlsr changed.

A text data set with a network for it, and view steps of both kinds (`outside.py`).
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import environment
from outside import SPEC, Erase, MadeText, UpsideDown
from PIL import Image
from test_views import by_torchvision, draw, in_units_of_pixels, noise, samples_of, views_of
from torchvision.transforms import functional as pil_functional

from kdlsr.config import UserError
from kdlsr.config.schema import DatasetConfig
from kdlsr.data import datasets
from kdlsr.data.image_samples import ImageSamples
from kdlsr.data.prepare import facts_of
from kdlsr.data.recipe import Draws, ViewRecipe, read_recipe
from kdlsr.data.stream import TrainStream
from kdlsr.data.view_steps.flip import Flip
from kdlsr.data.view_steps.pad_crop import PadCrop
from kdlsr.data.view_steps.rotate import Rotate

TESTS = Path(__file__).parent
ENTRY_POINTS = """
[kdlsr.datasets]
made_text = outside:MadeText
[kdlsr.models]
bag = outside:BAG
[kdlsr.view_steps]
upside_down = outside:UpsideDown
erase = outside:Erase
"""
YAML = {
    "dataset/made_text": "name: made_text\nviews: none\nval_fraction: 0.0\n",
    "model/bag": "name: bag\nwidth: 16\n",
    "views/mine": "- upside_down: {probability: 0.25}\n- flip\n- erase: {size: 3}\n",
}
TEXT = [
    "dataset=made_text",
    "model=bag",
    "schedule=quick",
    "schedule.sgd.lr=2",
    "schedule.epochs=6",
]


@pytest.fixture
def outside(tmp_path: Path) -> Callable[..., Any]:
    """Runs `kdlsr.train` beside a distribution `outside` and its config folder."""
    metadata = tmp_path / "site" / "outside-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Name: outside\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    for name, text in YAML.items():
        file = tmp_path / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    variables = environment()
    path = f"{variables.get('PYTHONPATH', '')}:{metadata.parent}:{TESTS}"

    def run(*overrides: str) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "kdlsr.train", "--config-dir", "conf", *overrides],
            cwd=tmp_path,
            env=variables | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def results(folder: Path) -> dict[str, dict[str, Any]]:
    files = (folder / "outputs" / "runs").glob("*/result.json")
    return {file.parent.name[:-11]: json.loads(file.read_text()) for file in files}


# ---------------------------------------------------------------- text


def test_text_is_trained_on_by_the_program_as_it_is(
    outside: Callable[..., Any], tmp_path: Path
) -> None:
    done = outside(*TEXT, "loss=tfkd_self", "dataset.val_fraction=0.1", "precision=bf16")
    assert done.returncode == 0, done.stderr
    found = results(tmp_path)
    assert sorted(found) == ["made_text-bag-ce-s1000", "made_text-bag-tfkd_self-from-self-s0"]
    for result in found.values():
        assert result["protocols"]["last"]["test"]["top1"] > 90
        assert result["protocols"]["best_val"] is not None


def test_what_is_for_images_is_refused_for_text_in_one_line(
    outside: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = outside(*TEXT, "model=resnet8")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("kdlsr: model=resnet8 takes images; dataset=made_text gives tokens, at")
    datasets.names()
    monkeypatch.setitem(datasets._options, "made_text", MadeText)
    with pytest.raises(UserError, match="flip takes images; dataset=made_text gives tokens, at"):
        facts_of(DatasetConfig(name="made_text", views=("flip",)))
    with pytest.raises(UserError, match=r"dataset\.mean has 1 values; made_text has 0 channels"):
        facts_of(DatasetConfig(name="made_text", mean=(0.5,)))


def test_text_has_an_order_and_a_padding_of_its_own_behind_the_same_stream() -> None:
    content, _ = MadeText(sentences=70).load()
    samples = content.samples(SPEC, None, ViewRecipe(), torch.device("cpu"))
    assert (samples.normalisation, samples.on_device) == (None, False)
    stream = TrainStream(samples, np.arange(70), data_seed=0, batch_size=8)
    first, second = list(stream.epoch(0)), list(stream.epoch(1))
    assert sorted(torch.cat([batch.rows for batch in first]).tolist()) == list(range(70))
    assert [b.rows.tolist() for b in first] != [b.rows.tolist() for b in second]
    widths = []
    for batch in first:
        assert isinstance(batch.inputs, dict)
        lengths = (batch.inputs["tokens"] > 0).sum(1)
        assert lengths.tolist() == samples.lengths[batch.rows].tolist()
        assert batch.labels.tolist() == content.labels[batch.rows].tolist()
        assert lengths.max() - lengths.min() <= 3
        widths.append(batch.inputs["tokens"].shape[1])
    assert len(set(widths)) > 3


# ---------------------------------------------------------------- view steps


def test_steps_of_both_kinds_are_one_file_and_one_list(
    outside: Callable[..., Any], tmp_path: Path
) -> None:
    small = ["dataset=digits", "model=resnet8", "model.width=4", "dataset.subset=128"]
    for views in ("mine", "[upside_down,{erase:{size:2}}]"):
        done = outside(*small, "schedule=quick", "schedule.epochs=1", f"dataset.views={views}")
        assert done.returncode == 0, done.stderr
    folders = list((tmp_path / "outputs" / "runs").iterdir())
    assert len(folders) == 2  # other steps: another run
    assert "erase" in "".join((folder / "config.yaml").read_text() for folder in folders)


def test_a_step_more_changes_no_other_steps_draws_and_draws_for_itself() -> None:
    cifar = read_recipe("cifar")
    more = ViewRecipe({"upside_down": UpsideDown(), **cifar.steps, "erase": Erase(3)})
    base, drawn = draw(cifar, 500, 3, 7).parameters, draw(more, 500, 3, 7).parameters
    assert all(np.array_equal(base[name], drawn[name]) for name in base)
    assert np.array_equal(draw(more, 50, 3, 7).parameters["erase"], drawn["erase"][:, :50])
    for other in (draw(more, 500, 4, 7), draw(more, 500, 3, 8)):
        assert not np.array_equal(other.parameters["erase"], drawn["erase"])
    renamed = draw(ViewRecipe({"erase_too": Erase(3)}), 500, 3, 7).parameters["erase_too"]
    everything = np.concatenate([*drawn.values(), renamed])
    assert np.abs(np.corrcoef(everything) - np.eye(len(everything))).max() < 0.2


def test_the_values_of_a_step_are_in_the_identity_of_the_views() -> None:
    identities = [ViewRecipe({"erase": Erase(size)}).identity() for size in (3, 3, 4)]
    assert identities[0] == identities[1] == [["erase", {"size": 3}]]
    assert identities[1] != identities[2]


@pytest.mark.parametrize(
    "steps",
    [
        {"upside_down": UpsideDown(), "rotate": Rotate(40)},
        {"rotate": Rotate(40), "upside_down": UpsideDown(), "flip": Flip()},
        {"pad_crop": PadCrop(3), "upside_down": UpsideDown(), "rotate": Rotate(180)},
        {"upside_down": UpsideDown(), "pad_crop": PadCrop(3)},
    ],
    ids="-".join,
)
def test_a_step_that_moves_pixels_composes_with_ours_into_pillows_own_pixels(steps: Any) -> None:
    pixels = noise(200, 30, 3)[:, :21]
    draws = draw(ViewRecipe(steps), 200, 0, 0)
    ours = views_of(in_units_of_pixels(pixels), np.arange(200), draws)
    for i in range(200):
        expected = pixels[i]
        for name, step in steps.items():
            one = Draws(ViewRecipe({name: step}), 200, {name: draws.parameters[name]})
            if name != "upside_down":
                expected = by_torchvision(expected, one, i)
            elif one.parameters[name][0, i]:
                expected = np.asarray(pil_functional.vflip(Image.fromarray(expected)))
        assert np.array_equal(ours[i].permute(1, 2, 0).numpy(), expected)


def erased(pixels: np.ndarray, **options: Any) -> ImageSamples:
    return samples_of(pixels, views=ViewRecipe({"flip": Flip(), "erase": Erase(5)}), **options)


def test_a_step_that_changes_pixels_acts_on_those_looked_up_before_they_are_normalised() -> None:
    pixels = 1 + noise(60, 16, 3) // 2
    with_erasing, without = erased(pixels), samples_of(pixels, views=ViewRecipe({"flip": Flip()}))
    rows = np.arange(60)
    views, unerased = (s.views(rows, 0, 3)(slice(None)) for s in (with_erasing, without))
    black = samples_of(np.zeros((1, 16, 16, 3), np.uint8)).plain(np.arange(1))(slice(None))
    changed = (views != unerased).all(1)
    assert torch.equal(changed, (views != unerased).any(1))
    assert (changed.sum((1, 2)) == 25).all()
    assert torch.equal(views, torch.where(changed[:, None], black, unerased))
    corners = {tuple(torch.nonzero(mask)[0].tolist()) for mask in changed}
    assert len(corners) > 30


def test_its_parameters_follow_a_view_into_any_batch_and_to_any_device() -> None:
    pixels = noise(60, 16, 3)
    whole = erased(pixels).views(np.arange(60), 0, 3)(slice(None))
    rows = np.random.default_rng(0).permutation(60)
    made = erased(pixels).views(rows, 0, 3)
    kept_off = erased(pixels, device="cpu:0", resident=False).views(rows, 0, 3)
    for part in (slice(0, 7), slice(7, 60)):
        assert torch.equal(made(part), whole[rows[part]])
        assert torch.equal(kept_off(part), whole[rows[part]])


def test_moving_pixels_after_they_were_changed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"flip after erase would move .*: put flip before erase"):
        ViewRecipe({"erase": Erase(2), "flip": Flip()})
