"""Trains any module on any batches, with evaluation, checkpoints and exact resume.

The module and the data arrive as arguments; called on a batch, the module returns its loss. A run that was
killed and resumed gives the losses of one that was not, bit for bit on a CPU with the same number of threads.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from chartscan.batch import Loss
from chartscan.errors import ConfigError
from chartscan.lock import OutputLock
from chartscan.training import checkpoint
from chartscan.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    Interrupted,
    Interruption,
    Plain,
    State,
    check_same,
    environment,
    identity,
    interruption,
    warn_if_moved,
)
from chartscan.training.optimiser import (
    Average,
    NonFinite,
    Update,
    adamw,
    copied,
    learning_rate,
    restore_state,
    state_tensors,
    update,
    weights_of,
)
from chartscan.training.plan import Batches, TrainConfig, judged, out_of_patience, plan, uses_bf16
from chartscan.training.record import Log, Reporter, StepRecord, smoothed

Evaluation = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class FitResult:
    """How a run ended; the module has the best weights, or the last if interrupted."""

    step: int
    total_steps: int
    loss: float | None  # smoothed training loss at the end
    best_step: int | None  # None without `evaluate`
    metrics: dict[str, float]  # of the best evaluation
    stopped_early: bool
    interrupted: bool  # by SIGTERM or SIGUSR1: saved, to be resumed


def fit(
    module: nn.Module,
    data: Batches,
    config: TrainConfig,
    *,
    folder: Path,
    evaluate: Evaluation | None = None,
    resume: bool = False,
    report: Reporter | None = None,
    device: str = "cpu",
    fingerprint: str = "",
) -> FitResult:
    """Trains `module` in place and keeps checkpoints and `losses.jsonl` in `folder`.

    `module(batch)` returns the `batch.Loss` of a batch; a step calls nothing else of it, so that it may be
    wrapped, as by `torch.nn.parallel.DistributedDataParallel`.
    `evaluate(module)` runs in evaluation mode without gradients, and the random numbers it draws do not
    disturb the training. `fingerprint` names the data and all else that decides the losses; `resume` goes
    on only where it and the settings are as before. A `folder` with a run in it is refused unless `resume`.
    Raises NonFinite, and ConfigError where another process trains in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with OutputLock(folder), interruption() as wish:
        run = _Run(module, data, config, folder, torch.device(device), evaluate, report)
        run.begin(resume, fingerprint)
        return run.to_the_end(wish)


class _Run:
    """A training under way: everything that changes from step to step, and where it is kept."""

    def __init__(
        self,
        module: nn.Module,
        data: Batches,
        config: TrainConfig,
        folder: Path,
        device: torch.device,
        evaluate: Evaluation | None,
        report: Reporter | None,
    ):
        self.module, self.data = module.to(device), data
        self.config, self.device, self.evaluation = config, device, evaluate
        self.report = report or (lambda record: None)
        self.bf16 = uses_bf16(config, device)
        self.plan = plan(data, config)
        self.optimiser = adamw(module, config)
        self.average = Average(module, config.average_decay) if config.average_decay else None
        self.checkpoints = Checkpoints(folder / "checkpoints", config.keep_checkpoints)
        self.losses, self.evaluations = Log(folder / "losses.jsonl"), Log(folder / "evaluations.jsonl")
        self.state = State()
        self.best: dict[str, torch.Tensor] = {}  # the best weights; empty before the first evaluation
        self.saved_step = -1
        self.clock = self.saved_at = time.monotonic()
        self.session = (0, 0.0, self.clock)  # steps, tokens and clock where this session began

    def begin(self, resume: bool, fingerprint: str) -> None:
        """At the newest checkpoint, or with a first one at step 0."""
        same = identity(self.module, self.plan, self.config, self.device, fingerprint)
        self.identity = same | {"evaluated": self.evaluation is not None}
        if not resume and (self.checkpoints.any() or self.losses.path.exists()):
            where = self.losses.path.parent
            raise ConfigError(f"{where} holds a run already. Resume it, or train into another folder.")
        found = self.checkpoints.load_newest()
        if found is None:
            torch.manual_seed(self.config.seed)
            self.save()
        else:
            self._restore(found)
        self.losses.cut(self.state.step)
        self.evaluations.cut(self.state.evaluated_step)
        self.clock = time.monotonic()
        self.session = (self.state.step, self.state.tokens, self.clock)
        self.module.train()

    def to_the_end(self, wish: Interruption) -> FitResult:
        """Steps until the last one, the end of patience, or a signal."""
        while True:
            if self._evaluation_due() and not self._evaluated(wish):
                break
            if self._over():
                return self._finish()
            if wish.requested:
                break
            if self._checkpoint_due():
                self.save()
            self._step()
        self.save()
        return self._result(interrupted=True)

    def save(self) -> None:
        """Save a checkpoint of this step, unless there is one."""
        if self.saved_step == self.state.step:
            return
        for log in (self.losses, self.evaluations):
            log.sync()
        plain = Plain(self.state, checkpoint.plain(), self.identity, environment())
        groups = {
            "module": self.module.state_dict(),
            "optimiser": state_tensors(self.module, self.optimiser),
            "average": self.average.tensors if self.average else {},
            "best": self.best,
            "random": checkpoint.tensors(),
        }
        self.checkpoints.save(plain, groups)
        self.saved_step, self.saved_at = self.state.step, time.monotonic()

    def _restore(self, found: Checkpoint) -> None:
        check_same(found.plain.identity, self.identity)
        warn_if_moved(found.plain.environment, environment())
        self.module.load_state_dict(found.group("module"))
        restore_state(self.module, self.optimiser, found.group("optimiser"))
        self.best = found.group("best")
        if self.average:
            self.average.tensors = {n: t.to(self.device) for n, t in found.group("average").items()}
        self.state, self.saved_step = found.plain.state, found.plain.state.step
        checkpoint.restore(found.group("random"), found.plain.random)

    def _step(self) -> None:
        step = self.state.step
        rate = learning_rate(self.config, step, self.plan.total_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["multiple"]
        epoch = self.plan.epoch(step)
        batches = (_moved(self.data.batch(epoch, i), self.device) for i in self.plan.indices(step))
        try:
            losses = (self._loss(batch) for batch in batches)
            done = update(self.module, self.optimiser, losses, self.config.clip_norm)
        except NonFinite as err:
            raise NonFinite(
                f"Step {step + 1}: {err}. Nothing was updated; the last good checkpoint is "
                f"{self.checkpoints.last()}. Try a lower learning rate, fp32, or look for extreme inputs."
            ) from None
        if self.average:
            self.average.update(self.module, step + 1)
        self._advance(done, rate)

    def _loss(self, batch: Any) -> Loss:
        with torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext():
            found: Loss = self.module(batch)
        return found

    def _advance(self, done: Update, rate: float) -> None:
        before, now = self.state, time.monotonic()
        self.state = msgspec.structs.replace(
            before,
            step=before.step + 1,
            tokens=before.tokens + done.tokens,
            seconds=before.seconds + now - self.clock,
            smoothed_loss=smoothed(before.smoothed_loss, done.loss, before.step + 1),
        )
        self.clock = now
        row = {"step": self.state.step, "loss": done.loss, "learning_rate": rate, "grad_norm": done.grad_norm}
        self.losses.append(row | {"tokens": done.tokens, "seconds": round(self.state.seconds, 3)})
        self.report(self._record("train"))

    def _evaluation_due(self) -> bool:
        step, every = self.state.step, self.config.evaluate_every
        if self.evaluation is None or step == self.state.evaluated_step:
            return False
        regular = step % every == 0 if every else step in self.plan.ends
        return regular or step == self.plan.total_steps

    def _evaluated(self, wish: Interruption) -> bool:
        """Evaluates and keeps the weights if they are the best; False if a signal broke it off."""
        assert self.evaluation is not None
        step = self.state.step
        with weights_of(self.average, self.module):
            self.module.eval()
            try:
                with checkpoint.undisturbed(), torch.no_grad(), wish.at_once():
                    metrics = dict(self.evaluation(self.module))
            except Interrupted:
                return False
            finally:
                self.module.train()
            best = judged(self.state.best, step, metrics, self.config)
            if best.step == step:
                self.best = copied(self.module)
        self.state = msgspec.structs.replace(self.state, best=best, evaluated_step=step)
        self.evaluations.append({"step": step, **metrics})
        self.report(self._record("evaluate", metrics))
        return True

    def _over(self) -> bool:
        return self.state.step >= self.plan.total_steps or out_of_patience(self.state.best, self.config)

    def _checkpoint_due(self) -> bool:
        steps, seconds = self.config.checkpoint_every_steps, self.config.checkpoint_every_seconds
        if steps and self.state.step > self.saved_step and self.state.step % steps == 0:
            return True
        return seconds is not None and time.monotonic() - self.saved_at >= seconds

    def _finish(self) -> FitResult:
        self.save()
        if self.best:
            self.module.load_state_dict(self.best)
        elif self.average:
            self.module.load_state_dict(self.average.tensors)
        self.module.eval()
        return self._result(interrupted=False)

    def _result(self, interrupted: bool) -> FitResult:
        best, step, total = self.state.best, self.state.step, self.plan.total_steps
        return FitResult(
            step=step,
            total_steps=total,
            loss=self.state.smoothed_loss,
            best_step=best.step,
            metrics=best.metrics,
            stopped_early=not interrupted and step < total,
            interrupted=interrupted,
        )

    def _rate(self) -> float:
        group = self.optimiser.param_groups[0]
        return float(group["lr"] / group["multiple"])

    def _record(self, phase: Any, metrics: Mapping[str, float] | None = None) -> StepRecord:
        step, total = self.state.step, self.plan.total_steps
        first_step, first_tokens, begin = self.session
        seconds = max(time.monotonic() - begin, 1e-9)
        steps = step - first_step
        return StepRecord(
            phase=phase,
            step=step,
            total_steps=total,
            epoch=self.plan.epoch(max(step - 1, 0)),
            loss=self.state.smoothed_loss,
            learning_rate=self._rate(),
            tokens_per_second=(self.state.tokens - first_tokens) / seconds,
            eta_seconds=(total - step) * seconds / steps if steps else None,
            metrics=dict(metrics or {}),
        )


def _moved(batch: Any, device: torch.device) -> Any:
    return batch.to(device) if hasattr(batch, "to") else batch
