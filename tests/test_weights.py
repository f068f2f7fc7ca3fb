"""Weights from files made elsewhere: what fits, what is refused, and that nothing is run."""

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdlsr.config import UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.models import build_model
from kdlsr.teachers.weights import COUNTER, load_weights

State = dict[str, Tensor]


def network(name: str = "resnet8", classes: int = 10, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    options = {"width": 4} if name.startswith("resnet") else {}
    model = build_model(name, options, spec=ImageSpec(8, 8, 1), num_classes=classes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # so that no two tensors are alike
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 1.5)
    return model


def state(**options: Any) -> State:
    return dict(network(seed=7, **options).state_dict())


def foreign(weights: State) -> State:
    """The same weights as another code base would have named its layers."""
    layers: dict[str, int] = {}
    names = {}
    for name in weights:
        layer, _, leaf = name.rpartition(".")
        names[name] = f"backbone.layer{layers.setdefault(layer, len(layers))}.{leaf}"
    return {names[name]: tensor for name, tensor in weights.items()}


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def same(model: nn.Module, weights: State) -> bool:
    own = model.state_dict()
    return all(torch.equal(own[name], tensor) for name, tensor in weights.items())


def refusal(path: Path, model: nn.Module | None = None) -> str:
    model = model or network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_weights(model, path)
    message = str(caught.value)
    assert message.startswith(f"teacher.path={path}")
    assert "\n" not in message
    assert same(model, before), "a refused file must leave the network as it was"
    return message


# ---------------------------------------------------------------- what fits


@pytest.mark.parametrize(
    ("wrap", "key"),
    [
        (lambda s: s, ""),
        (OrderedDict, ""),
        (lambda s: {"model": s, "epoch": 3, "optimizer": {"lr": 0.1}}, "model"),
        (lambda s: {"epoch": 3, "state_dict": s, "optim_dict": {"state": {}}}, "state_dict"),
        (lambda s: {"model_state_dict": s}, "model_state_dict"),
        (lambda s: {"model_state": s, "acc": 0.5}, "model_state"),
        (lambda s: {"net": s, "acc": 93.1, "epoch": 1}, "net"),
        (lambda s: {"model": {"state_dict": s}}, "model.state_dict"),
    ],
)
def test_state_dict_is_found_where_others_keep_it(
    tmp_path: Path, wrap: Callable[[State], Any], key: str
) -> None:
    weights, model = state(), network()
    match = load_weights(model, saved(tmp_path / "w.pt", wrap(weights)))
    assert same(model, weights)
    assert (match.rule, match.key, match.tensors) == ("names", key, len(weights))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_prefix_of_a_wrapper_is_taken_off(tmp_path: Path, prefix: str) -> None:
    weights, model = state(), network()
    renamed = {prefix + name: tensor for name, tensor in weights.items()}
    match = load_weights(model, saved(tmp_path / "w.pt", {"state_dict": renamed}))
    assert same(model, weights)
    assert (match.rule, match.prefix) == ("names", prefix)
    assert f"less the prefix '{prefix}'" in str(match)


def test_file_of_an_old_torch_is_read(tmp_path: Path) -> None:
    weights, model = state(), network()
    content = {"epoch": 199, "state_dict": weights, "optim_dict": {}}
    path = saved(tmp_path / "199.pth.tar", content, _use_new_zipfile_serialization=False)
    load_weights(model, path)
    assert same(model, weights)


@pytest.mark.parametrize("rename", [dict, foreign])
def test_counters_of_batches_may_be_missing(
    tmp_path: Path, rename: Callable[[State], State]
) -> None:
    weights = {n: t for n, t in state().items() if not n.endswith(COUNTER)}
    model = network()
    match = load_weights(model, saved(tmp_path / "w.pt", rename(weights)))
    assert same(model, weights)
    assert not match.counters
    assert match.tensors == len(weights)


@pytest.mark.parametrize("name", ["resnet8", "shufflenetv2", "plain_cnn"])
def test_names_of_another_code_base_are_matched_by_order_and_reported(
    tmp_path: Path, name: str
) -> None:
    weights, model = state(name=name), network(name)
    renamed = {f"module.{key}": tensor for key, tensor in foreign(weights).items()}
    match = load_weights(model, saved(tmp_path / "w.pt", renamed))
    assert same(model, weights)
    assert match.rule == "order"
    assert "by order" in str(match)
    assert "check the accuracy" in str(match)


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    weights, model = state(), network()
    halves = {n: t.half() if t.is_floating_point() else t for n, t in weights.items()}
    load_weights(model, saved(tmp_path / "w.pt", halves))
    assert model.get_parameter("conv1.weight").dtype == torch.float32
    assert same(model, {n: t.to(weights[n].dtype) for n, t in halves.items()})


def test_safetensors_are_read_by_name_only(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights, model = state(), network()
    save_file(weights, tmp_path / "w.safetensors")
    assert load_weights(model, tmp_path / "w.safetensors").rule == "names"
    assert same(model, weights)
    save_file(foreign(weights), tmp_path / "foreign.safetensors")
    assert "missing" in refusal(tmp_path / "foreign.safetensors")


def test_loaded_network_answers_like_the_saved_one(tmp_path: Path) -> None:
    teacher, model = network(seed=5).eval(), network(seed=6).eval()
    load_weights(model, saved(tmp_path / "w.pt", foreign(dict(teacher.state_dict()))))
    images = torch.randn(4, 1, 8, 8)
    assert torch.equal(model(images), teacher(images))


# ---------------------------------------------------------------- what does not fit


def test_shape_differences_are_listed(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path / "w.pt", state(classes=7)))
    assert "2 of another shape" in message
    assert "linear.weight 7x16 in the file, 10x16 in the network" in message


def test_missing_and_unexpected_names_are_listed_and_counted(tmp_path: Path) -> None:
    shallow, deep = state(), state(name="resnet20")
    extra = [name for name in deep if name not in shallow]
    message = refusal(saved(tmp_path / "deep.pt", deep))
    listed = ", ".join(extra[:3])
    assert f"{len(extra)} unexpected ({listed}, and {len(extra) - 3} more)" in message
    extra = [name for name in extra if not name.endswith(COUNTER)]
    message = refusal(saved(tmp_path / "shallow.pt", shallow), network("resnet20"))
    listed = ", ".join(extra[:3])
    assert f"{len(extra)} missing ({listed}, and {len(extra) - 3} more)" in message


def test_order_does_not_match_where_the_number_differs(tmp_path: Path) -> None:
    weights = foreign(state())
    weights.popitem()
    message = refusal(saved(tmp_path / "w.pt", weights))
    assert "in order: 36 tensors in the file, 37 in the network" in message


def test_order_does_not_match_where_a_shape_differs(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path / "w.pt", foreign(state(classes=7))))
    assert "linear.weight 10x16 in the network" in message
    assert "7x16 in the file" in message


def test_order_does_not_match_a_weight_with_a_bias_of_its_shape(tmp_path: Path) -> None:
    weights = foreign(state())
    items = list(weights.items())
    place = next(i for i, (name, _) in enumerate(items) if name.endswith("bias"))
    items[place - 1], items[place] = items[place], items[place - 1]
    assert "in order: " in refusal(saved(tmp_path / "w.pt", dict(items)))


def test_order_does_not_override_a_name_that_both_sides_have(tmp_path: Path) -> None:
    weights = state()
    names = list(weights)
    first, second = "stages.1.conv2.weight", "stages.0.conv2.weight"
    names[names.index(first)] = "renamed.weight"
    names[names.index(second)] = first
    shuffled = dict(zip(names, weights.values(), strict=True))
    model = network()
    # One shape for both, as in deeper networks.
    model.get_submodule("stages.1").conv2 = nn.Conv2d(4, 4, 3, bias=False)
    shuffled["renamed.weight"] = shuffled[first].clone()
    assert "missing (stages.0.conv2.weight)" in refusal(saved(tmp_path / "w.pt", shuffled), model)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "no state dict but a list"),
        (torch.zeros(3), "no state dict but a Tensor"),
        ({"epoch": 3, "lr": 0.1}, "found epoch, lr"),
        ({}, "found nothing"),
        ({"state_dict": {"conv1.weight": "text"}}, "found conv1.weight"),
    ],
)
def test_file_without_a_state_dict_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    assert message in refusal(saved(tmp_path / "w.pt", content))


# ---------------------------------------------------------------- damaged and dangerous files


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.pt").endswith("no such file")
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_file_is_refused(tmp_path: Path, zipped: bool, share: float) -> None:
    path = saved(tmp_path / "w.pt", state(), _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "truncated, altered or no file of torch.save" in refusal(path)


def test_altered_weights_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", state())
    content = bytearray(path.read_bytes())
    place = content.find(state()["conv1.weight"].numpy().tobytes())
    assert place > 0
    content[place] ^= 1
    path.write_bytes(content)
    assert "altered" in refusal(path)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"hello, I am no weights\n" * 9])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("w.pt", "w.safetensors"):
        (tmp_path / name).write_bytes(content)
        assert "truncated, altered or no" in refusal(tmp_path / name)


class _Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / "created"
    content = {"state_dict": state(), "extra": _Malicious(target)}
    path = saved(tmp_path / "w.pt", content, _use_new_zipfile_serialization=zipped)
    message = refusal(path)
    assert "not unpickled" in message
    assert "mkdir" in message
    assert not target.exists()
    torch.load(path, weights_only=False)  # which shows that the file would have done it
    assert target.exists()


def test_code_in_a_plain_pickle_is_not_run(tmp_path: Path) -> None:
    target = tmp_path / "created"
    (tmp_path / "w.pt").write_bytes(pickle.dumps(_Malicious(target)))
    refusal(tmp_path / "w.pt")
    assert not target.exists()


def test_whole_module_is_refused_with_the_way_out(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path / "w.pt", nn.Linear(2, 3)))
    assert "torch.nn.modules.linear.Linear" in message
    assert "save its state dict alone" in message
