"""What a loss remembers and learns is a run's: in its checkpoint, and the same after a resume."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, RecordingWatcher
from torch import Tensor, nn
from torch.nn import functional as F

from kdlsr.config.compose import compose_config
from kdlsr.config.schema import read_config
from kdlsr.losses import Loss, Step, Terms, losses
from kdlsr.runs.execute import checkpoint_of, complete_run, store_of
from kdlsr.runs.plan import Run, plan_run
from kdlsr.runs.session import Session
from kdlsr.training.checkpoint import checkpoint_epochs, checkpoint_path, read_checkpoint


class Temperature(nn.Module):
    """A temperature that is learned, by its logarithm; which rows were seen, and when."""

    seen: Tensor
    latest: Tensor

    def __init__(self, num_samples: int) -> None:
        super().__init__()
        self.log_tau = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("seen", torch.zeros(num_samples))
        self.register_buffer("latest", torch.zeros(3, dtype=torch.float64))


@dataclass(frozen=True, kw_only=True)
class LearnedTemperature(Loss):
    """Cross-entropy at a temperature that is learned with the network."""

    @property
    def hard_scale(self) -> float:
        return 0.0

    def state(self, num_samples: int) -> nn.Module:
        return Temperature(num_samples)

    def terms(self, step: Step) -> Terms:
        assert isinstance(step.state, Temperature)
        step.state.seen[step.rows] += 1
        step.state.latest[step.epoch] = step.progress
        loss = F.cross_entropy(step.logits.float() / step.state.log_tau.exp(), step.labels)
        return {"total": loss, "log_tau": step.state.log_tau}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is registered for one test, as an entry point would."""
    known = {"learned": LearnedTemperature}
    losses.names()
    monkeypatch.setattr(losses, "_options", losses._options | known)


def _planned(loss: str, folder: Path) -> Run:
    overrides = [*TINY, "precision=fp32", "schedule.epochs=3", f"output_dir={folder}"]
    plain: dict[str, Any] = compose_config(overrides)
    return plan_run(read_config(plain | {"loss": {"name": loss}}))


def _files(run: Run) -> list[bytes]:
    folder = store_of(run.config).run(run.run_id).path
    return [(folder / name).read_bytes() for name in ("metrics.jsonl", "test_logits.npz")]


def _kept_state(run: Run) -> dict[str, Tensor]:
    folder = store_of(run.config).run(run.run_id).checkpoints
    path = checkpoint_path(folder, checkpoint_epochs(folder)[-1])
    state: dict[str, Tensor] = read_checkpoint(path, run.run_id)["loss"]
    return state


@pytest.mark.parametrize("loss", ["ols", "ps_kd", "ls_plus_plus", "cs_kd", "learned"])
def test_a_loss_with_state_goes_on_to_the_same_bits(loss: str, tmp_path: Path) -> None:
    whole, broken = (_planned(loss, tmp_path / name) for name in ("whole", "broken"))
    complete_run(whole, Session())
    checkpoint_of(broken, 1, Session())
    watcher = RecordingWatcher()
    complete_run(broken, Session(watcher))
    assert any("goes on after epoch 1" in line for line in watcher.lines)
    assert _files(whole) == _files(broken)
    states = [_kept_state(run) for run in (whole, broken)]
    assert set(states[0]) == set(states[1])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_what_a_loss_remembers_of_an_epoch_is_in_its_checkpoint(tmp_path: Path) -> None:
    run = _planned("ols", tmp_path)
    complete_run(run, Session())
    state = _kept_state(run)
    assert not state["sums"].any()
    assert torch.allclose(state["labels"].sum(dim=1), torch.ones(10))
    assert not torch.equal(state["labels"], torch.full((10, 10), 0.1))


def test_what_a_loss_learns_is_learned_with_the_network_and_its_terms_are_logged(
    tmp_path: Path,
) -> None:
    run = _planned("learned", tmp_path)
    complete_run(run, Session())
    state = _kept_state(run)
    assert state["log_tau"] != 0.5
    assert sorted(set(state["seen"].tolist())) == [0.0, 3.0]  # of 1,297 samples 256 are trained on
    assert state["seen"].count_nonzero() == 256
    assert state["latest"].tolist() == [3 / 4 / 3, (1 + 3 / 4) / 3, (2 + 3 / 4) / 3]
    folder = store_of(run.config).run(run.run_id).path
    assert '"train": {"total": ' in (folder / "metrics.jsonl").read_text()
    assert '"log_tau": ' in (folder / "metrics.jsonl").read_text()


def test_partners_move_batch_normalisations_statistics_once_more(tmp_path: Path) -> None:
    found = {}
    for loss in ("ce", "cs_kd"):
        state = torch.load(
            checkpoint_of(_planned(loss, tmp_path), 1, Session()), weights_only=True
        )["model"]
        (found[loss],) = {int(v) for k, v in state.items() if k.endswith("batches_tracked")}
    assert found["cs_kd"] == 2 * found["ce"] > 0
