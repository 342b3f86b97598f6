"""Validation during training: score the model now and then, remember the best."""

import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass

from paddle import nn

from mae_core.process import log
from mae_core.process.run_log import LOWER_IS_BETTER
from mae_core.training.optim import Ema
from mae_core.weights.checkpoint_state import Best, Validated

EvaluateFn = Callable[[nn.Layer, int, Callable[[], bool]], dict[str, float] | None]


@dataclass
class Validation:
    """When and how a run is validated.

    Args:
        evaluate: (model in evaluation mode, steps done, asks whether to stop early) -> metrics; None when any rank
            stopped early. Without it nothing is scored, and what a resumed run knew is kept.
        every: steps between validations; the last step has one too.
        best_by: the metric that makes the best checkpoint, by the highest value, of LOWER_IS_BETTER by the lowest;
            None where none of them ranks checkpoints.
        skipped: returns lines on what could not be read.

    Attributes:
        best: step and score of the best so far.
        scored: the step that was scored last.
    """

    evaluate: EvaluateFn | None = None
    every: int = 1
    best_by: str | None = "top1"
    skipped: Callable[[], Iterable[str]] = tuple
    best: Best | None = None
    scored: int = 0

    @property
    def best_step(self) -> int | None:
        """The step of the best checkpoint so far."""
        return self.best.step if self.best else None

    def due(self, step: int, total_steps: int) -> bool:
        """Return whether a step is to be scored and has not been."""
        wanted = self.evaluate is not None
        return wanted and step > 0 and (step % self.every == 0 or step == total_steps) and step != self.scored

    def score(
        self, model: nn.Layer, ema: Ema | None, step: int, should_stop: Callable[[], bool]
    ) -> dict[str, float] | None:
        """Score the model, by its averaged weights where there are any; None when it was stopped early."""
        assert self.evaluate is not None
        started = time.perf_counter()
        model.eval()
        with ema.swapped_in(model) if ema else nullcontext():
            scores = self.evaluate(model, step, should_stop)
        model.train()
        if scores is None:
            return None
        self.scored = step
        metrics = " ".join(f"{name} {value:.4f}" for name, value in scores.items())
        log.LOGGER.info(
            f"validation after step {step}: {metrics}{self._note_best(step, scores)}"
            f" ({time.perf_counter() - started:.1f} s)"
        )
        return scores

    def _note_best(self, step: int, scores: dict[str, float]) -> str:
        """Remember the best score; return words on it for the log."""
        if self.best_by is None:
            return ""
        score, sign = scores[self.best_by], -1 if self.best_by in LOWER_IS_BETTER else 1
        if self.best is None or sign * score > sign * self.best.score:
            self.best = Best(step, score)
        return f" (best {self.best_by} {self.best.score:.4f})"

    def state(self) -> Validated:
        """Return what a resumed run needs."""
        return Validated(self.best, self.scored)

    def load(self, state: Validated) -> None:
        """Restore what `state` returned."""
        self.best, self.scored = state.best, state.scored
