"""What every model of token sequences must hold, whichever it is: found by file name in chartscan/models.

Those of time series have contracts of their own (test_every_series_model.py). A model's `Config` has
`d_model`, `n_layers`, `task_type` and `dropout`; its class says whether it is `CAUSAL`, and then it has
`step`, and which objective teaches it (`PRETRAINING`).
"""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from chartscan.batch import Prompts
from chartscan.find import find, names
from chartscan.kernels import BACKENDS, native
from chartscan.objectives.masked_event import MaskedEvent
from chartscan.objectives.next_event import NextEvent
from chartscan.objectives.prompted import Prompted
from random_batches import (
    VOCAB_SIZE,
    random_batch,
    rows_and_steps,
    some_prompts,
    tensors,
    with_padding,
    with_token,
)
from random_series import required

INPUTS = {"tokens", "triplets", "carried"}
MODELS = [name for name in names("models") if find("models", name).Model.INPUT == "tokens"]
CAUSAL = [name for name in MODELS if find("models", name).Model.CAUSAL]
SCANNING = [name for name in MODELS if "backend" in find("models", name).Config.__struct_fields__]
RUNNABLE = [
    name for name in BACKENDS if name in ("chunked", "reference") or (name == "native" and native.available())
]
CLOSE = {"rtol": 0, "atol": 1e-5}
LENGTHS = (1, 63, 64, 65, 200)
SMALL = {"d_model": 32, "n_layers": 2, "dropout": 0.0}
# Blocks so small that attention is sparse in rows of 12 tokens.
SPARSE = {"n_heads": 4, "d_ffn": 64, "context": 300, "block": 2, "n_random": 1}
OWN = {"bigbird": SPARSE, "cehr_bert": {"d_ffn": 64}}


def tiny(name, seed=0, **settings):
    torch.manual_seed(seed)
    module = find("models", name)
    return module.Model(module.Config(**(SMALL | OWN.get(name, {}) | settings)), VOCAB_SIZE)


def real(hidden, batch):
    """The rows of `hidden` that are not padding, in order."""
    return hidden[torch.arange(hidden.shape[1]) < batch.lengths.unsqueeze(1)]


def with_future_of(batch, other, cut):
    """`batch` up to step `cut`, then what `other` has."""
    now, later = tensors(batch), tensors(other)
    return replace(batch, **{n: torch.cat([now[n][:, :cut], later[n][:, cut:]], 1) for n in now})


def test_there_are_models():
    assert "ehrmamba" in CAUSAL
    assert {"bilstm", "cehr_bert", "bigbird"} <= set(MODELS) - set(CAUSAL)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_declares_whether_it_is_causal_and_what_teaches_it(name):
    model = find("models", name).Model
    assert model.CAUSAL == hasattr(model, "step") == hasattr(model, "init_state")
    assert model.PRETRAINING in {"next_event" if model.CAUSAL else "masked_event", None}


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
    model, batch = tiny(name), random_batch()
    changed = model(with_future_of(batch, random_batch(seed=1), cut))
    torch.testing.assert_close(changed[:, :cut], model(batch)[:, :cut], **CLOSE)
    assert not torch.allclose(changed[:, cut:], model(batch)[:, cut:], atol=1e-3)


@pytest.mark.parametrize("name", sorted(set(MODELS) - set(CAUSAL)))
def test_a_model_that_is_not_causal_sees_the_future_from_every_position(name):
    model, batch = tiny(name), random_batch()
    changed = model(with_future_of(batch, random_batch(seed=1), 11))
    moved = (changed - model(batch))[0, :11].abs().amax(1)
    assert (moved > 1e-4).all()


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


@pytest.mark.parametrize("name", MODELS)
def test_rows_of_odd_lengths_are_the_same_alone_together_and_padded(name):
    model, batch = tiny(name), random_batch(LENGTHS)
    with torch.no_grad():
        together, padded = model(batch), model(with_padding(batch, 59))
        for row, length in enumerate(LENGTHS):
            alone = model(rows_and_steps(batch, slice(row, row + 1), slice(0, length)))[0]
            torch.testing.assert_close(together[row, :length], alone, **CLOSE)
            torch.testing.assert_close(padded[row, :length], alone, **CLOSE)


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("length", LENGTHS)
def test_folding_step_over_odd_lengths_equals_forward(name, length):
    model, batch = tiny(name), random_batch((length,))
    with torch.no_grad():
        state, last = model.init_state(1), None
        for step in range(length):
            last, state = model.step(rows_and_steps(batch, steps=slice(step, step + 1)), state)
        torch.testing.assert_close(last, model(batch)[:, -1], **CLOSE)


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


@pytest.mark.parametrize("name", MODELS)
def test_a_prompt_equals_a_forward_pass_with_the_task_token_last(name):
    model, batch = tiny(name), replace(random_batch(), prompts=some_prompts())
    torch.testing.assert_close(model.prompted(batch), prompted_one_by_one(model, batch), **CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_prompts_see_nothing_after_their_positions(name):
    model, batch = tiny(name), replace(random_batch(), prompts=some_prompts())
    changed = replace(with_future_of(batch, random_batch(seed=1), 5), prompts=batch.prompts)
    before, after = model.prompted(batch), model.prompted(changed)
    early = batch.prompts.positions < 5
    torch.testing.assert_close(after[early], before[early], **CLOSE)
    assert ((after - before)[~early].abs().amax(1) > 1e-3).all()


@pytest.mark.parametrize("name", MODELS)
def test_padding_and_batch_mates_change_no_answer(name):
    model, batch = tiny(name), replace(random_batch(), prompts=some_prompts())
    expected = model.prompted(batch)
    padded = replace(with_padding(batch, 9), prompts=batch.prompts)
    torch.testing.assert_close(model.prompted(padded), expected, **CLOSE)
    asked = {n: v[batch.prompts.rows == 0] for n, v in vars(batch.prompts).items()}
    alone = replace(rows_and_steps(batch, slice(0, 1)), prompts=type(batch.prompts)(**asked))
    torch.testing.assert_close(model.prompted(alone), expected[batch.prompts.rows == 0], **CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_prompts_are_needed_to_answer_prompts(name):
    with pytest.raises(ValueError, match="no prompts"):
        tiny(name).prompted(random_batch())


@pytest.mark.parametrize("name", MODELS)
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


@pytest.mark.parametrize("name", MODELS)
def test_no_prompt_sees_another(name):
    model, batch = tiny(name), replace(random_batch(), prompts=some_prompts())
    together = model.prompted(batch)
    for i in range(6):
        one = {k: v[i : i + 1] for k, v in vars(batch.prompts).items()}
        alone = replace(batch, prompts=type(batch.prompts)(**one))
        torch.testing.assert_close(model.prompted(alone)[0], together[i], **CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_reaches_every_parameter(name):
    model, batch = tiny(name).double(), random_batch()
    hidden = real(model(batch), batch)
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
    (hidden * weights).sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-6]
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
    batch = replace(batch, prompts=one_prompt_a_row(batch))
    head = teacher_of(model)
    optimiser = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=5e-3)
    for _ in range(80):
        loss, count, _ = head.loss(model, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss / count < 0.1


def teacher_of(model):
    """The objective of pretraining; that of prompts where there is none. Masks are always the same."""
    if model.PRETRAINING == "next_event":
        return NextEvent(model.width, VOCAB_SIZE)
    if model.PRETRAINING == "masked_event":
        return MaskedEvent(model.width, torch.arange(VOCAB_SIZE) >= 10, mask_id=2, rate=0.4).eval()
    return Prompted(model.width, 2, dropout=0.0)


def one_prompt_a_row(batch):
    """At each row's end, answered by turns."""
    rows = torch.arange(len(batch.lengths))
    return Prompts(
        rows=rows,
        positions=batch.lengths - 1,
        codes=40 + rows % 2,
        tasks=rows % 2,
        labels=(rows // 2 % 2).float(),
    )


@pytest.mark.parametrize("name", CAUSAL)
def test_a_detached_state_carries_no_gradient(name):
    state = tiny(name).fork(random_batch(), torch.tensor([0]), torch.tensor([4]))
    assert any(t.requires_grad for block in state.blocks for t in vars(block).values())
    assert not any(t.requires_grad for block in state.detach().blocks for t in vars(block).values())


@pytest.mark.parametrize("name", CAUSAL)
def test_under_bf16_autocast_the_result_is_close_and_states_stay_float32(name):
    model, batch = tiny(name), replace(random_batch(), prompts=some_prompts())
    expected, asked = model(batch), model.prompted(batch)
    with torch.autocast("cpu", torch.bfloat16):
        found, answered = model(batch), model.prompted(batch)
        state = model.fork(batch, torch.tensor([0]), torch.tensor([4]))
        _, after = model.step(rows_and_steps(batch, slice(0, 1), slice(5, 6)), state)
    assert found.dtype == answered.dtype == torch.float32
    assert all(t.dtype == torch.float32 for s in (state, after) for b in s.blocks for t in vars(b).values())
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)
    torch.testing.assert_close(answered, asked, rtol=0, atol=0.05)
