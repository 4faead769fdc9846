import msgspec
import pytest

from chartscan.errors import ConfigError
from chartscan.settings import with_settings


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    d_model: int = 8
    name: str = "a"


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Inner = Inner()
    seed: int = 0


def test_a_nested_field_is_replaced_and_the_rest_kept():
    assert with_settings(Outer(), ["model.d_model=256", "seed=3"]) == Outer(Inner(256), 3)
    assert with_settings(Outer(), ["model.name=b c"]).model.name == "b c"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model.d_modle=2", "Did you mean 'model.d_model'"),
        ("modle.d_model=2", "Did you mean 'model'"),
        ("seed.x=2", "no field 'seed'"),
        ("model.d_model=wide", "Expected `int`"),
        ("seed", "expected name=value"),
    ],
)
def test_a_wrong_setting_is_refused_with_a_remedy(text, says):
    with pytest.raises(ConfigError, match=says):
        with_settings(Outer(), [text])
