import msgspec
import pytest

from chartscan.errors import ConfigError
from chartscan.settings import with_settings


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    d_model: int = 8
    name: str = "a"
    sizes: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        if self.d_model < 0:
            raise ValueError("d_model must not be negative")
        if self.d_model == 13:
            raise ConfigError("d_model is 13.")


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: Inner = Inner()
    seed: int = 0
    finetune: Inner | None = Inner()
    start_from: str | None = None
    free: dict[str, int] = {}


def test_a_nested_field_is_replaced_and_the_rest_kept():
    assert with_settings(Outer(), ["model.d_model=256", "seed=3"]) == Outer(Inner(256), 3)
    assert with_settings(Outer(), ["model.name=b c"]).model.name == "b c"
    assert with_settings(Outer(), ["finetune=null"]).finetune is None
    assert with_settings(Outer(), ["start_from=a=b"]).start_from == "a=b"


def test_a_mapping_takes_new_names():
    assert with_settings(Outer(), ["free.a=1", "free.b=2"]).free == {"a": 1, "b": 2}


class Special(Inner, frozen=True):
    depth: int = 2


def test_a_group_keeps_the_type_that_it_has_and_what_its_fields_may_be():
    changed = with_settings(Outer(Special()), ["model.depth=3"])
    assert changed.model == Special(depth=3)
    assert with_settings(Outer(Special()), ['model={"depth": 4}']).model == Special(depth=4)
    with pytest.raises(ConfigError, match=r"model\.depth: Expected `int`, got `str`"):
        with_settings(Outer(Special()), ["model.depth=x"])
    with pytest.raises(ConfigError, match="no field 'depth'"):
        with_settings(Outer(), ["model.depth=3"])


def test_a_setting_that_names_things_is_made_by_the_caller():
    made = {"free": lambda written: {name: len(name) for name in written}}
    assert with_settings(Outer(), ['free=["a","bb"]'], named=made).free == {"a": 1, "bb": 2}
    assert with_settings(Outer(free={"c": 7}), ["seed=1"], named=made).free == {"c": 7}


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (
            ["model.d_modle=2"],
            "--set model.d_modle: no field 'd_modle' in 'model'. Did you mean 'model.d_model'",
        ),
        (["modle.d_model=2"], "Did you mean 'model'"),
        (["seed.x=2"], "'seed' is one value, not a group of settings"),
        (["seed.seed=1"], "'seed' is one value, not a group of settings"),
        (["model.model=1"], "no field 'model' in 'model'."),
        (["model.name.name=1"], "'model.name' is one value"),
        (["finetune=null", "finetune.d_model=3"], "'finetune' is null"),
        (["start_from.x=1"], "'start_from' is null"),
        (["model.d_model=wide"], "--set model.d_model: Expected `int`, got `str`."),
        (["model.sizes=[1,true]"], "--set model.sizes[1]: Expected `int`, got `bool`."),
        (["model=3"], "--set model: Expected `object`, got `int`."),
        (["model.d_model=-1"], "--set model: d_model must not be negative."),
        (["model.d_model=13"], "--set: d_model is 13."),
        (["free.a=x"], "Expected `int`"),
        (["seed=\udcff"], "Expected `int`"),
        (["se\udcffed=1"], "no field"),
        (["seed"], "expected NAME=VALUE"),
        (["=1"], "expected NAME=VALUE"),
        ([".=1"], "no field ''"),
    ],
)
def test_a_wrong_setting_is_refused_with_a_remedy(texts, says):
    with pytest.raises(ConfigError) as caught:
        with_settings(Outer(), texts)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "text", ["seed", "sed=1", "seed.x=1", "seed=x", "start_from.x=1", "model.d_model=13"]
)
def test_the_error_names_the_flag_that_was_used(text):
    with pytest.raises(ConfigError, match=r"^--store"):
        with_settings(Outer(), [text], flag="--store")
