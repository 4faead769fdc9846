"""One step against a plain loop in torch, and what it refuses."""

import math

import msgspec
import pytest
import torch
from torch import nn

from chartscan.batch import Loss
from chartscan.training import NonFinite, TrainConfig, fit
from chartscan.training.optimiser import adamw, learning_rate, update
from toy_training import ToyBatches, toy_fit, toy_model

PLAIN = TrainConfig(learning_rate=0.05, epochs=2, checkpoint_every_seconds=None)


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in module.state_dict().values()]


def step_of(module: nn.Module, batches: list[torch.Tensor], clip_norm: float = 1e9):
    optimiser = adamw(module, PLAIN)
    return update(module, optimiser, map(module, batches), clip_norm)


def test_fit_equals_a_plain_loop_with_torch_adamw(tmp_path):
    module, plain, data = toy_model(0.0), toy_model(0.0), ToyBatches(5)
    result = fit(module, data, PLAIN, folder=tmp_path)

    decayed = [plain[3].weight]  # of embedding, norm and linear, only the last one's matrix
    others = [p for p in plain.parameters() if p is not plain[3].weight]
    optimiser = torch.optim.AdamW([{"params": decayed}, {"params": others, "weight_decay": 0.0}])
    optimiser.param_groups[0]["weight_decay"] = PLAIN.weight_decay
    places = [(epoch, index) for epoch in range(2) for index in range(data.n_batches(epoch))]
    for step, place in enumerate(places):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(PLAIN, step, len(places))
        tokens = data.batch(*place)
        optimiser.zero_grad()
        logits = plain.logits(tokens[:, :-1])
        nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), PLAIN.clip_norm)
        optimiser.step()

    assert result.step == result.total_steps == len(places)
    for ours, theirs in zip(weights(module), weights(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_accumulated_batches_equal_one_big_batch():
    """Rows of unequal length: a mean of the batches' means would differ, and does."""

    def padded_loss(module, tokens):
        logits = module.logits(tokens[:, :-1].clamp(min=0)).double()
        target = tokens[:, 1:]
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), target.flatten(), ignore_index=-1, reduction="sum"
        )
        return Loss(loss, float((target >= 0).sum()), int((target >= 0).sum()))

    rows = torch.randint(0, 20, (7, 13), generator=torch.Generator().manual_seed(0))
    for row, length in enumerate([13, 2, 5, 9, 3, 12, 4]):
        rows[row, length:] = -1
    gradients = []
    for batches in ([rows], [rows[:1], rows[1:3], rows[3:]], [row[None] for row in rows]):
        module = toy_model(0.0).double()
        done = update(module, adamw(module, PLAIN), (padded_loss(module, b) for b in batches), 1e9)
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters()]))
        assert done.tokens == 41
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-6, atol=1e-9)

    module = toy_model(0.0).double()
    means = [padded_loss(module, row[None]) for row in rows]
    (sum(loss / n for loss, n, _ in means) / len(rows)).backward()
    of_means = torch.cat([p.grad.flatten() for p in module.parameters()])
    assert (of_means - gradients[0]).abs().max() > 1e-3


def test_weighed_losses_give_the_weighed_mean_and_the_number_of_targets():
    batches = [ToyBatches().batch(0, index) for index in range(3)]

    def weighed(module, tokens):
        shares = 1.0 + 29.0 * (tokens[:, :-1] % 3 == 0)
        logits = module.logits(tokens[:, :-1]).flatten(0, 1)
        losses = nn.functional.cross_entropy(logits, tokens[:, 1:].flatten(), reduction="none")
        return Loss((losses * shares.flatten()).sum(), float(shares.sum()), tokens[:, 1:].numel())

    module, plain = toy_model(0.0), toy_model(0.0)
    done = update(module, adamw(module, PLAIN), (weighed(module, tokens) for tokens in batches), 1e9)
    found = [weighed(plain, tokens) for tokens in batches]
    mean = sum(total for total, _, _ in found) / sum(weight for _, weight, _ in found)
    mean.backward()
    for ours, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert done.loss == pytest.approx(mean.item())
    assert done.tokens == sum(tokens[:, 1:].numel() for tokens in batches)


def test_the_gradient_is_clipped_to_the_norm():
    module = toy_model(0.0)
    done = step_of(module, [ToyBatches().batch(0, 0)], clip_norm=0.01)
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in module.parameters()))
    assert done.grad_norm > 0.1
    assert norm == pytest.approx(0.01, rel=1e-4)


def test_batches_without_anything_to_predict_change_nothing():
    module = toy_model()
    before = weights(module)
    done = step_of(module, [torch.zeros(2, 1, dtype=torch.int64)])
    assert (done.loss, done.tokens) == (None, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(module), strict=True))


class Poisoned(nn.Module):
    """The toy with a loss or a gradient that goes wrong from one forward pass on."""

    def __init__(self, kind: str, good_passes: int):
        super().__init__()
        self.inner, self.kind, self.left = toy_model(), kind, good_passes

    def forward(self, tokens: torch.Tensor) -> Loss:
        loss = self.inner(tokens)
        self.left -= 1
        if self.left >= 0:
            return loss
        if self.kind == "loss":
            return loss._replace(total=loss.total * math.inf)
        loss.total.register_hook(lambda gradient: gradient * math.nan)  # finite loss
        return loss


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_loss_or_gradient_that_is_not_finite_stops_before_the_update(tmp_path, kind):
    config = msgspec.structs.replace(PLAIN, accumulate=2, checkpoint_every_steps=1)
    poisoned, sound = Poisoned(kind, good_passes=7), Poisoned(kind, good_passes=10**6)
    with pytest.raises(NonFinite, match=rf"Step 4: the .*{kind}.* is .*step-00000003") as caught:
        toy_fit(tmp_path / "a", module=poisoned, config=config, evaluate=None)
    assert "\n" not in str(caught.value)
    three = msgspec.structs.replace(config, max_steps=3, warmup_fraction=0.0, min_lr_ratio=1.0)
    same = msgspec.structs.replace(config, warmup_fraction=0.0, min_lr_ratio=1.0)
    with pytest.raises(NonFinite):
        toy_fit(
            tmp_path / "b", module=(poisoned := Poisoned(kind, good_passes=7)), config=same, evaluate=None
        )
    toy_fit(tmp_path / "c", module=sound, config=three, evaluate=None)
    assert all(torch.equal(a, b) for a, b in zip(weights(poisoned), weights(sound), strict=True))


def test_only_matrix_weights_decay():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(5, 4)
            self.tied = nn.Linear(4, 5)
            self.tied.weight = self.embedding.weight
            self.conv = nn.Conv1d(4, 4, 3, groups=4)
            self.norm = nn.LayerNorm(4)
            self.attention = nn.MultiheadAttention(4, 2)
            self.A_log = nn.Parameter(torch.zeros(4, 2))
            self.D = nn.Parameter(torch.zeros(4))
            self.frozen = nn.Linear(4, 4).requires_grad_(False)

    module = Odd()
    groups = {group["weight_decay"]: group["params"] for group in adamw(module, PLAIN).param_groups}
    names = {id(p): name for name, p in module.named_parameters()}
    assert {names[id(p)] for p in groups[PLAIN.weight_decay]} == {
        "conv.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    }
    free = {names[id(p)] for p in groups[0.0]}
    assert free == set(names.values()) - {names[id(p)] for p in groups[PLAIN.weight_decay]} - {
        "frozen.weight",
        "frozen.bias",
    }
