"""One update of the weights: optimiser, learning rate, averaging, mean gradient."""

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import msgspec
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from chartscan.batch import Loss
from chartscan.errors import ChartscanError, ConfigError, DataError
from chartscan.training.plan import TrainConfig


def learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    """The rate of step `step` (0-based) of `total_steps`.

    It rises from `min_lr_ratio` of the peak at step 0 to the peak after `warmup_fraction` of the steps and
    falls back to where it began at the last step. Fallahpour et al. 2024 (EHRMamba): 5e-7 -> 5e-5 -> 5e-7.
    """
    low = config.learning_rate * config.min_lr_ratio
    last_step = total_steps - 1
    peak_step = round(config.warmup_fraction * last_step)
    if step == peak_step:
        return config.learning_rate
    height = step / peak_step if step < peak_step else (last_step - step) / (last_step - peak_step)
    return low + (config.learning_rate - low) * height


class Average:
    """The exponential moving average of everything in a module's state."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.tensors = copied(module)

    def update(self, module: nn.Module, step: int) -> None:
        """Add the weights after `step` steps; early weights are forgotten faster."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - decay)
            else:
                self.tensors[name].copy_(tensor)


@contextmanager
def weights_of(average: Average | None, module: nn.Module) -> Iterator[None]:
    """Inside, `module` has the averaged weights (its own where there is no average)."""
    if average is None:
        yield
        return
    own = copied(module)
    module.load_state_dict(average.tensors)
    try:
        yield
    finally:
        module.load_state_dict(own)


@torch.no_grad()
def copied(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the module's state, each tensor with memory of its own."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def adamw(module: nn.Module, config: TrainConfig) -> AdamW:
    """AdamW over the trainable parameters of `module`.

    Decay pulls towards zero, which means something for the weights of linear maps and convolutions alone.
    Free of it: biases and norm scales (one dimension), embeddings (a rare row would shrink at every step in
    which it is not seen), and parameters that are not called `weight`, such as Mamba's A_log and D.
    Each group knows its `multiple` of the learning rate (`config.faster`). Fused where PyTorch can: of 4.5
    million weights, 3 ms a step on one core instead of 16. ConfigError where `config.faster` names nothing.
    """
    _check_named(config.faster, module)
    embedded = {id(p) for m in module.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim >= 2 and name.endswith("weight")
            kind = _multiple(name, config.faster), is_matrix and id(parameter) not in embedded
            groups.setdefault(kind, []).append(parameter)
    return AdamW(
        [
            {
                "params": parameters,
                "weight_decay": config.weight_decay if decay else 0.0,
                "multiple": multiple,
            }
            for (multiple, decay), parameters in sorted(groups.items(), key=lambda item: item[0])
        ],
        lr=config.learning_rate,
        betas=config.betas,
        fused=_can_fuse(module),
    )


def _multiple(name: str, faster: Mapping[str, float]) -> float:
    """Of the longest beginning of `name` that is named; 1 where none is."""
    found = [beginning for beginning in faster if name.startswith(beginning)]
    return faster[max(found, key=len)] if found else 1.0


def _check_named(beginnings: Iterable[str], module: nn.Module) -> None:
    """ConfigError for the first of `beginnings` that no name of a parameter has, with the nearest right ones.

    Those of parts that the settings leave out are no mistakes.
    """
    names = [name for name, _ in module.named_parameters()] + list(_left_out(module))
    for beginning in beginnings:
        if not any(name.startswith(beginning) for name in names):
            words = [name.split(".") for name in names]
            known = sorted({".".join(parts[:n]) for parts in words for n in range(1, len(parts) + 1)})
            near = difflib.get_close_matches(beginning, known)
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            parts = ", ".join(sorted({name.partition(".")[0] for name in names}))
            raise ConfigError(f"faster: no parameter's name begins with '{beginning}'.{hint} Parts: {parts}.")


def _left_out(module: nn.Module) -> Iterator[str]:
    """Names of the parts that `module` was made without: None stands where they would be."""
    for within, one in module.named_modules():
        for name, value in vars(one).items():
            if value is None and not name.startswith("_"):
                yield f"{within}.{name}" if within else name


def _can_fuse(module: nn.Module) -> bool:
    return all(parameter.device.type in ("cpu", "cuda") for parameter in module.parameters())


def state_tensors(module: nn.Module, optimiser: AdamW) -> dict[str, Tensor]:
    """The optimiser's state, each tensor under `<its kind>.<the parameter's name>`."""
    return {
        f"{kind}.{name}": tensor
        for name, parameter in module.named_parameters()
        for kind, tensor in optimiser.state.get(parameter, {}).items()
    }


def restore_state(module: nn.Module, optimiser: AdamW, tensors: dict[str, Tensor]) -> None:
    """Puts tensors named as by `state_tensors` into `optimiser`; DataError for an unknown parameter."""
    parameters, fused = dict(module.named_parameters()), optimiser.defaults["fused"]
    for key, tensor in tensors.items():
        kind, _, name = key.partition(".")
        if name not in parameters:
            raise DataError(f"The checkpoint has optimiser state of '{name}', which is not in the model.")
        device = "cpu" if kind == "step" and not fused else parameters[name].device
        optimiser.state[parameters[name]][kind] = tensor.to(device)


class NonFinite(ChartscanError):
    """The loss or gradient is not finite; weights are as before the step."""


class Update(msgspec.Struct, frozen=True):
    """What a step did."""

    loss: float | None  # (weighed) mean over tokens; None where the batches held nothing to predict
    tokens: float  # predicted tokens, however they weigh
    grad_norm: float  # before clipping


def update(module: nn.Module, optimiser: AdamW, losses: Iterable[Loss], clip_norm: float) -> Update:
    """Update `module` once from several batches, as if one big batch.

    Each total is differentiated before the next loss is computed, and the gradient divided by the sum of all
    weights, so that a target weighs the same in any batch. Batches without a target change nothing. Raises
    NonFinite before anything is updated.
    """
    optimiser.zero_grad(set_to_none=True)
    total, weight, tokens = 0.0, 0.0, 0.0
    for loss in losses:
        total, weight = total + float(loss.total.detach()), weight + float(loss.weight)
        tokens += float(loss.targets)
        if not math.isfinite(total):
            raise NonFinite(f"the loss is {total}")
        if loss.weight:
            loss.total.backward()
    if not weight:
        return Update(None, 0.0, 0.0)
    norm = _mean_gradient(module, weight, clip_norm)
    if not math.isfinite(norm):
        raise NonFinite(f"the norm of the gradient is {norm}")
    optimiser.step()
    return Update(total / weight, tokens, norm)


def _mean_gradient(module: nn.Module, weight: float, clip_norm: float) -> float:
    """Turns gradients of a sum that weighs `weight` into clipped ones of the mean; their norm before."""
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(weight)
    return float(nn.utils.clip_grad_norm_(module.parameters(), clip_norm))
