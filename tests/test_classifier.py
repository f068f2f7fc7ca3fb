"""The layer that gives the logits: in fp32 when any network is evaluated in bf16."""

import copy

import pytest
import torch
from torch import Tensor, nn

from kdlsr.config.inputs import ImageSpec
from kdlsr.models import build_model, models
from kdlsr.models.classifier import Classifier, PointwiseClassifier, with_classifier

NETWORKS = [n for n in models.names() if n != "timm" and models.get(n).takes == (ImageSpec,)]


def _network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, {}, spec=ImageSpec(32, 32, 3), num_classes=10)


def _last(network: nn.Module) -> Classifier | PointwiseClassifier:
    (last,) = (m for m in network.modules() if isinstance(m, Classifier | PointwiseClassifier))
    return last


def _logits(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the last layer was given, and the logits, in bf16."""
    seen: list[Tensor] = []
    last = _last(network)
    hook = last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(images)
    hook.remove()
    return seen[0], logits


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_of_a_bf16_evaluation_are_exact_products_of_its_features(name: str) -> None:
    network = _network(name).eval()
    features, logits = _logits(network, torch.randn(2, 3, 32, 32))
    last = _last(network)
    weight, bias = (p.detach().double() for p in (last.weight, last.bias))
    exact = features.double().flatten(1) @ weight.flatten(1).T + bias
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), exact, rtol=1e-5, atol=1e-5)


def test_training_stays_in_the_precision_that_was_chosen() -> None:
    features, logits = _logits(_network("resnet8").train(), torch.randn(2, 3, 32, 32))
    assert features.dtype == torch.bfloat16
    assert logits.dtype == torch.bfloat16


def test_a_classifier_changes_neither_weights_nor_random_numbers_nor_fp32_logits() -> None:
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    before = torch.get_rng_state()
    network = with_classifier(copy.deepcopy(plain), 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(network.get_submodule("2"), Classifier)
    assert list(network.state_dict()) == list(plain.state_dict())
    x = torch.randn(5, 4)
    assert torch.equal(network.eval()(x), plain.eval()(x))
    copied = copy.deepcopy(network)
    nn.init.zeros_(copied.get_submodule("2").weight)
    assert torch.equal(network(x), plain(x))


def test_a_network_that_ends_in_no_linear_layer_of_its_classes_stays_as_it_is() -> None:
    convolution = nn.Sequential(nn.Linear(4, 8), nn.Conv2d(8, 4, 1), nn.Conv1d(8, 3, 1))
    assert with_classifier(convolution, 3) is convolution
    assert not any(isinstance(m, Classifier) for m in convolution.modules())
    assert isinstance(with_classifier(nn.Linear(4, 3), 3), Classifier)
