"""Loss terms stay on the device, are read at an epoch's end, and are shown without waiting."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlsr.config import RunFailed
from kdlsr.training import term_log
from kdlsr.training.term_log import TermLog

VALUES = np.array([[1.5, 0.25], [2.0, 0.5], [7.0, 0.125]], dtype=np.float32)
SIZES = np.array([32, 32, 5])


def _terms(step: int) -> dict[str, Tensor]:
    total, soft = torch.from_numpy(VALUES[step])
    return {"total": total, "soft": soft}


def _filled(steps: int = 3) -> TermLog:
    log = TermLog(3)
    for step in range(steps):
        log.add(_terms(step), int(SIZES[step]))
    return log


def _expected(steps: int) -> dict[str, float]:
    means = np.average(VALUES[:steps].astype(float), axis=0, weights=SIZES[:steps])
    return dict(zip(("total", "soft"), means, strict=True))


def test_means_are_over_samples_not_over_steps() -> None:
    assert _filled().means() == pytest.approx(_expected(3), rel=1e-12)
    assert _filled(2).latest() == pytest.approx(_expected(2), rel=1e-12)


def test_what_is_not_counted_is_written_over() -> None:
    log = _filled(1)
    for step in (2, 0):  # a warm-up, which leaves no trace
        log.write(_terms(step))
    log.rewind()
    for step in (1, 2):
        log.add(_terms(step), int(SIZES[step]))
    assert log.means() == _filled().means()


def test_an_epoch_begins_anew_in_the_same_memory() -> None:
    log = _filled()
    before = log._rows.data_ptr(), log._next.data_ptr()
    log.begin()
    log.add(_terms(1), 4)
    assert log.means() == pytest.approx({"total": 2.0, "soft": 0.5})
    assert (log._rows.data_ptr(), log._next.data_ptr()) == before


def test_the_first_step_that_is_not_finite_is_named() -> None:
    log = _filled(1)
    log.add({"total": torch.tensor(torch.nan), "soft": torch.tensor(2.0)}, 5)
    with pytest.raises(RunFailed, match="at step 2 of epoch 4: total nan, soft 2"):
        log.check_finite(3)
    _filled().check_finite(3)


def test_a_display_sees_what_has_arrived_and_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    under_way: list[Any] = []

    class Slow:
        """A copy from a device that is busy until told otherwise."""

        def __init__(self, source: Tensor) -> None:
            self.rows, self.is_done = source.clone(), False
            under_way.append(self)

        def look(self) -> Tensor | None:
            return self.rows if self.is_done else None

    monkeypatch.setattr(term_log, "_is_here", lambda rows: False)
    monkeypatch.setattr(term_log, "_Arriving", Slow)
    log = _filled(1)
    assert log.latest() == log.latest() == {}
    log.add(_terms(1), int(SIZES[1]))
    assert log.latest() == {}
    assert len(under_way) == 1  # one at a time
    under_way[0].is_done = True
    assert log.latest() == pytest.approx(_expected(1))
    assert len(under_way) == 2
    assert log.latest() == pytest.approx(_expected(1))
    under_way[1].is_done = True
    assert log.latest() == pytest.approx(_expected(2))
