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
from autotl.search.budget import latest_end, trial_seconds
from autotl.search.context import Context
from autotl.search.dispatch import Outcome
from autotl.search.forecast import PRUNED_SHARE
from autotl.search.gate import falls_behind
from autotl.search.hyperparameters import answer, is_undeclared, known_values
from autotl.search.plan import concrete_config, portfolio
from autotl.search.records import Asked, Records, account, log_record, make_record, repeated_error, tell_record
from autotl.search.shortening import shortened
from autotl.search.study import conclude, enqueue, finished, repeat, result_of, take_over, trailing_repeats
from autotl.space.options import NO_HEADS, Heads, with_defaults
from autotl.space.schema import Stage
from autotl.space.suggest import suggest

MOST_PARKED = 2  # jobs that wait for a slot: the sampler did not know how the others would end
MOST_REPEATS = 20  # of known configurations in a row: the sampler has no other left that it would choose
SHUT, EXHAUSTED, LATE = "gate", "repeats", "time"  # why a stage asks for no more
Deadline = Callable[[Mapping[str, Any] | None], float | None]
Gate = Callable[[Sequence[Mapping[str, Any]]], bool]


def never(best: Mapping[str, Any] | None) -> None:
    """The `Deadline` of a search without a budget."""


@dataclass
class StageRun:
    """A stage on its way; what an earlier driver has left of it is gone on with."""

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
    expected_seconds: float = 0.0  # of this stage
    later_seconds: float = 0.0  # of what comes after it
    shortens: bool = False  # its first fine-tune to the time that there is: no stage behind it waits for any
    left: deque[tuple[Trial, int]] = field(
        default_factory=deque
    )  # by a driver that died, or by time; with the last step
    asked: dict[str, Asked] = field(default_factory=dict)  # by the id of the job
    waiting: deque[Job] = field(default_factory=deque)  # to be sent
    ended: str | None = None
    records: Records = field(init=False)  # from `run` on

    def run(self) -> list[dict[str, Any]]:
        """Run the stage to its end and return what became of its trials."""
        self._take_over()
        enqueue(self.study, [with_defaults(values, self.stage, self.heads) for values in self._first()])
        return self._work()

    def go_on(self) -> list[dict[str, Any]]:
        """Run it once more, until a later deadline. A gate that it has passed is not asked again."""
        self.ended = None
        return self._work()

    def is_unfinished(self) -> bool:
        """Whether only time kept it from more trials."""
        return self.ended not in (SHUT, EXHAUSTED) and len(self.records) < self.trials

    def results(self) -> list[dict[str, Any]]:
        """The records of the trials that have ended, in the order in which the study asked for them."""
        return self.records.all()

    def _work(self) -> list[dict[str, Any]]:
        names, plural = ", ".join(self.backbones), "" if self.trials == 1 else "s"
        self.context.begin(self.stage.name, f"{self.trials} trial{plural} over {names}", trials=self.trials)
        self.context.expect(self.expected_seconds + self.later_seconds)
        if trailing_repeats(self.study) >= MOST_REPEATS:
            self.ended = EXHAUSTED
        dispatcher = self.context.dispatcher
        if dispatcher.running:  # the head start: it runs already, as the first entry of the portfolio
            self._ask()
        while True:
            free = dispatcher.free_slots()
            while free and (job := self._next_job()) is not None:
                slot = dispatcher.best_slot(job, free)
                free.remove(slot)
                dispatcher.submit(job, slot)
            if free and not dispatcher.running:
                return self._end()
            for outcome in dispatcher.outcomes(self._on_report):
                self._tell(outcome)

    def _end(self) -> list[dict[str, Any]]:
        """The results; a gate that there was no trial left to ask for is asked now, for the stages behind it."""
        if self.gate is not None and len(self.records) and not self.context.finishes:
            self._pass_gate()
        done, why = self.results(), self.ended or ("finish" if self.context.finishes else "trials")
        self.context.log("stage_end", stage=self.stage.name, trials=len(done), why=why)
        return done

    def _take_over(self) -> None:
        """Take up the trials that were on their way, and add up what the others cost an earlier driver."""
        self.left.extend(take_over(self.study))
        self.records = Records(self.study.direction)
        for trial in finished(self.study):
            record = result_of(trial)
            self.records.add(trial.number, record)
            account(self.context, self.stage, record)
            if record["number"] not in self.context.past.logged:  # the driver died just before
                log_record(self.context, record)

    def _first(self) -> list[dict[str, Any]]:
        return portfolio(self.stage, self.context.cheapest_first(self.backbones))

    def _next_job(self) -> Job | None:
        """A job that need not wait for what another one is just making; where there is none, one that must."""
        is_made = self.context.dispatcher.is_produced_elsewhere
        while (job := next((each for each in self.waiting if not is_made(each)), None)) is None:
            if len(self.waiting) == MOST_PARKED or not self._may_ask() or not self._ask():
                break
        if job is None and self.waiting:
            job = self.waiting[0]
        if job is not None:
            self.waiting.remove(job)
        return job

    def _may_ask(self) -> bool:
        """Whether there is room for another trial; the gate is asked once the first ones have finished."""
        begun = len(self.records) + len(self.asked)
        if self.ended is not None or self.context.finishes or begun >= self.trials:
            return False
        is_asked = self.gate is not None and begun >= len(self._first())
        if is_asked and (self.asked or not self._pass_gate()):
            return False
        # the first trial is begun however late it is: it ends after a few steps, and without it there is no answer
        is_first = self.context.number == sum("number" in trial.user_attrs for trial, _ in self.left)
        return is_first or not self._is_late()

    def _pass_gate(self) -> bool:
        assert self.gate is not None
        passes = self.gate(self.results()[: len(self._first())])
        self.gate, self.ended = None, self.ended if passes else SHUT
        return passes

    def _is_late(self) -> bool:
        return (deadline := self.deadline(self.records.best)) is not None and self.context.elapsed() > deadline

    def _ask(self) -> bool:
        """Take the next configuration into the queue, if it can be paid for; False where it has to wait for another."""
        context = self.context
        trial, step = self.left.popleft() if self.left else (self.study.ask(), 0)
        values = suggest(self.stage, trial, self.backbones, self.heads)
        backbone = str(values.get("backbone", self.backbones[0]))
        config = concrete_config(self.stage, values, context.backbones, self.inherited.get(backbone, {}))
        config = self._in_time(trial, known_values(self.study, trial, config))
        if (known := self._tried(config)) is not None:
            if known["state"] == "running" and is_undeclared(self.study, config):
                self.left.appendleft((trial, step))  # they will differ in what the other one's worker is yet to ask for
                return False
            repeat(self.study, trial, known)
            why = "over_budget" if "excess" in known else "repeated"
            context.log(why, stage=self.stage.name, number=known["number"])
            self.ended = EXHAUSTED if trailing_repeats(self.study) >= MOST_REPEATS else None
            return True
        number = trial.user_attrs.get("number")
        stop_at = self._stop_at(config, has_begun=number is not None)
        if self.ended is not None:
            self.left.appendleft((trial, step))  # the first one if there is more time later
            context.log("left_out", stage=self.stage.name, why=self.ended)
            return True
        if number is None:
            number = context.next_number()
            trial.set_user_attr("number", number)
        limits: dict[str, Any] = {} if stop_at is None else {"stop_at": stop_at}
        job = context.trial_job(self.stage, number, config, **limits)
        self.asked[job.id] = Asked(trial, number, config, step)
        outcome = context.past.outcome(job, or_stopped=self.stage.prune and trial.should_prune())
        if outcome is not None:
            context.log("reused", job=job.id, number=number, folder=outcome.job.payload["folder"])
            self._tell(outcome)
        elif job.id not in context.dispatcher.running:
            self.waiting.append(context.prepare(job))
        return True

    def _tried(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """What became of the same configuration earlier in this stage, or will, since it is over the model budget."""
        if excess := self.context.model_budget.excess(config):
            return {"state": "pruned", "number": None, "excess": excess}
        for asked in self.asked.values():
            if asked.config == config:
                return {"state": "running", "number": asked.number}
        return self.records.of(config)

    def _stop_at(self, config: Mapping[str, Any], *, has_begun: bool) -> float | None:
        """When a trial must end, by the clock. Too late for it, or its own last fit, a stage with an answer ends."""
        deadline, context = self.deadline(self.records.best), self.context
        if deadline is None:
            return None
        seconds = trial_seconds(context, self.stage, config)
        if self.stage.prune and self.records.best is not None:
            seconds *= PRUNED_SHARE  # most end early, and none goes on for long after the deadline
        has_answer = bool(self.inherited) or self.records.best is not None
        if has_answer and not has_begun and context.elapsed() + seconds > latest_end(context, config, deadline):
            self.ended = LATE
        return context.clock_time(deadline)

    def _in_time(self, trial: Trial, config: dict[str, Any]) -> dict[str, Any]:
        """The first fine-tune is a short one where a budget has no time for all of it, and no other stage wants it."""
        changes, deadline = trial.user_attrs.get("shortened"), self.deadline(self.records.best)
        is_first = bool(self.inherited) and not (len(self.records) or self.asked or self.rival)
        if changes is None and is_first and self.shortens and deadline is not None and config["recipe"] == "finetune":
            changes = shortened(self.context, self.stage, config, deadline)
            trial.set_user_attr("shortened", changes)  # a later driver goes on with them
        return {**config, **(changes or {})}

    def _on_report(self, job: Job, step: int, value: float) -> bool:
        asked = self.asked[job.id]
        if step > asked.step:  # an attempt that was made again passes its old steps once more
            asked.step = step
            asked.trial.report(value, step)
        self.context.journal.note_report(job, step, value)
        self.context.tell("epoch", number=asked.number, step=step, value=value)
        why = self._verdict(asked, step, value)
        if why is not None:
            self.context.log("pruned", job=job.id, number=asked.number, step=step, why=why)
        return why is not None

    def _verdict(self, asked: Asked, step: int, value: float) -> str | None:
        """Why a trial is to end after a step, if it is. The study judges the last step that it knows of."""
        if self.context.finishes:
            return "finish"
        if self._is_late():
            return LATE
        if self._is_beaten(asked, step, value):
            return "beaten"
        is_judged = self.stage.prune and step == asked.step
        return "behind" if is_judged and asked.trial.should_prune() else None

    def _is_beaten(self, asked: Asked, step: int, value: float) -> bool:
        if self.gate is None or self.rival is None:
            return False
        sign = 1 if self.study.direction == optuna.study.StudyDirection.MINIMIZE else -1
        return falls_behind(self.rival, asked.config, step, value, sign)

    def _tell(self, outcome: Outcome) -> None:
        asked = self.asked.pop(outcome.job.id)
        if outcome.result is not None and "needs" in outcome.result:
            failure = self._answer(asked, outcome.job, outcome.result)
            if failure is None:
                self.context.costs.add_job(outcome.result["ledger"], outcome.seconds)
                return
            outcome = replace(outcome, result=None, failure=failure)
        record = make_record(self.context, self.stage, asked, outcome)
        account(self.context, self.stage, record)
        conclude(self.study, asked.trial, record)
        self.records.add(asked.trial.number, record)
        self.context.run.remove_checkpoints(asked.number)  # a trial that was told to stop leaves one
        log_record(self.context, record)
        tell_record(self.context, record, is_best=self.records.best is record)
        self._expect_rest()
        if record["error"] is not None:
            self._stop_on_repeated_errors(record)

    def _answer(self, asked: Asked, job: Job, result: Mapping[str, Any]) -> Failed | None:
        """Send a job again with values for the hyperparameters that its worker met; or say why that is hopeless."""
        try:
            config = answer(self.study, asked.trial, asked.config, result["of"], result["needs"], asked.inquiry)
        except PluginError as error:
            return Failed(job.id, job.attempt, error.kind, str(error), "")
        asked.config = config
        name = f"trial-{asked.number}-round-{asked.inquiry.rounds}"
        again = replace(job, id=name, payload={**job.payload, "config": config})
        self.asked[again.id] = asked
        self.waiting.append(self.context.prepare(again))
        return None

    def _expect_rest(self) -> None:
        done = [record["seconds"] for record in self.results()]
        left, slots = max(0, self.trials - len(done)), max(1, len(self.context.dispatcher.executor.slots()))
        self.context.expect(left * sum(done) / len(done) / slots + self.later_seconds)

    def _stop_on_repeated_errors(self, record: Mapping[str, Any]) -> None:
        message = repeated_error(self.results())
        if message is not None:
            self.context.dispatcher.stop_all()
            raise AutotlError(f"{message} The log of the last one: {record['folder']}/log.txt")
