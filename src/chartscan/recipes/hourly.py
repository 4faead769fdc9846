"""Models that read time series. What `hymate` changes of its paper stands in docs/physionet2012.md."""

from msgspec.structs import replace

from chartscan.inputs.hourly import CHANNELS, SeriesConfig
from chartscan.learn.ensembles import EnsembleRecipe
from chartscan.learn.members import Member
from chartscan.learn.networks import NetworkRecipe
from chartscan.learn.teacher import Teacher
from chartscan.learn.trees import SUMMARY_TREES, TabularRecipe
from chartscan.models import gru, hymate, hymate_carried
from chartscan.objectives import classification, readouts
from chartscan.tabular import logistic
from chartscan.training import TrainConfig

HYMATE = NetworkRecipe(
    model=hymate_carried.Config(channels=CHANNELS),
    head=readouts.Config(),
    reader=SeriesConfig(scaling="rank_gauss", derived=True),
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
    refit=True,  # tuning subjects decide the calibration alone, so they may be used for training
)
# A refitted member would be trained on the subjects that decide its weight.
_MEMBER = Member("hymate", replace(HYMATE, refit=False))
_TREES = TabularRecipe(model=SUMMARY_TREES, reader=SeriesConfig())
_TREES_MEMBER = Member("xgboost-summary", _TREES)

RECIPES = {
    # A short schedule whose averaged last weights are kept, because choosing a checkpoint on few tuning stays
    # chooses noise.
    "gru": NetworkRecipe(
        model=gru.Config(d_model=64, channels=len(CHANNELS), dropout=0.3),
        reader=SeriesConfig(scaling="rank_gauss"),
        head=classification.Config(hidden=0, dropout=0.3),
        finetune=TrainConfig(
            learning_rate=2e-3, epochs=5, weight_decay=0.05, average_decay=0.98, keep="last"
        ),
        batch_size=64,
    ),
    "hymate": HYMATE,
    # Half of each train answer is an out-of-fold probability of trees; the rest is `hymate`.
    "hymate-distilled": replace(HYMATE, teacher=Teacher(), refit=False),
    # Mottalib et al. 2025, arXiv:2509.24118. The paper names batches of 32 and Adam, and neither sizes nor
    # rates; gradients are clipped at 0.3 and the weights of the best tuning AUROC kept as in its predecessor
    # STraTS (arXiv:2107.14293). Rates, and schedules short enough for a processor, were tried on part of
    # set-a of PhysioNet 2012 (log/). No weight for the positives, since it spoils probabilities.
    "hymate-paper": NetworkRecipe(
        model=hymate.Config(d_model=64, n_layers=2, n_attention=1, n_heads=4, dropout=0.2),
        reader=SeriesConfig(),
        head=classification.Config(hidden=0, dropout=0.2),
        pretrain=TrainConfig(learning_rate=1e-3, epochs=8, clip_norm=0.3),
        finetune=TrainConfig(learning_rate=3e-4, epochs=6, clip_norm=0.3, metric="auroc", direction="max"),
        batch_size=32,
    ),
    # With folds, out-of-fold answers decide weights and calibration.
    "hymate-blend": EnsembleRecipe(members=(_MEMBER, _TREES_MEMBER), folds=10),
    "hymate-folds": EnsembleRecipe(members=(_MEMBER,), folds=10, weights="equal"),
    "logistic-summary": TabularRecipe(model=logistic.Config(), reader=SeriesConfig()),
    "xgboost-folds": EnsembleRecipe(members=(_TREES_MEMBER,), folds=10, weights="equal"),
    "xgboost-summary": _TREES,
}
