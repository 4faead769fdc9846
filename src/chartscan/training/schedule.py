"""The learning rate of every step: linear warm-up, then linear decay."""

from chartscan.training.config import TrainConfig


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
