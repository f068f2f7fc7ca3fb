"""The networks of CRD's pairs: counts, names, what they compute; an archive of their weights."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import reference_networks as reference
import torch
from torch import Tensor, nn

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.inputs import ImageSpec
from kdlsr.config.schema import read_config
from kdlsr.models import Recipe, build_model, models
from kdlsr.runs.plan import identity_of, plan_run
from kdlsr.teachers.weights import load_weights

NARROW, WIDE = (16, 16, 32, 64), (32, 64, 128, 256)
Logits = Callable[[reference.Pass, Tensor], Tensor]
# At 100 classes: parameters, the released code's tensors, its forward pass.
NETWORKS: dict[str, tuple[int, reference.Shapes, Logits]] = {
    "crd_resnet20": (278_324, reference.resnet(3, NARROW, 100), reference.resnet_logits),
    "crd_resnet32": (472_756, reference.resnet(5, NARROW, 100), reference.resnet_logits),
    "crd_resnet56": (861_620, reference.resnet(9, NARROW, 100), reference.resnet_logits),
    "crd_resnet110": (1_736_564, reference.resnet(18, NARROW, 100), reference.resnet_logits),
    "crd_resnet8x4": (1_233_540, reference.resnet(1, WIDE, 100), reference.resnet_logits),
    "crd_resnet32x4": (7_433_860, reference.resnet(5, WIDE, 100), reference.resnet_logits),
    "crd_wrn_16_2": (703_284, reference.wrn(2, 2, 100), reference.wrn_logits),
    "crd_wrn_40_1": (569_780, reference.wrn(6, 1, 100), reference.wrn_logits),
    "crd_wrn_40_2": (2_255_156, reference.wrn(6, 2, 100), reference.wrn_logits),
    "crd_vgg8": (3_965_028, reference.vgg(1, 100), reference.vgg_logits),
    "crd_vgg13": (9_462_180, reference.vgg(2, 100), reference.vgg_logits),
    "crd_mobilenetv2": (812_836, reference.mobilenet(100), reference.mobilenet_logits),
    "crd_shufflenetv1": (949_258, reference.shuffle_v1(100), reference.shuffle_v1_logits),
    "crd_shufflenetv2": (1_355_528, reference.shuffle_v2(100), reference.shuffle_v2_logits),
}
ONE_OF_EACH = [
    "crd_resnet8x4",
    "crd_wrn_16_2",
    "crd_wrn_40_1",
    "crd_vgg8",
    "crd_mobilenetv2",
    "crd_shufflenetv1",
    "crd_shufflenetv2",
]


def build(name: str, classes: int = 100, size: int = 32) -> nn.Module:
    return build_model(name, {}, spec=ImageSpec(size, size, 3), num_classes=classes)


def test_all_of_them_are_here() -> None:
    assert sorted(NETWORKS) == [name for name in models.names() if name.startswith("crd_")]


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_and_tensors_are_those_of_the_released_code(name: str) -> None:
    count, shapes, _ = NETWORKS[name]
    with torch.device("meta"):
        model = build(name)
    assert [(n, tuple(t.shape)) for n, t in model.state_dict().items()] == list(shapes.items())
    assert sum(p.numel() for p in model.parameters()) == count
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    learned = {n: shape for n, shape in shapes.items() if not n.endswith(buffers)}
    assert sum(torch.Size(shape).numel() for shape in learned.values()) == count


@pytest.mark.parametrize(("name", "size"), [*((n, 32) for n in ONE_OF_EACH), ("crd_vgg8", 64)])
def test_the_same_tensors_give_the_logits_of_the_released_code(name: str, size: int) -> None:
    torch.set_num_threads(1)
    _, shapes, logits = NETWORKS[name]
    state = reference.made_state(shapes)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    model = build(name, size=size).eval()
    model.load_state_dict(state)
    expected = logits(reference.Pass(state), images.double())
    assert expected.std() > 0.1
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model.to(memory_format=memory_format)  # type: ignore[call-overload]
        found = model(images.contiguous(memory_format=memory_format))
        torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["crd_resnet8x4", "crd_wrn_16_2", "crd_mobilenetv2"])
def test_weights_are_drawn_as_released(name: str) -> None:
    torch.manual_seed(0)
    for module in build(name).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2_000:
            fan_out = module.out_channels * module.weight[0, 0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
        if isinstance(module, nn.Linear):
            assert bool(module.bias.any()) == (name == "crd_resnet8x4")


def test_the_rate_of_the_mobile_ones_is_a_fifth_of_the_others() -> None:
    slow = {f"crd_{name}" for name in ("mobilenetv2", "shufflenetv1", "shufflenetv2")}
    assert {name for name in NETWORKS if models.get(name).recipe == Recipe(lr=0.01)} == slow
    for name, rate in (("crd_resnet8x4", 0.05), ("crd_shufflenetv1", 0.01)):
        chosen = ["dataset=cifar100", f"model={name}", "schedule=crd240"]
        run = plan_run(read_config(compose_config(chosen)))
        schedule = identity_of(run, with_seeds=True)["schedule"]
        assert (schedule["lr"], schedule["batch_size"], schedule["lr_batch_size"]) == (rate, 64, 64)
        assert (schedule["epochs"], schedule["milestones"]) == (240, (150, 180, 210))


# ---------------------------------------------------------------- mdistiller's archive

FILE = "cifar_teachers/crd_vanilla/ckpt_epoch_240.pth"


def archive(path: Path, mode: Any = "w", **files: Any) -> Path:
    """A tar archive as mdistiller's: a folder per network, a file of torch.save in each."""
    with tarfile.open(path, mode) as tar:
        for folder, content in files.items():
            data = content if isinstance(content, bytes) else saved(content)
            member = tarfile.TarInfo(f"./cifar_teachers/{folder}_vanilla/ckpt_epoch_240.pth")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def checkpoint(classes: int = 10, **options: Any) -> bytes:
    state = reference.made_state(reference.wrn(2, 2, classes))
    content = {"epoch": 240, "model": state, "accuracy": torch.tensor(75.6), "optimizer": {}}
    return saved(content, **options)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_in_an_archive_is_matched_by_name(tmp_path: Path, mode: str, zipped: bool) -> None:
    content = checkpoint(_use_new_zipfile_serialization=zipped)
    path = archive(tmp_path / "t.tar", mode, other={"model": {}}, crd=content) / FILE
    model = build("crd_wrn_16_2", classes=10)
    match = load_weights(model, path)
    assert (match.rule, match.key, match.counters) == ("names", "model", True)
    expected = reference.made_state(reference.wrn(2, 2, 10))
    assert all(torch.equal(t, expected[name]) for name, t in model.state_dict().items())


def test_a_teacher_in_an_archive_is_the_one_that_is_unpacked(plan: Any, tmp_path: Path) -> None:
    content = checkpoint()
    unpacked = tmp_path / "ckpt_epoch_240.pth"
    unpacked.write_bytes(content)
    paths = [archive(tmp_path / "teachers.tar", crd=content) / FILE, unpacked]
    chosen = ["loss=kd", "teacher=checkpoint", "teacher.model=crd_wrn_16_2", "dataset=cifar10"]
    inside, outside = (plan(*chosen, f"teacher.path={path}") for path in paths)
    assert inside.run_id == outside.run_id
    assert inside.teacher.identity(with_seeds=True)["sha256"] == hashlib.sha256(content).hexdigest()
    assert "matched by name" in inside.teacher.load(None).remark


class _Code:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.target,)


def test_what_is_wrong_with_an_archive_is_said_in_a_line(plan: Any, tmp_path: Path) -> None:
    path = archive(tmp_path / "t.tar", crd=checkpoint(), code={"x": _Code(tmp_path / "made")})
    plain = tmp_path / "plain.pth"
    plain.write_bytes(checkpoint())
    broken = tmp_path / "broken.tar"
    broken.write_bytes(path.read_bytes()[:5_000])
    expected = {
        path: rf"t\.tar is an archive: .*t\.tar/NAME; it has {FILE}, cifar_teachers/code",
        path / FILE.replace("240", "250"): rf"no such file in t\.tar; nearest: {FILE}",
        plain / FILE: r"plain\.pth is neither a folder nor a tar archive",
        broken / FILE: "the archive is truncated or altered",
        tmp_path / "none.tar" / FILE: "no such file$",
    }
    for wrong, message in expected.items():
        chosen = ["loss=kd", "teacher=checkpoint", "teacher.model=crd_wrn_16_2", "dataset=cifar10"]
        with pytest.raises(UserError, match=message) as error:
            plan(*chosen, f"teacher.path={wrong}")
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="not unpickled"):
        load_weights(build("crd_wrn_16_2"), path / FILE.replace("crd_", "code_"))
    assert not (tmp_path / "made").exists()
