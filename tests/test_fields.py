"""Config values are checked strictly, and a mistake is told in one helpful line."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from kdlsr.config import Above, AtLeast, Between, Registry, UserError, build, build_call


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True, kw_only=True)
class Example:
    alpha: Annotated[float, Between(0, 1)] = 0.1
    tau: Annotated[float, Above(0)] = 4.0
    share: Annotated[float, Between(0, 1, open_low=True, open_high=True)] = 0.5
    form: Literal["as_written", "as_released"] = "as_written"
    limit: Annotated[int, AtLeast(1)] | None = None
    names: tuple[str, ...] = ()
    flag: bool = False
    inner: Inner = Inner()

    def __post_init__(self) -> None:
        if self.flag and self.limit is None:
            raise ValueError("flag needs a limit")


def test_values_of_the_right_kind_are_taken_as_they_are() -> None:
    values = {"alpha": 1, "names": ["a", "b"], "limit": 3, "inner": {"depth": 2}, "flag": True}
    expected = Example(alpha=1.0, names=("a", "b"), limit=3, inner=Inner(depth=2), flag=True)
    assert build(Example, values, "loss") == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tua": 3}, "unknown key loss.tua; nearest: tau"),
        ({"alpha": 1.5}, "loss.alpha=1.5 is not possible; expected a number in [0, 1]"),
        ({"alpha": "0.1"}, "loss.alpha='0.1' is not possible; expected a number in [0, 1]"),
        ({"alpha": True}, "loss.alpha=True is not possible; expected a number in [0, 1]"),
        ({"alpha": float("nan")}, "loss.alpha=nan is not possible; expected a number in [0, 1]"),
        ({"tau": 0}, "loss.tau=0 is not possible; expected a number above 0"),
        ({"tau": 1e200}, "loss.tau=1e200 (beyond 1e+100) is not possible; expected a number"),
        ({"tau": 10**400}, "loss.tau=1e400 (beyond 1e+100) is not possible; expected a number"),
        ({"tau": float("inf")}, "loss.tau=inf is not possible; expected a number above 0"),
        ({"inner": 3}, "loss.inner=3 is not possible; expected a mapping"),
        ({"share": 1.0}, "loss.share=1.0 is not possible; expected a number in (0, 1)"),
        ({"limit": 0}, "loss.limit=0 is not possible; expected an integer of at least 1 or null"),
        ({"limit": "big"}, "loss.limit='big' is not possible; expected an integer"),
        ({"limit": 1.5}, "loss.limit=1.5 is not possible"),
        ({"form": "as_writen"}, "expected one of as_written, as_released"),
        ({"names": "ab"}, "loss.names='ab' is not possible; expected a list, each a string"),
        ({"names": [1]}, "loss.names[0]=1 is not possible; expected a string"),
        ({"flag": 1}, "loss.flag=1 is not possible; expected true or false"),
        ({"inner": {"dept": 1}}, "unknown key loss.inner.dept; nearest: depth"),
        ({"flag": True}, "loss: flag needs a limit"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as refused:
        build(Example, values, "loss")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_value_written_in_two_ways_is_one_value() -> None:
    @dataclass(frozen=True)
    class Counted:
        begin: Literal[0, 1]
        alpha: float

    read = build(Counted, {"begin": 1.0, "alpha": -0.0}, "loss")
    assert repr(read) == repr(Counted(1, 0.0))
    with pytest.raises(UserError, match="expected one of 0, 1"):
        build(Counted, {"begin": True, "alpha": 0}, "loss")


def network(*, num_classes: int, width: Annotated[int, AtLeast(1)] = 16, bias: bool = False) -> str:
    return f"{num_classes} {width} {bias}"


def test_a_call_is_checked_against_its_signature() -> None:
    assert build_call(network, {"width": 8}, "model", num_classes=10) == "10 8 False"
    with pytest.raises(UserError, match=r"unknown key model\.wdith; nearest: width"):
        build_call(network, {"wdith": 8}, "model", num_classes=10)
    with pytest.raises(UserError, match=r"model\.width=0 .* an integer of at least 1"):
        build_call(network, {"width": 0}, "model", num_classes=10)
    with pytest.raises(UserError, match=r"unknown key model\.num_classes"):
        build_call(network, {"num_classes": 5}, "model", num_classes=10)


def test_a_missing_value_is_named() -> None:
    @dataclass(frozen=True)
    class Needs:
        path: str

    with pytest.raises(UserError, match=r"data\.path is missing; expected a string"):
        build(Needs, {}, "data")


def test_a_registry_names_the_nearest_option_and_refuses_doubles() -> None:
    registry: Registry[str] = Registry("loss", "kdlsr.config")
    registry.register("label_smoothing")("a")
    assert registry.get("label_smoothing") == "a"
    with pytest.raises(UserError, match="loss=label_smothing: no such option; nearest: label_smo"):
        registry.get("label_smothing")
    with pytest.raises(ValueError, match="twice"):
        registry.register("label_smoothing")("b")
