"""One stage of a search: ask, submit, report, tell, until its trials or its time are spent.

A trial with a KerasTuner hypermodel may take several rounds: a worker that meets unknown hyperparameters sends the job
back, the same trial is asked for them, and the job goes out again under the same number.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.trial import Trial

from autotl.errors import AutotlError, PluginError
from autotl.execution.protocol import Failed, Job
from autotl.search.context import Context
from autotl.search.dispatch import Outcome
from autotl.search.forecast import PRUNED_SHARE
from autotl.search.gate import falls_behind
from autotl.search.hyperparameters import Inquiry, answer, known_values
from autotl.search.plan import concrete_config, portfolio
from autotl.search.study import conclude, finished, repeat, result_of, trailing_repeats
from autotl.space.options import NO_HEADS, Heads, with_defaults
from autotl.space.schema import Stage
from autotl.space.suggest import suggest

REPEATED_ERRORS = 3
MOST_REPEATS = 20  # of known configurations in a row: the sampler has no other left that it would choose
Deadline = Callable[[Mapping[str, Any] | None], float | None]
Gate = Callable[[Sequence[Mapping[str, Any]]], bool]


def never(best: Mapping[str, Any] | None) -> None:
    """The `Deadline` of a search without a budget."""


@dataclass
class StageRun:
    """A stage on its way."""

    context: Context
    stage: Stage
    study: optuna.Study
    backbones: Sequence[str]
    inherited: Mapping[str, Mapping[str, Any]]  # by backbone: settings of the stage before
    trials: int
    deadline: Deadline = never  # asked again and again: what must be kept for the end depends on the best trial
    gate: Gate | None = None  # decides after the portfolio whether the stage goes on
    rival: Mapping[str, Any] | None = None  # the record that the first configuration must beat on its first fold
    heads: Heads = field(default_factory=lambda: NO_HEADS)  # the records of the heads that the stage chooses from
    asked: dict[str, Trial] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)  # the last step reported
    errors: list[str] = field(default_factory=list)
    inquiries: dict[int, Inquiry] = field(default_factory=dict)  # by number of the trial
    waiting: deque[Job] = field(default_factory=deque)  # to be sent again
    expected_seconds: float = 0.0  # of this stage
    later_seconds: float = 0.0  # of what comes after it
    is_over: bool = False  # the gate is shut, or the next trial would take too long
    is_shut: bool = False  # the gate is
    repeats: int = 0  # of known configurations, one after the other

    def run(self) -> list[dict[str, Any]]:
        """Run the stage to its end and return what became of its trials."""
        first = portfolio(self.stage, self.context.cheapest_first(self.backbones))
        self.repeats = trailing_repeats(self.study)
        self.is_over = self.is_over or self.repeats >= MOST_REPEATS
        if not self.study.trials:
            for params in first:
                self.study.enqueue_trial(with_defaults(params, self.stage, self.heads))
        names = ", ".join(self.backbones)
        plural = "" if self.trials == 1 else "s"
        self.context.tell("phase", phase=self.stage.name, detail=f"{self.trials} trial{plural} over {names}")
        self.context.tell("eta", seconds=self.expected_seconds + self.later_seconds)
        dispatcher = self.context.dispatcher
        if dispatcher.running:  # the head start: it runs already, as the first entry of the portfolio
            self._ask()
            self.waiting.clear()
        while True:
            for slot in dispatcher.free_slots():
                while not self.waiting and self._may_ask(len(first)):
                    self._ask()
                if self.waiting:
                    dispatcher.submit(self.waiting.popleft(), slot)
            if not dispatcher.running:
                return self._end(len(first))
            for outcome in dispatcher.outcomes(self._on_report):
                self._tell(outcome)

    def _end(self, first: int) -> list[dict[str, Any]]:
        """The results; a gate that there was no trial left to ask for is asked now, for the stages behind it."""
        done = [result_of(trial) for trial in finished(self.study)]
        if self.gate is not None and not self.context.finishes:
            self.is_shut = not self.gate(done[:first])
            self.gate = None
        return done

    def is_unfinished(self) -> bool:
        """Whether only time kept it from more trials."""
        ended = self.is_shut or self.repeats >= MOST_REPEATS
        return not ended and len(finished(self.study)) < self.trials

    def go_on(self) -> list[dict[str, Any]]:
        """Run it once more, until a later deadline. A gate that it has passed is not asked again."""
        self.is_over = False
        return self.run()

    def _may_ask(self, first: int) -> bool:
        """Whether there is room for another trial; the gate is asked once the first ones have finished."""
        done = [result_of(trial) for trial in finished(self.study)]
        if self.is_over or len(done) + len(self.asked) >= self.trials:
            return False
        if self.gate is not None and len(done) + len(self.asked) >= first:
            if self.asked:
                return False
            self.is_over = self.is_shut = not self.gate(done[:first])
            self.gate = None
        # the first trial is begun however late it is: it ends after a few steps, and without it there is no answer
        return not self.is_over and (self.context.number == 0 or not self._is_late())

    def _is_late(self) -> bool:
        deadline = self.deadline(self.best())
        return deadline is not None and self.context.elapsed() > deadline

    def _ask(self) -> None:
        """Take the sampler's next configuration into the queue, if it can be paid for."""
        context = self.context
        trial = self.study.ask()
        values = suggest(self.stage, trial, self.backbones, self.heads)
        backbone = str(values.get("backbone", self.backbones[0]))
        config = concrete_config(self.stage, values, context.backbones, self.inherited.get(backbone, {}))
        config = known_values(self.study, trial, config)
        if (known := self._tried(config)) is not None:
            repeat(self.study, trial, known)
            self.repeats += 1
            self.is_over = self.repeats >= MOST_REPEATS
            return
        stop_at = self._stop_at(config)
        if self.is_over:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)  # it never ran, and leaves no record
            return
        self.repeats = 0
        number = context.next_number()
        trial.set_user_attr("number", number)
        limits: dict[str, Any] = {} if stop_at is None else {"stop_at": stop_at}
        job = context.trial_job(self.stage, number, config, **limits)
        self.asked[job.id], self.configs[job.id] = trial, config
        self.waiting.append(job)

    def _tried(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """What became of the same configuration earlier in this stage: a sampler of few choices repeats itself."""
        if config in self.configs.values():
            return {"state": "running"}
        done = (result_of(trial) for trial in finished(self.study))
        return next((each for each in done if each["state"] != "failed" and each.get("asked") == config), None)

    def _stop_at(self, config: Mapping[str, Any]) -> float | None:
        """When a trial must end, by the clock. One that would take longer ends the stage, if there is an answer."""
        deadline, context = self.deadline(self.best()), self.context
        if deadline is None:
            return None
        seconds = context.forecast.trial_seconds(
            config,
            context.evaluation(self.stage),
            self.stage.folds,
            self.stage.repeats,
            context.passed_images(self.stage),
        )
        if self.stage.prune and self.best() is not None:
            seconds *= PRUNED_SHARE  # most end early, and none goes on for long after the deadline
        has_answer = bool(self.inherited) or self.best() is not None
        self.is_over = has_answer and context.elapsed() + seconds > deadline
        return context.clock_time(deadline)

    def _on_report(self, job: Job, step: int, value: float) -> bool:
        trial = self.asked[job.id]
        if step > self.steps.get(job.id, 0):  # an attempt that was made again passes its old steps once more
            self.steps[job.id] = step
            trial.report(value, step)
        self.context.tell("epoch", number=trial.user_attrs["number"], step=step, value=value)
        return self._is_late() or self._is_beaten(job, step, value) or (self.stage.prune and trial.should_prune())

    def _is_beaten(self, job: Job, step: int, value: float) -> bool:
        if self.gate is None or self.rival is None:
            return False
        sign = 1 if self.study.direction == optuna.study.StudyDirection.MINIMIZE else -1
        return falls_behind(self.rival, self.configs[job.id], step, value, sign)

    def _tell(self, outcome: Outcome) -> None:
        if outcome.result is not None and "needs" in outcome.result:
            failure = self._answer(outcome.job, outcome.result)
            if failure is None:
                self.context.costs.add_job(outcome.result["ledger"], outcome.seconds)
                return
            outcome = replace(outcome, result=None, failure=failure)
        trial, config = self.asked.pop(outcome.job.id), self.configs.pop(outcome.job.id)
        record: dict[str, Any] = {
            "number": trial.user_attrs["number"],
            "stage": self.stage.name,
            "evaluation": self.context.evaluation(self.stage),
            "images": self.context.images(self.stage),
            "config": config,
            "asked": config,  # before the trial settled what it was left to settle
            "seconds": round(outcome.seconds, 3),
            "folder": outcome.job.payload["folder"],
            "score": None,
            "error": None,
        }
        if outcome.result is not None:
            if outcome.result.get("options", config.get("options", {})) != config.get("options", {}):
                record["config"] = {**config, "options": outcome.result["options"]}  # those that were of use
            record["config"] = {**record["config"], **outcome.result.get("settled", {})}
            record |= _completed(outcome.result)
            self.context.costs.add_job(outcome.result["ledger"], outcome.seconds, self.stage.name)
            self.context.forecast.pay(config, self.context.passed_images(self.stage))
            self.errors.clear()
        else:
            assert outcome.failure is not None
            record |= {
                "state": "failed",
                "error": {"kind": outcome.failure.kind, "message": outcome.failure.message},
            }
            self.context.costs.add({"failed": outcome.seconds})
            self.context.costs.busy_seconds += outcome.seconds
        conclude(self.study, trial, record)
        self._announce(record)
        self._stop_on_repeated_errors(record)

    def _answer(self, job: Job, asked: Mapping[str, Any]) -> Failed | None:
        """Send a job again with values for the hyperparameters that its worker met; or say why that is hopeless."""
        trial, number = self.asked[job.id], self.asked[job.id].user_attrs["number"]
        inquiry = self.inquiries.setdefault(number, Inquiry())
        try:
            config = answer(self.study, trial, self.configs[job.id], asked["of"], asked["needs"], inquiry)
        except PluginError as error:
            return Failed(job.id, job.attempt, error.kind, str(error), "")
        again = replace(self.context.trial_job(self.stage, number, config), id=f"trial-{number}-round-{inquiry.rounds}")
        del self.asked[job.id], self.configs[job.id]
        self.asked[again.id], self.configs[again.id] = trial, config
        self.waiting.append(again)
        return None

    def _announce(self, record: dict[str, Any]) -> None:
        self.context.log("trial", **{name: value for name, value in record.items() if name not in ("folder", "asked")})
        best = self.best()
        scores = record.get("scores")
        self.context.tell(
            "trial",
            **{name: record[name] for name in ("number", "stage", "state", "score", "seconds", "config")},
            accuracy=None if scores is None else scores["accuracy"],
            error=None if record["error"] is None else record["error"]["message"],
            best=best is not None and best["number"] == record["number"],
        )
        done = [result_of(trial)["seconds"] for trial in finished(self.study)]
        left = max(0, self.trials - len(done))
        slots = max(1, len(self.context.dispatcher.executor.slots()))
        self.context.tell("eta", seconds=left * sum(done) / len(done) / slots + self.later_seconds)

    def best(self) -> dict[str, Any] | None:
        return best_of([result_of(trial) for trial in finished(self.study)], self.study.direction)

    def _stop_on_repeated_errors(self, record: Mapping[str, Any]) -> None:
        if record["error"] is None or record["error"]["kind"] in ("infra", "cancelled"):
            return
        self.errors.append(record["error"]["message"])
        last = self.errors[-REPEATED_ERRORS:]
        if len(last) == REPEATED_ERRORS and len(set(last)) == 1:
            self.context.dispatcher.stop_all()
            raise AutotlError(
                f"The same error ended {REPEATED_ERRORS} trials in a row: {last[0]} "
                f"The log of the last one: {record['folder']}/log.txt"
            )


def _completed(result: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("score", "scores", "temperature", "curve", "cut", "trained_parameters", "multiply_adds", "ledger")
    state = "pruned" if result["stopped"] else "complete"
    return {"state": state, **{name: result[name] for name in kept if name in result}}


def best_of(results: Sequence[dict[str, Any]], direction: optuna.study.StudyDirection) -> dict[str, Any] | None:
    """The completed trial with the best score, the earliest of equals."""
    complete = [result for result in results if result["state"] == "complete"]
    if not complete:
        return None
    sign = 1 if direction == optuna.study.StudyDirection.MINIMIZE else -1
    return min(complete, key=lambda result: (sign * result["score"], result["number"]))
