"""Inputs that another normalisation would have made."""

import pytest
import torch
from test_views import noise, plain, samples_of

from kdlsr.data.normalisation import Normalisation, renormalised

OURS = Normalisation((0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
THEIRS = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OURS_GREY = Normalisation((0.5,), (0.25,))


def test_equal_normalisations_change_nothing_at_all() -> None:
    inputs = torch.randn(2, 3, 4, 4)
    assert renormalised(inputs, OURS, Normalisation(OURS.mean, OURS.std)) is inputs
    assert renormalised(inputs, None, None) is inputs


def test_a_network_sees_the_pixels_that_it_was_trained_on() -> None:
    pixels = noise(20, 8, 3)
    ours, theirs = (plain(samples_of(pixels, n.mean, n.std)) for n in (OURS, THEIRS))
    seen = renormalised(ours, OURS, THEIRS)
    torch.testing.assert_close(seen, theirs, rtol=0, atol=2e-6)
    assert seen.is_contiguous(memory_format=torch.channels_last)
    assert renormalised(ours.bfloat16(), OURS, THEIRS).dtype == torch.bfloat16


def test_what_was_first_asked_for_under_inference_mode_serves_training() -> None:
    other = Normalisation((0.1,), (0.7,))
    with torch.inference_mode():
        renormalised(torch.zeros(1, 1, 2, 2), OURS_GREY, other)
    inputs = torch.zeros(1, 1, 2, 2, requires_grad=True)
    renormalised(inputs, OURS_GREY, other).sum().backward()
    assert inputs.grad is not None


@pytest.mark.parametrize("other", [None, OURS_GREY])
def test_normalisations_of_other_inputs_are_refused(other: Normalisation | None) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        renormalised(torch.zeros(1, 3, 2, 2), OURS, other)


def test_samples_know_what_they_are_normalised_by() -> None:
    assert samples_of(noise(2, 8, 3), OURS.mean, OURS.std).normalisation == OURS
