"""What every model of token sequences must hold, whichever it is: found by file name in chartscan/models.

Those of time series have contracts of their own (test_every_series_model.py). A model's `Config` has
`d_model`, `n_layers`, `task_type` and `dropout`; causal models have `step`.
"""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save
from torch.nn.functional import cross_entropy

from chartscan.find import find, names
from chartscan.kernels import BACKENDS, native
from random_batches import VOCAB_SIZE, random_batch, rows_and_steps, some_prompts, with_padding, with_token
from random_series import required

INPUTS = {"tokens", "triplets", "carried"}
MODELS = [name for name in names("models") if find("models", name).Model.INPUT == "tokens"]
CAUSAL = [name for name in MODELS if hasattr(find("models", name).Model, "step")]
SCANNING = [name for name in MODELS if "backend" in find("models", name).Config.__struct_fields__]
RUNNABLE = [
    name for name in BACKENDS if name in ("chunked", "reference") or (name == "native" and native.available())
]
CLOSE = {"rtol": 0, "atol": 1e-5}


def tiny(name, seed=0, **settings):
    torch.manual_seed(seed)
    module = find("models", name)
    return module.Model(
        module.Config(**({"d_model": 32, "n_layers": 2, "dropout": 0.0} | settings)), VOCAB_SIZE
    )


def real(hidden, batch):
    """The rows of `hidden` that are not padding, in order."""
    return hidden[torch.arange(hidden.shape[1]) < batch.lengths.unsqueeze(1)]


def test_there_are_models():
    assert "ehrmamba" in CAUSAL


@pytest.mark.parametrize("name", names("models"))
def test_every_model_says_what_it_reads_and_how_it_is_configured(name):
    module = find("models", name)
    assert module.Model.INPUT in INPUTS
    assert module.__doc__
    assert module.Config.__doc__
    given = required(module.Config)
    assert module.Config(**given) == module.Config(**given)


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("cut", [1, 5, 11])
def test_changing_the_future_changes_nothing_before_it(name, cut):
    model, batch, other = tiny(name), random_batch(), random_batch(seed=1)
    parts = rows_and_steps(batch, steps=slice(0, cut)), rows_and_steps(other, steps=slice(cut, None))
    joined = {n: torch.cat([getattr(p, n) for p in parts], 1) for n in ("codes", "types", "ages", "times")}
    joined |= {n: torch.cat([getattr(p, n) for p in parts], 1) for n in ("gaps", "segments", "visit_orders")}
    changed = model(replace(batch, **joined))
    torch.testing.assert_close(changed[:, :cut], model(batch)[:, :cut], **CLOSE)
    assert not torch.allclose(changed[:, cut:], model(batch)[:, cut:], atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing(name):
    model, batch = tiny(name), random_batch()
    padded = with_padding(batch, 70)
    torch.testing.assert_close(real(model(padded), batch), real(model(batch), batch), **CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_batch_mates_change_nothing(name):
    model, batch = tiny(name), random_batch()
    hidden = model(batch)
    for row in range(3):
        alone = rows_and_steps(batch, slice(row, row + 1))
        torch.testing.assert_close(real(model(alone), alone), real(hidden[row : row + 1], alone), **CLOSE)


@pytest.mark.parametrize("name", CAUSAL)
def test_folding_step_over_the_tokens_equals_forward(name):
    model, batch = tiny(name), random_batch()
    state, hidden = model.init_state(3), []
    for step in range(batch.codes.shape[1]):
        h, state = model.step(rows_and_steps(batch, steps=slice(step, step + 1)), state)
        hidden.append(h)
    torch.testing.assert_close(real(torch.stack(hidden, 1), batch), real(model(batch), batch), **CLOSE)


def everything_of(model, batch):
    """Hidden states, answers to prompts, the gradient of every parameter, and the last of the steps."""
    hidden, answers = real(model(batch), batch), model.prompted(batch)
    gradients = torch.autograd.grad(
        hidden.square().sum() + answers.sum(), list(model.parameters()), allow_unused=True
    )
    with torch.no_grad():
        state = model.init_state(3)
        for step in range(5):
            last, state = model.step(rows_and_steps(batch, steps=slice(step, step + 1)), state)
    return [hidden, answers, last, *(g for g in gradients if g is not None)]


@pytest.mark.parametrize("name", SCANNING)
@pytest.mark.parametrize("backend", RUNNABLE)
def test_every_implementation_of_the_scan_gives_the_same(name, backend):
    batch = replace(random_batch(), prompts=some_prompts())
    expected = everything_of(tiny(name, backend="auto"), batch)
    for a, b in zip(everything_of(tiny(name, backend=backend), batch), expected, strict=True):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max().clamp(min=1)


def test_the_native_scan_is_the_default_where_it_is_there():
    assert "ehrmamba" in SCANNING
    if not native.available():
        pytest.skip(f"no native kernels: {native.why_not()}")
    batch = random_batch()
    assert torch.equal(tiny("ehrmamba")(batch), tiny("ehrmamba", backend="native")(batch))
    assert not torch.equal(tiny("ehrmamba")(batch), tiny("ehrmamba", backend="reference")(batch))


def prompted_one_by_one(model, batch):
    """What `prompted` must equal: each prompt's whole history with its task token at the end, by itself."""
    p = batch.prompts
    asked = zip(p.rows.tolist(), p.positions.tolist(), p.codes.tolist(), strict=True)
    task_type = model.config.task_type
    return torch.stack([model(with_token(batch, *question, task_type))[0, -1] for question in asked])


@pytest.mark.parametrize("name", CAUSAL)
def test_a_prompt_equals_a_forward_pass_with_the_task_token_last(name):
    model, batch = tiny(name), replace(random_batch(), prompts=some_prompts())
    torch.testing.assert_close(model.prompted(batch), prompted_one_by_one(model, batch), **CLOSE)


@pytest.mark.parametrize("name", CAUSAL)
def test_gradients_through_prompts_equal_those_of_separate_passes(name):
    model, batch = tiny(name).double(), replace(random_batch(), prompts=some_prompts())
    weights = torch.randn(6, model.width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    used = [p for n, p in model.named_parameters() if p.requires_grad]
    forked = torch.autograd.grad((model.prompted(batch) * weights).sum(), used, allow_unused=True)
    separate = torch.autograd.grad(
        (prompted_one_by_one(model, batch) * weights).sum(), used, allow_unused=True
    )
    for a, b in zip(forked, separate, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", CAUSAL)
def test_no_prompt_sees_another(name):
    model, batch = tiny(name), replace(random_batch(), prompts=some_prompts())
    together = model.prompted(batch)
    for i in range(6):
        one = {k: v[i : i + 1] for k, v in vars(batch.prompts).items()}
        alone = replace(batch, prompts=type(batch.prompts)(**one))
        torch.testing.assert_close(model.prompted(alone)[0], together[i], **CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_reaches_every_parameter(name):
    model, batch = tiny(name), random_batch()
    model(batch).square().sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent


@pytest.mark.parametrize("name", MODELS)
def test_saved_weights_give_the_same_outputs(name):
    model, other, batch = tiny(name), tiny(name, seed=1), random_batch()
    assert not torch.equal(other(batch), model(batch))
    other.load_state_dict(load(save(model.state_dict())))
    assert torch.equal(other(batch), model(batch))


@pytest.mark.parametrize("name", MODELS)
def test_it_learns_eight_sequences_by_heart(name):
    model, batch = tiny(name), random_batch(lengths=(12, 9, 8, 12, 7, 10, 11, 12))
    head = torch.nn.Linear(model.width, VOCAB_SIZE)
    targets = batch.codes[:, 1:].masked_fill(batch.codes[:, 1:] == 0, -100)
    optimiser = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(80):
        loss = cross_entropy(head(model(batch)[:, :-1]).transpose(1, 2), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.1
