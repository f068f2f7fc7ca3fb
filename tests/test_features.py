"""Kept features: what the last layer is given, no number of the run, made when it is asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kdlsr.config import UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.models import build_model
from kdlsr.runs.execute import complete_run, status_of, store_of
from kdlsr.runs.features import KeptFeatures, read_features
from kdlsr.runs.folder import DamagedFile
from kdlsr.runs.plan import Run
from kdlsr.runs.session import Session
from kdlsr.training.features import last_layer

PROMISED = ("metrics.jsonl", "test_logits.npz")


def _kept(run: Run) -> KeptFeatures:
    folder = store_of(run.config).run(run.run_id)
    result = folder.result()
    assert result is not None
    found = read_features(folder, result)
    assert found is not None
    return found


def test_the_last_layer_makes_the_runs_logits_of_its_features(plan: Any) -> None:
    run = plan("keep_features=true")
    complete_run(run, Session())
    found = _kept(run)
    folder = store_of(run.config).run(run.run_id).path
    with np.load(folder / "test_logits.npz") as logits:
        made = found.features @ found.weight.T + found.bias
        assert np.allclose(made, logits["logits"], atol=1e-4)
        assert np.array_equal(found.labels, logits["labels"])
    assert found.features.shape == (500, 16)


def test_features_move_no_number_and_no_run_id(plan: Any, tmp_path: Path) -> None:
    kept, plain = plan("keep_features=true"), plan(f"output_dir={tmp_path / 'plain'}")
    assert kept.run_id == plain.run_id
    folders = []
    for run in (kept, plain):
        complete_run(run, Session())
        folders.append(store_of(run.config).run(run.run_id).path)
    for name in (*PROMISED, "checkpoints/epoch-0003.pt"):
        assert folders[0].joinpath(name).read_bytes() == folders[1].joinpath(name).read_bytes()
    assert not (folders[1] / "test_features.npz").exists()


def test_a_complete_run_without_features_makes_them_from_its_checkpoint(plan: Any) -> None:
    plain, asked = plan(), plan("keep_features=true")
    complete_run(plain, Session())
    folder = store_of(plain.config).run(plain.run_id)
    before = {name: (folder.path / name).read_bytes() for name in PROMISED}
    assert (status_of(plain), status_of(asked)) == ("complete", "incomplete")
    complete_run(asked, Session())
    assert {name: (folder.path / name).read_bytes() for name in PROMISED} == before
    assert status_of(asked) == "complete"
    assert len(_kept(asked).features) == 500


def test_features_without_a_checkpoint_to_make_them_from_are_done_without(plan: Any) -> None:
    plain, asked = plan(), plan("keep_features=true")
    complete_run(plain, Session())
    for path in store_of(plain.config).run(plain.run_id).checkpoints.iterdir():
        path.unlink()
    assert status_of(asked) == "complete"
    complete_run(asked, Session())


def test_altered_features_are_not_believed(plan: Any) -> None:
    run = plan("keep_features=true")
    complete_run(run, Session())
    folder = store_of(run.config).run(run.run_id)
    path = folder.path / "test_features.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFile, match="not what its result is of"):
        _kept(run)
    assert status_of(run, whole=True) == "incomplete"
    complete_run(run, Session())
    assert len(_kept(run).features) == 500


def test_a_teachers_features_are_kept_too(plan: Any) -> None:
    run = plan("keep_features=true", "loss=kd", "teacher=self")
    complete_run(run, Session())
    assert run.teacher_run is not None
    assert len(_kept(run.teacher_run).features) == 500


@pytest.mark.parametrize("name", ["mobilenetv2", "resnet18", "plain_cnn", "googlenet"])
def test_the_last_layer_is_found_in_networks_of_any_shape(name: str) -> None:
    spec = ImageSpec(32, 32, 3)
    with torch.device("meta"):
        model = build_model(name, {}, spec=spec, num_classes=7).eval()
        layer, given = last_layer(model, 7), []
        layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        logits = model(torch.empty(2, *spec.shape))
    assert logits.shape == (2, 7)
    assert given[0].flatten(1).shape == (2, layer.weight.flatten(1).shape[1])


def test_a_network_without_a_last_layer_is_told_in_a_line() -> None:
    with pytest.raises(UserError, match="no last linear layer of 3 outputs"):
        last_layer(nn.Sequential(nn.Linear(2, 4), nn.ReLU()), 3)
