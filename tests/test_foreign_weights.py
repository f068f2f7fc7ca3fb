"""Weights as people have them: averages, prefixes, other code's networks, tensors of odd kinds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import RecordingWatcher
from test_weights import State, network, refusal, same, saved, state
from torch import Tensor, nn
from torch.nn import functional as F

from kdlsr.config import RunFailed, UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.models import build_model, models, options_without_tensors
from kdlsr.runs.execute import complete_run, store_of
from kdlsr.runs.session import Session
from kdlsr.teachers.weights import Match, load_weights

# ---------------------------------------------------------------- averages, keys and prefixes


def averaged(weights: State) -> State:
    """As torch.optim.swa_utils.AveragedModel has them."""
    model = network(seed=9)
    model.load_state_dict(weights)
    return dict(torch.optim.swa_utils.AveragedModel(model).state_dict())


def load(path: Path, content: Any, **options: Any) -> tuple[nn.Module, Match]:
    model = network()
    return model, load_weights(model, saved(path / "w.pt", content), **options)


@pytest.mark.parametrize(
    ("wrap", "key"),
    [
        (lambda s: s, ""),
        (lambda s: {"state_dict_ema": s}, "state_dict_ema"),
        (lambda s: {"model_ema": s, "epoch": 1}, "model_ema"),
        (lambda s: {"ema_state_dict": s}, "ema_state_dict"),
        (lambda s: {"swa_model": s}, "swa_model"),
        (lambda s: {"ema": {"module": s, "decay": 0.999}}, "ema.module"),
        (lambda s: {"averages": s, "epoch": 1}, "averages"),
    ],
)
def test_an_average_that_stands_alone_is_taken(
    tmp_path: Path, wrap: Callable[[State], Any], key: str
) -> None:
    weights = state()
    assert "n_averaged" in averaged(weights)
    model, match = load(tmp_path, wrap(averaged(weights)))
    assert same(model, weights)
    assert (match.key, match.others) == (key, ())


@pytest.mark.parametrize(
    ("plain", "average"),
    [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("model", "ema.module")],
)
def test_weights_beside_their_average_are_taken_and_the_choice_is_said(
    tmp_path: Path, plain: str, average: str
) -> None:
    weights, means = state(), dict(network(seed=3).state_dict())
    outer, _, inner = average.partition(".")
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": []}
    content = {
        outer: {inner: means} if inner else means,
        plain: weights,
        "optimizer": optimizer,
        "loss": {"weight": torch.ones(10)},
    }
    model, match = load(tmp_path, content)
    assert same(model, weights)
    assert (match.key, match.others) == (plain, (average,))
    assert f"of '{plain}'" in str(match)
    assert f"not taken: {average} (teacher.key chooses)" in str(match)
    model, match = load(tmp_path, content, key=average)
    assert same(model, means)
    assert match.key == average


def test_a_key_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    content = {"model": state(), "model_ema": state()}
    with pytest.raises(UserError, match=r"under teacher\.key=ema; it has model, model_ema$"):
        load(tmp_path, content, key="ema")
    with pytest.raises(UserError, match="it has none under any key"):
        load(tmp_path, {"epoch": 3}, key="ema")


def test_several_state_dicts_under_unknown_keys_are_not_guessed_among(tmp_path: Path) -> None:
    content = {"generator": state(), "critic": state()}
    with pytest.raises(UserError, match=r"\(generator, critic\): choose by teacher\.key"):
        load(tmp_path, content)


def test_a_prefix_takes_one_network_out_of_several(tmp_path: Path) -> None:
    student, teacher = state(), dict(network(seed=3).state_dict())
    joint = {f"student.{n}": t for n, t in student.items()}
    joint |= {f"teacher.backbone.{n}": t for n, t in teacher.items()} | {"step": torch.tensor(3)}
    model, match = load(tmp_path, {"state_dict": joint}, prefix="teacher.backbone.")
    assert same(model, teacher)
    assert match.prefix == "teacher.backbone."
    with pytest.raises(
        UserError, match=r"add teacher\.prefix=student\. or teacher\.prefix=teacher\.backbone\.$"
    ):
        load(tmp_path, {"state_dict": joint})
    with pytest.raises(UserError, match=r"no name begins with teacher\.prefix=model\.; .*student"):
        load(tmp_path, {"state_dict": joint}, prefix="model.")


def test_key_and_prefix_choose_a_teacher_and_tell_it_from_others(plan: Any, tmp_path: Path) -> None:
    means = {f"net.{n}": t for n, t in network(seed=3).state_dict().items()}
    content = {"model": state(), "model_ema": means | {"step": torch.tensor(3)}}
    path = saved(tmp_path / "w.pt", content)
    chosen = ["loss=kd", "teacher=checkpoint", f"teacher.path={path}"]
    run = plan(*chosen, "teacher.key=model_ema", "teacher.prefix=net.")
    assert run.teacher.load(None).remark.startswith(f"teacher.path={path}: ")
    assert "of 'model_ema' matched by name, less the prefix 'net.'" in run.teacher.load(None).remark
    assert run.run_id != plan(*chosen).run_id


# ---------------------------------------------------------------- tensors that are no weights


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda t: t.to_sparse(), "is sparse"),
        (lambda t: t.reshape(-1, 9).to_sparse_csr(), "is sparse"),
        (lambda t: t.to("meta"), "is on the meta device"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "is quantised"),
        (lambda t: t.to(torch.complex64), "is complex"),
        (lambda t: (100 * t).to(torch.int8), "is int8, quantised maybe"),
        (lambda t: t.fill_(torch.nan), "holds NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_no_plain_floats_are_refused_by_name(
    tmp_path: Path, made: Callable[[Tensor], Tensor], message: str
) -> None:
    weights = state()
    weights["conv1.weight"] = made(weights["conv1.weight"].clone())
    said = refusal(saved(tmp_path / "w.pt", {"state_dict": weights}))
    assert f": conv1.weight {message}" in said


def test_a_quantised_network_is_called_one(tmp_path: Path) -> None:
    content = {"0.scale": torch.ones(()), "0._packed_params.dtype": torch.qint8}
    assert "holds a quantised network" in refusal(saved(tmp_path / "w.pt", content))


# ---------------------------------------------------------------- other code's networks


class LambdaLayer(nn.Module):
    """Akamaster's: github.com/akamaster/pytorch_resnet_cifar10, resnet.py."""

    def __init__(self, lambd: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, x: Tensor) -> Tensor:
        return self.lambd(x)


class BasicBlock(nn.Module):
    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut: nn.Module = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = LambdaLayer(
                lambda x: F.pad(
                    x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4), "constant", 0
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class Akamasters(nn.Module):
    def __init__(self, num_blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        planes = (16, 16, 32, 64)
        for index in (1, 2, 3):
            first = BasicBlock(planes[index - 1], planes[index], 1 if index == 1 else 2)
            rest = [BasicBlock(planes[index], planes[index], 1) for _ in range(num_blocks - 1)]
            setattr(self, f"layer{index}", nn.Sequential(first, *rest))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = F.avg_pool2d(out, out.size()[3])
        return self.linear(out.view(out.size(0), -1))


def akamasters(num_blocks: int) -> nn.Module:
    torch.manual_seed(2)
    theirs = Akamasters(num_blocks)
    for _ in range(3):
        theirs.train()(torch.randn(16, 3, 32, 32))
    return theirs.eval()


@pytest.mark.parametrize(("name", "blocks"), [("resnet20", 3), ("resnet8", 1)])
def test_shortcuts_padded_on_both_sides_give_akamasters_logits(
    tmp_path: Path, name: str, blocks: int
) -> None:
    theirs, images = akamasters(blocks), torch.randn(8, 3, 32, 32)
    wrapped = {"state_dict": {f"module.{n}": t for n, t in theirs.state_dict().items()}}
    path = saved(tmp_path / "aka.th", wrapped)
    logits = {}
    for padding in ("end", "both"):
        options = {"shortcut_padding": padding}
        ours = build_model(name, options, spec=ImageSpec(32, 32, 3), num_classes=10).eval()
        assert load_weights(ours, path).rule == "order"
        logits[padding] = ours(images)
    torch.testing.assert_close(logits["both"], theirs(images), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits["end"], theirs(images), atol=0.1)


def test_options_that_no_tensor_tells_are_named_with_the_match(plan: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", state())
    run = plan("loss=kd", "teacher=checkpoint", f"teacher.path={path}")
    assert (
        "a network with model.shortcut_padding=both has the same" in run.teacher.load(None).remark
    )
    overridden = plan(
        "loss=kd",
        "teacher=checkpoint",
        f"teacher.path={path}",
        'teacher.overrides=["model.shortcut_padding=both"]',
    )
    assert "with model.shortcut_padding=end has" in overridden.teacher.load(None).remark
    assert overridden.run_id != run.run_id


def test_options_said_to_change_no_tensor_change_none_and_the_logits() -> None:
    spec, images = ImageSpec(32, 32, 3), torch.randn(2, 3, 32, 32)
    named = [name for name in models.names() if models.get(name).without_tensors]
    assert set(named) >= {"googlenet", "resnet20", "resnet8"}
    for name in named:
        for option in options_without_tensors(name, {}):
            key, _, value = option.partition("=")
            other = {key: {"true": True, "false": False}.get(value, value)}
            built = [build_model(name, o, spec=spec, num_classes=10).eval() for o in ({}, other)]
            built[1].load_state_dict(built[0].state_dict())
            assert not torch.equal(built[0](images), built[1](images))


# ---------------------------------------------------------------- answers that cannot be


def googlenet_with_the_slip() -> State:
    """Its running variances are of the released network: tiny where eps is 32 to 128."""
    torch.manual_seed(0)
    options = {"released_eps_slip": True}
    model = build_model("googlenet", options, spec=ImageSpec(8, 8, 1), num_classes=10)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.eps > 1:
            assert module.running_var is not None
            module.running_var.fill_(1e-9)
    return dict(model.state_dict())


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_teacher_whose_logits_cannot_be_ends_the_run_in_any_dtype(
    plan: Any, tmp_path: Path, dtype: str
) -> None:
    path = saved(tmp_path / "slip.pt", googlenet_with_the_slip())
    chosen = ["loss=kd", "teacher=checkpoint", "teacher.model=googlenet", f"teacher.path={path}"]
    run = plan(*chosen, f"teacher.dtype={dtype}", "dataset.subset=64", "schedule.epochs=1")
    watcher = RecordingWatcher()
    with pytest.raises(RunFailed, match=r"differ by .*weights were made for another network"):
        complete_run(run, Session(watcher))
    assert any("model.released_eps_slip=true has the same" in line for line in watcher.lines)
    folder = store_of(run.config).run(run.run_id)
    assert folder.status() == "failed"
    assert not (folder.path / "metrics.jsonl").exists()


def test_logits_that_no_temperature_softens_are_told(plan: Any, tmp_path: Path) -> None:
    weights = state()
    weights["linear.bias"][0] = 3e4
    path = saved(tmp_path / "apart.pt", weights)
    watcher = RecordingWatcher()
    run = plan("loss=kd", "teacher=checkpoint", f"teacher.path={path}", "schedule.epochs=1")
    complete_run(run, Session(watcher))
    assert any("which no temperature in use softens" in line for line in watcher.lines)


def test_nan_among_the_logits_is_not_blamed_on_the_dtype(plan: Any, tmp_path: Path) -> None:
    weights = state()
    weights["bn1.running_var"] -= 10  # the root of a negative number
    path = saved(tmp_path / "nan.pt", weights)
    with pytest.raises(RunFailed, match="is not finite: its weights") as caught:
        complete_run(plan("loss=kd", "teacher=checkpoint", f"teacher.path={path}"), Session())
    assert "dtype" not in str(caught.value)
