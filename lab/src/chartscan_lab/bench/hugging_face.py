"""The Mamba of transformers with the weights of ours, so that both compute the same."""

import warnings
from typing import Any

import torch
from torch import nn

from chartscan.layers.mamba import MambaBlock
from chartscan.models.ehrmamba import Config


def causal_model(config: Config, vocab_size: int, mambapy: bool = False) -> Any:
    """A MambaForCausalLM of the size of `config`; without kernels it runs a loop, or mambapy's scan."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers

        transformers.logging.set_verbosity_error()
        return transformers.MambaForCausalLM(
            transformers.MambaConfig(
                vocab_size=vocab_size,
                hidden_size=config.d_model,
                state_size=config.d_state,
                num_hidden_layers=config.n_layers,
                conv_kernel=config.d_conv,
                expand=config.expand,
                time_step_rank=config.dt_rank,
                layer_norm_epsilon=1e-5,
                use_cache=False,
                use_mambapy=mambapy,
            )
        )


@torch.no_grad()
def copy_blocks(ours: list[MambaBlock], norm: nn.RMSNorm, theirs: Any) -> None:
    """Gives the blocks and the last norm of `theirs`, a MambaModel, our weights."""
    for block, layer in zip(ours, theirs.layers, strict=True):
        mixer = layer.mixer
        for mine, other in (
            (block.norm.weight, layer.norm.weight),
            (block.in_proj.weight, mixer.in_proj.weight),
            (block.conv_weight, mixer.conv1d.weight),
            (block.conv_bias, mixer.conv1d.bias),
            (block.x_proj.weight, mixer.x_proj.weight),
            (block.dt_proj.weight, mixer.dt_proj.weight),
            (block.dt_bias, mixer.dt_proj.bias),
            (block.A_log, mixer.A_log),
            (block.D, mixer.D),
            (block.out_proj.weight, mixer.out_proj.weight),
        ):
            other.copy_(mine.reshape(other.shape))
    theirs.norm_f.weight.copy_(norm.weight)
