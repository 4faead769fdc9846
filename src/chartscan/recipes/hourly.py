"""Networks that read time series. What `hymate` changes of its paper stands in docs/physionet2012.md."""

from msgspec.structs import replace

from chartscan.inputs.hourly import CHANNELS, SeriesConfig
from chartscan.learn.neural.series import SeriesRecipe
from chartscan.learn.neural.teacher import Teacher
from chartscan.models import gru, hymate, hymate_carried
from chartscan.objectives import classification, readouts
from chartscan.training import TrainConfig

HYMATE = SeriesRecipe(
    model=hymate_carried.Config(channels=CHANNELS),
    head=readouts.Config(),
    series=SeriesConfig(scaling="rank_gauss", derived=True),
    pretrain=None,
    finetune=TrainConfig(
        learning_rate=5e-4,
        faster={"model.": 1.5, "head.sequence": 1.5, "head.forecast": 3.0, "head.wide": 2.0},
        epochs=10,
        clip_norm=10.0,  # the readouts' gradients differ in size: under a tighter bound one rules all
        average_decay=0.98,
        weight_decay=0.05,
        keep="last",
    ),
    batch_size=64,
    refit=True,  # nothing is chosen on tuning subjects but how answers are read, so they may teach
)

RECIPES = {
    # A short schedule whose averaged last weights are kept, because choosing a checkpoint on few tuning stays
    # chooses noise.
    "gru": SeriesRecipe(
        model=gru.Config(d_model=64, channels=len(CHANNELS), dropout=0.3),
        series=SeriesConfig(scaling="rank_gauss"),
        head=classification.Config(hidden=0, dropout=0.3),
        finetune=TrainConfig(
            learning_rate=2e-3, epochs=5, weight_decay=0.05, average_decay=0.98, keep="last"
        ),
        batch_size=64,
    ),
    "hymate": HYMATE,
    # Half of each train answer is what trees say that other train subjects taught; the rest is `hymate`.
    "hymate-distilled": replace(HYMATE, teacher=Teacher(), refit=False),
    # Mottalib et al. 2025, arXiv:2509.24118. The paper names batches of 32 and Adam, and neither sizes nor
    # rates; gradients are clipped at 0.3 and the weights of the best tuning AUROC kept as in its predecessor
    # STraTS (arXiv:2107.14293). Rates, and schedules short enough for a processor, were tried on part of
    # set-a of PhysioNet 2012 (log/). No weight for the positives, since it spoils probabilities.
    "hymate-paper": SeriesRecipe(
        model=hymate.Config(d_model=64, n_layers=2, n_attention=1, n_heads=4, dropout=0.2),
        head=classification.Config(hidden=0, dropout=0.2),
        pretrain=TrainConfig(learning_rate=1e-3, epochs=8, clip_norm=0.3),
        finetune=TrainConfig(learning_rate=3e-4, epochs=6, clip_norm=0.3, metric="auroc", direction="max"),
        batch_size=32,
    ),
}
