"""What every model of irregular time series must hold: found by file name in chartscan/models.

Its `Config` has `d_model`, `n_layers` and `dropout`, `causal` where the model can be made so, and `channels`
where it reads them by name. What can be stepped has `init_state` and `step`; what is fitted to its inputs has
`fit_inputs`, and is fitted to stays by chance here.
"""

from dataclasses import fields, is_dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch.nn.functional import binary_cross_entropy_with_logits

from chartscan.find import find, names
from chartscan.kernels import BACKENDS, native
from random_series import (
    N_STATICS,
    N_TASKS,
    N_VARIABLES,
    fitted,
    padded_to,
    prefix,
    random_series,
    required,
    row,
    rows_of,
)

MODELS = [name for name in names("models") if find("models", name).Model.INPUT != "tokens"]
RUNNABLE = [
    name for name in BACKENDS if name in ("chunked", "reference") or (name == "native" and native.available())
]
CLOSE = {"rtol": 0, "atol": 1e-5}


def fields_of(name):
    return find("models", name).Config.__struct_fields__


STEPPING = [name for name in MODELS if hasattr(find("models", name).Model, "step")]
SCANNING = [name for name in MODELS if "backend" in fields_of(name)]
DECLARED = [name for name in STEPPING if "causal" in fields_of(name)]  # causal only if asked to be


def tiny(name, seed=0, **given):
    torch.manual_seed(seed)
    module = find("models", name)
    sizes = {"d_model": 16, "n_layers": 2, "dropout": 0.0}
    config = module.Config(**(required(module.Config) | sizes | given))
    return fitted(module.Model(config, N_VARIABLES, N_STATICS))


def causal(name, **given):
    return tiny(name, **({"causal": True} if name in DECLARED else {}), **given)


def both_kinds(name):
    return [tiny(name), causal(name)] if name in DECLARED else [tiny(name)]


def steps_of(model, batch):
    """What the model steps over, one tuple of arguments a step, and the prefixes that they amount to."""
    if model.INPUT == "carried":
        steps = range(batch.carried.shape[1])
        return [((batch.carried[:, h],), prefix(batch, batch.hours.shape[1], h + 1)) for h in steps]
    triplets = (batch.hours, batch.variables, batch.values)
    return [
        (tuple(x[:, i] for x in triplets), prefix(batch, i + 1, batch.carried.shape[1]))
        for i in range(batch.hours.shape[1])
    ]


def test_there_are_series_models():
    assert {"gru", "hymate", "hymate_carried"} <= set(STEPPING)
    assert "hymate" in DECLARED


@pytest.mark.parametrize("name", MODELS)
def test_the_representation_has_its_width_for_any_number_of_events(name):
    for model in both_kinds(name):
        for lengths in [(12, 0, 9, 1), (63,), (0,), (1,), (0, 0)]:
            found = model(random_series(lengths))
            assert found.shape == (len(lengths), model.width)
            assert found.isfinite().all()


def probabilities(model, batch):
    torch.manual_seed(5)
    objective = find("objectives", model.HEAD)
    head = objective.make(model, N_TASKS, objective.Config()).eval()
    return torch.sigmoid(head.predict(model, batch))


@pytest.mark.parametrize("name", MODELS)
def test_padding_to_1500_events_changes_no_probability(name):
    batch = random_series((63, 0, 430, 1))
    for model in both_kinds(name):
        padded = padded_to(batch, 1500, 48)
        torch.testing.assert_close(probabilities(model, padded), probabilities(model, batch), **CLOSE)


@pytest.mark.parametrize("name", MODELS)
@settings(deadline=None, max_examples=15)
@given(lengths=st.lists(st.integers(0, 63), min_size=1, max_size=5), seed=st.integers(0, 2**31))
def test_batch_mates_change_no_probability(name, lengths, seed):
    batch = random_series(tuple(lengths), seed)
    for model in both_kinds(name):
        alone = torch.cat([probabilities(model, row(batch, i)) for i in range(len(lengths))])
        torch.testing.assert_close(alone, probabilities(model, batch), **CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_the_order_of_the_batch_is_the_order_of_the_representations(name):
    batch, order = random_series(), torch.tensor([2, 0, 3, 1])
    for model in both_kinds(name):
        torch.testing.assert_close(model(rows_of(batch, order)), model(batch)[order], **CLOSE)


@pytest.mark.parametrize("name", STEPPING)
def test_every_step_gives_the_representation_of_the_prefix(name):
    batch = replace(random_series((12, 12, 12)), steps=torch.tensor([6, 6, 6]))
    batch = replace(batch, carried=torch.randn(3, 6, *batch.carried.shape[2:]))
    with torch.no_grad():
        for model in [causal(name), *([causal(name, window=4)] if "window" in fields_of(name) else [])]:
            state = model.init_state(3, batch.statics)
            for arguments, until_now in steps_of(model, batch):
                found, state = model.step(*arguments, state)
                torch.testing.assert_close(found, model(until_now), **CLOSE)


def states_tensors(state):
    """All tensors of a state, however nested."""
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, int):
        return []
    parts = [getattr(state, f.name) for f in fields(state)] if is_dataclass(state) else state
    return [tensor for part in parts for tensor in states_tensors(part)]


@pytest.mark.parametrize("name", STEPPING)
def test_states_of_some_rows_go_on_as_those_rows_and_detach(name):
    batch, model = random_series((5, 5, 5)), causal(name)
    (first, _), (second, _), *_ = steps_of(model, replace(batch, carried=torch.randn(3, 2, 7, 20)))
    _, state = model.step(*first, model.init_state(3, batch.statics))
    rows = torch.tensor([2, 0, 0])
    expected, _ = model.step(*second, state)
    found, _ = model.step(*(x[rows] for x in second), state.at(rows))
    torch.testing.assert_close(found, expected[rows], **CLOSE)
    assert any(t.requires_grad for t in states_tensors(state))
    assert not any(t.requires_grad for t in states_tensors(state.detach()))


@pytest.mark.parametrize("name", DECLARED)
def test_a_model_that_is_not_causal_refuses_to_be_stepped(name):
    with pytest.raises(ValueError, match="only a causal model can be stepped"):
        tiny(name).init_state(1, torch.zeros(1, N_STATICS))


@pytest.mark.parametrize("name", MODELS)
def test_every_part_of_the_input_is_read(name):
    batch, model = random_series((12, 9)), tiny(name)
    read = ("carried", "statics") if model.INPUT == "carried" else ("hours", "values", "statics")
    changed = {n: replace(batch, **{n: getattr(batch, n) + 0.5}) for n in read}
    if model.INPUT == "triplets":
        others = torch.where(batch.variables > 0, batch.variables % N_VARIABLES + 1, 0)
        changed["variables"] = replace(batch, variables=others)
    for other in changed.values():
        assert not torch.allclose(model(other), model(batch), atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_reaches_every_parameter(name):
    for model in both_kinds(name):
        model(random_series()).square().sum().backward()
        silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        assert not silent


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_of_stays_without_events_has_finite_gradients(name):
    for model in both_kinds(name):
        for batch in (random_series((0, 0)), padded_to(random_series((0, 0)), 12, 3)):
            model(batch).square().sum().backward()
            assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_saved_weights_give_the_same_outputs(name):
    model, other, batch = tiny(name), tiny(name, seed=1), random_series()
    assert not torch.equal(other(batch), model(batch))
    other.load_state_dict(load(save(model.state_dict())))
    assert torch.equal(other(batch), model(batch))


def everything_of(model, batch):
    """Representations and the gradient of every parameter."""
    found = model(batch)
    return [found, *torch.autograd.grad(found.square().sum(), list(model.parameters()))]


@pytest.mark.parametrize("name", SCANNING)
@pytest.mark.parametrize("backend", RUNNABLE)
def test_every_implementation_of_the_scan_gives_the_same(name, backend):
    batch = random_series()
    expected = everything_of(tiny(name, backend="auto"), batch)
    for a, b in zip(everything_of(tiny(name, backend=backend), batch), expected, strict=True):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max().clamp(min=1)


@pytest.mark.parametrize("name", MODELS)
def test_it_learns_eight_stays_by_heart(name):
    batch = random_series((12, 9, 8, 12, 7, 10, 1, 12))
    labels = torch.tensor([0.0, 1.0]).repeat(4)
    for model in both_kinds(name):
        head = torch.nn.Linear(model.width, 1)
        optimiser = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=1e-2)
        for _ in range(40):
            loss = binary_cross_entropy_with_logits(head(model(batch)).squeeze(1), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert loss < 0.1
