"""Networks: the papers' counts, sizes of images, memory format, options, timm's."""

import inspect
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from kdlsr.config import UserError
from kdlsr.config.inputs import ImageSpec, SpectrogramSpec, TokenSpec
from kdlsr.models import Recipe, build_model, models
from kdlsr.models.cifar_resnet import Block
from kdlsr.models.googlenet import Inception
from kdlsr.models.shufflenetv2 import Unit, interleave

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = sorted((REPOSITORY / "conf" / "model").glob("*.yaml"))
# Of the released definitions at 100 classes: trainable parameters, MACs of convolutions and
# linear layers for one 32x32 image in millions, elements in buffers.
COUNTS = {
    "resnet18": (11_220_132, 555.47, 9_620),
    "resnet50": (23_705_252, 1_298.01, 53_173),
    "resnet101": (42_697_380, 2_510.17, 105_448),
    "mobilenetv2": (2_369_380, 64.95, 34_229),
    "shufflenetv2": (1_360_896, 43.68, 16_100),
    "googlenet": (6_258_500, 1_521.85, 15_872),
    "densenet121": (7_048_548, 888.44, 83_640),
    "resnext29": (34_518_948, 5_387.36, 57_503),
}
LARGE = sorted(COUNTS)
SMALL = ["plain_cnn", "resnet20", "resnet8"]
OURS = LARGE + SMALL
CRD = ["crd_resnet20", "crd_wrn_16_2", "crd_vgg8"]  # and those of a rate of their own
CRD += ["crd_mobilenetv2", "crd_shufflenetv1", "crd_shufflenetv2"]
BUILT = [name for name in OURS if name != "resnet101"]  # resnet50's class, at twice the time


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def build(
    name: str, classes: int = 10, channels: int = 3, size: int = 32, **options: Any
) -> nn.Module:
    spec = ImageSpec(size, size, channels)
    return build_model(name, options, spec=spec, num_classes=classes)


def on_meta(name: str, classes: int = 10, size: int = 32, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return build(name, classes, size=size, **options)


def elements(tensors: Any) -> int:
    return sum(t.numel() for t in tensors)


def macs(model: nn.Module, size: int) -> float:
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(1, 3, size, size, device="meta"))
    return counter.get_total_flops() / 2


# ---------------------------------------------------------------- the papers' networks


@pytest.mark.parametrize("name", LARGE)
def test_counts_are_those_of_the_released_definitions(name: str) -> None:
    model = on_meta(name, classes=100)
    trainable = elements(p for p in model.parameters() if p.requires_grad)
    counts = (trainable, round(macs(model, 32) / 1e6, 2), elements(model.buffers()))
    assert counts == COUNTS[name]


def test_resnet20_has_the_parameters_of_he_et_al() -> None:
    assert elements(on_meta("resnet20").parameters()) == 269_722  # "0.27M", table 6


def test_resnet34_has_the_blocks_of_he_et_al() -> None:
    """Blocks of two 3x3 convolutions, each with its normalisation; a shortcut where they widen."""
    stages = ((64, 3), (128, 4), (256, 6), (512, 3))
    blocks = sum(2 * n * (9 * w * w + 2 * w) for w, n in stages)
    narrower = sum(9 * w * w // 2 for w in (128, 256, 512))  # the first convolutions' inputs
    shortcuts = sum(w * w // 2 + 2 * w for w in (128, 256, 512))
    ends = 27 * 64 + 2 * 64 + 513 * 100
    expected = blocks - narrower + shortcuts + ends
    assert elements(on_meta("resnet34", classes=100).parameters()) == expected == 21_328_292


def test_plain_cnn_is_three_convolutions_and_two_linear_layers() -> None:
    model = on_meta("plain_cnn", classes=100)
    shapes = [tuple(p.shape) for p in model.parameters() if p.dim() > 1]
    expected = [(32, 3, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3), (128, 2048), (100, 128)]
    assert shapes == expected


@pytest.mark.parametrize("name", OURS)
def test_takes_images_of_64x64_and_any_number_of_classes(name: str) -> None:
    model = on_meta(name, classes=7, size=64).eval()
    assert model(torch.empty(3, 3, 64, 64, device="meta")).shape == (3, 7)
    if name != "plain_cnn":  # which alone does not pool over all positions
        shapes = [p.shape for p in on_meta(name, classes=7, size=32).parameters()]
        assert [p.shape for p in model.parameters()] == shapes


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_learn_from_small_images_of_one_channel(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, channels=1, size=8)
    images, labels = torch.randn(32, 1, 8, 8), torch.arange(32) % 10
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_mobilenetv2_stem_frames_the_image() -> None:
    stem = on_meta("mobilenetv2").get_submodule("stem")
    assert stem(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 32, 34, 34)


def test_densenet_transitions_have_no_relu() -> None:
    stages = on_meta("densenet121").get_submodule("stages")
    kinds = [type(module).__name__ for module in stages.get_submodule("1").children()]
    assert kinds == ["BatchNorm2d", "Conv2d", "AvgPool2d"]


def test_resnext_is_initialised_by_fan_out() -> None:
    torch.manual_seed(0)
    for module in build("resnext29").modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight.shape[0] * math.prod(module.kernel_size)
            std = math.sqrt(2 / fan_out)
            assert module.weight.std().item() == pytest.approx(std, rel=0.1)
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / 1024), rel=0.1)
            assert not module.bias.any()


# ---------------------------------------------------------------- arithmetic and memory format


@pytest.mark.parametrize("name", [*BUILT, *CRD])
def test_channels_last_is_kept_and_changes_nothing_and_all_parameters_learn(name: str) -> None:
    torch.manual_seed(0)
    model = build(name)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.eval()(images)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = images.contiguous(memory_format=torch.channels_last)
    features: list[Tensor] = []
    for module in model.modules():
        module.register_forward_hook(lambda _module, _inputs, out: features.append(out))
    torch.testing.assert_close(model(images), expected, rtol=1e-3, atol=1e-4)
    maps = [f for f in features if f.dim() == 4]
    assert all(f.is_contiguous(memory_format=torch.channels_last) for f in maps)

    logits = model.train()(images)
    F.cross_entropy(logits, torch.tensor([1, 2])).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        if parameter.dim() > 1:  # a bias before a batch normalisation has none but rounding
            assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_interleave_is_a_shuffle_with_two_groups(memory_format: torch.memory_format) -> None:
    first, second = torch.randn(2, 2, 6, 5, 4).unbind()
    first, second = (t.contiguous(memory_format=memory_format) for t in (first, second))
    shuffled = interleave(first, second)
    assert torch.equal(shuffled, nn.ChannelShuffle(2)(torch.cat((first, second), dim=1)))
    assert shuffled.is_contiguous(memory_format=memory_format)


def test_the_gradients_of_interleaved_maps_lie_in_memory_as_the_maps_do() -> None:
    halves = torch.randn(2, 2, 6, 5, 4).unbind()
    first, second = (t.contiguous(memory_format=torch.channels_last) for t in halves)
    gradients: list[torch.Tensor] = []
    read = [(t.requires_grad_() * 1) for t in (first, second)]
    for t in read:
        t.register_hook(gradients.append)
    shuffled = interleave(*read)
    upstream = torch.randn_like(shuffled)
    shuffled.backward(upstream)
    assert torch.equal(first.grad, upstream[:, ::2])
    assert torch.equal(second.grad, upstream[:, 1::2])
    assert len(gradients) == 2
    assert all(g.is_contiguous(memory_format=torch.channels_last) for g in gradients)


def test_parameter_free_shortcut_takes_every_second_pixel_and_adds_zero_channels() -> None:
    block = Block(4, 8, stride=2).eval()
    nn.init.zeros_(block.bn2.weight)
    images = torch.rand(2, 4, 7, 7)
    out = block(images)
    assert torch.equal(out[:, :4], images[:, :, ::2, ::2])
    assert not out[:, 4:].any()


@pytest.mark.parametrize("name", ["resnet8", "plain_cnn", "unit of shufflenetv2"])
def test_compiles_as_one_graph(name: str) -> None:
    model = Unit(6).eval() if "unit" in name else build(name, channels=6).eval()
    images = torch.randn(2, 6, 32, 32).contiguous(memory_format=torch.channels_last)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images), model(images))


@pytest.mark.parametrize("name", BUILT)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build(name).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_another_seed_gives_other_weights() -> None:
    weights = []
    for seed in range(2):
        torch.manual_seed(seed)
        weights.append(next(build("resnet8").parameters()))
    assert not torch.equal(*weights)


# ---------------------------------------------------------------- options


def test_wrong_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown key model\.widht; nearest: width"):
        on_meta("resnet8", widht=8)
    with pytest.raises(UserError, match="model=resnet19: no such option; nearest: resnet18"):
        on_meta("resnet19")


@pytest.mark.parametrize("wrong", [{"width": 0}, {"width": "16"}, {"num_classes": 10}])
def test_impossible_option_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"model\.(width|num_classes)"):
        build_model("resnet8", wrong, spec=ImageSpec(32, 32, 3), num_classes=10)


def test_a_network_for_another_kind_of_input_is_refused_in_a_line_that_names_both() -> None:
    expected = (
        "model=resnet8 takes images; dataset=sst2 gives tokens, at most 20 of a vocabulary of 90"
    )
    with pytest.raises(UserError, match=f"^{expected}$"):
        build_model("resnet8", {}, spec=TokenSpec(90, 20), num_classes=2, dataset="sst2")


def test_image_networks_take_spectrograms() -> None:
    with torch.device("meta"):
        model = build_model("resnet8", {}, spec=SpectrogramSpec(64, 40), num_classes=5)
        assert model(torch.empty(2, 1, 64, 40)).shape == (2, 5)


def test_a_spec_serves_inputs_of_its_own_kind_and_channels() -> None:
    images = ImageSpec(32, 32, 1)
    assert images.interchangeable(ImageSpec(64, 64, 1))
    assert not images.interchangeable(ImageSpec(32, 32, 3))
    assert not images.interchangeable(SpectrogramSpec(32, 32))
    assert TokenSpec(90, 20).interchangeable(TokenSpec(90, 30))
    assert not TokenSpec(90, 20).interchangeable(TokenSpec(91, 20))


@pytest.mark.parametrize("name", ["plain_cnn", "densenet121"])
def test_images_that_are_too_small_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="at least 8x8"):
        on_meta(name, size=7)


def test_width_scales_the_stages() -> None:
    widths = {
        module.out_channels
        for module in on_meta("resnet20", width=6).modules()
        if isinstance(module, nn.Conv2d)
    }
    assert widths == {6, 12, 24}


@pytest.mark.parametrize("name", ["plain_cnn", "googlenet"])
def test_dropout_is_an_option_and_off_at_evaluation(name: str) -> None:
    images = torch.randn(2, 3, 8, 8)

    def differs(dropout: float, training: bool) -> bool:
        model = build(name, size=8, dropout=dropout)
        with torch.no_grad():
            model.train(training)
            return not torch.equal(model(images), model(images))

    assert differs(0.5, training=True)
    assert not differs(0.0, training=True)
    assert not differs(0.5, training=False)


def test_eps_slip_is_on_one_batch_normalisation_per_block_and_only_if_asked_for() -> None:
    def unusual(model: nn.Module) -> list[nn.BatchNorm2d]:
        found = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        return [m for m in found if m.eps != 1e-5]

    assert not unusual(on_meta("googlenet"))
    slipped = on_meta("googlenet", released_eps_slip=True)
    assert len(unusual(slipped)) == 9
    for block in (m for m in slipped.modules() if isinstance(m, Inception)):
        (normalisation,) = unusual(block)
        assert normalisation is block.five[4]
        assert normalisation.eps == normalisation.num_features


def test_these_networks_alone_have_recipes_of_their_own() -> None:
    tuned, drawn = (Recipe("adamw", lr=rate, weight_decay=0.01) for rate in (5e-5, 5e-4))
    own = {"plain_cnn": Recipe("adam", lr=1e-3, weight_decay=0.0), "tiny_bert": drawn}
    own |= dict.fromkeys(CRD[3:], Recipe(lr=0.01))
    own |= dict.fromkeys(("bert_base", "distilbert", "hf", "minilm"), tuned)
    recipes = {name: models.get(name).recipe for name in models.names()}
    assert {name: recipe for name, recipe in recipes.items() if recipe != Recipe()} == own


def test_small_networks_are_known_as_such() -> None:
    crd = [f"crd_resnet{depth}" for depth in (110, 20, 32, 56)]
    assert [n for n in models.names() if models.get(n).small] == [*crd, *SMALL, "tiny_bert"]


# ---------------------------------------------------------------- config files


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_file_names_a_model_with_all_its_options_at_their_defaults(path: Path) -> None:
    assert path.read_text().startswith("# python -m kdlsr.")
    values = yaml.safe_load(path.read_text())
    name = values.pop("name")
    assert name == path.stem
    parameters = inspect.signature(models.get(name).build).parameters
    given = {"spec", "num_classes"}
    assert set(values) == set(parameters) - given
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    assert {n: v for n, v in values.items() if n in defaults} == defaults
    if issubclass(ImageSpec, models.get(name).takes):  # those of texts need files
        on_meta(name, **values)


def test_every_model_has_a_config_file() -> None:
    assert [path.stem for path in CONFIGS] == models.names()


# ---------------------------------------------------------------- timm's networks


def test_no_library_of_networks_is_imported_before_it_is_wanted() -> None:
    code = (
        "import sys; from kdlsr.models import models; models.names(); "
        "sys.exit(bool({'timm', 'tokenizers', 'torchvision', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_timm_builds_by_name_with_the_data_sets_shape() -> None:
    torch.manual_seed(0)
    model = build("timm", classes=7, channels=1, architecture="test_resnet").eval()
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 7)


def test_timm_gives_the_same_weights_however_often_it_was_built() -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(1)
        weights.append(build("timm", architecture="test_resnet", small_input=True).state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.parametrize(
    ("architecture", "last"),
    [
        ("resnet18", 4),
        ("resnetaa50", 4),
        ("densenet121", 4),
        ("convnext_atto", 4),
        ("mobilenetv3_small_050", 2),
        ("tf_efficientnet_b0", 2),
        ("poolformer_s12", 4),
    ],
)
def test_small_input_keeps_the_size_up_to_the_first_stage(architecture: str, last: int) -> None:
    model: Any = on_meta("timm", architecture=architecture, small_input=True).eval()
    stem = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    assert (stem.kernel_size, stem.stride) == ((3, 3), (1, 1))
    features = model.forward_features(torch.empty(2, 3, 32, 32, device="meta"))
    assert features.shape[-2:] == (last, last)


def test_small_resnet18_of_timm_has_the_parameters_of_ours() -> None:
    model = on_meta("timm", classes=100, architecture="resnet18", small_input=True)
    assert elements(model.parameters()) == COUNTS["resnet18"][0]


def test_vision_transformer_is_built_for_the_size_of_the_images() -> None:
    model = on_meta("timm", architecture="vit_tiny_patch16_224").eval()
    assert model(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "resnet81"}, "not in timm; nearest: .*resnet18"),
        ({"architecture": "zzzzzzz"}, "not in timm; timm.list_models"),
        ({"architecture": "resnet18.nothing"}, "no such tag; its tags: .*a1_in1k"),
        ({"architecture": "inception_v3"}, "cannot take images of 32x32: .*size"),
        ({"architecture": "vgg11", "small_input": True}, "stride 1.* no stem"),
        ({"architecture": "vit_tiny_patch16_224", "small_input": True}, "with a replaced stem"),
        ({"architecture": "resnet14t", "pretrained": False, "small_inputs": True}, "small_input"),
        ({}, r"model\.architecture is missing"),
    ],
)
def test_timm_refuses_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        on_meta("timm", **options)
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_downloaded_are_the_users_to_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import timm

    create = timm.create_model

    def offline(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
        if pretrained:
            raise OSError("no route to host\nand more")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    options = {"architecture": "test_resnet", "pretrained": True}
    on_meta("timm", **options)  # planning a run loads nothing
    with pytest.raises(UserError, match="cannot be had here") as caught:
        build("timm", **options)
    assert "\n" not in str(caught.value)
