"""The soup of the confirmed fine-tunes, kept only where the held-out images say that it is better."""

from collections.abc import Sequence
from dataclasses import replace

from autotl.search.bootstrap import chance_of_less
from autotl.search.context import Context
from autotl.search.finalists import Finalist, as_finalists
from autotl.space.schema import Stage

ARCHITECTURE = (
    "backbone", "weights", "image_size", "resize", "freeze_depth", "pooling", "taps", "head", "width", "depth",
    "dropout", "options", "penalty",
)  # fmt: skip
SURE = 0.95


def with_soup(context: Context, finalists: Sequence[Finalist], chosen: Finalist, stage: Stage) -> Finalist:
    """The chosen fine-tune, or the average of it and of others of its architecture where that is surely better.

    Args:
        finalists: all that were confirmed, each with the folder of its confirming fit.
        chosen: one of them.
        stage: says how they were evaluated.
    """
    alike = [chosen, *(each for each in finalists if each is not chosen and _shape(each) == _shape(chosen))]
    if chosen.config["recipe"] != "finetune" or len(alike) < 2 or any(each.folder is None for each in alike):
        return chosen
    job = context.trial_job(
        stage,
        context.next_number(),
        chosen.config,
        fold_seed=context.seed_for("confirm folds"),
        members=[each.folder for each in alike],
        kind="soup",
        images=None,
    )
    outcome = context.run_jobs([job])[0]
    if outcome.result is None:
        context.log("soup_failed", message=getattr(outcome.failure, "message", ""))
        return chosen
    context.costs.add_job(outcome.result["ledger"], outcome.seconds, "soup")
    members = [alike[position] for position in outcome.result["members"]]
    record = {**outcome.result, "number": chosen.number, "config": chosen.config, "state": "complete"}
    record |= {"folder": outcome.job.payload["folder"], "multiply_adds": chosen.multiply_adds}
    (soup,) = as_finalists([record], context.request.metric)
    (single,) = as_finalists([{**record, "folder": chosen.folder}], context.request.metric)
    chance = chance_of_less(soup.losses - single.losses, context.seed_for("soup"))
    context.log("soup", chance=chance, members=[each.number for each in members], scores=soup.scores)
    if len(members) < 2 or chance < SURE:
        return chosen
    context.tell("note", message=f"the average of the weights of {len(members)} finalists is better, and is delivered")
    return replace(soup, soup=tuple(each.config for each in members))


def _shape(finalist: Finalist) -> list[object]:
    return [finalist.config.get(name) for name in ARCHITECTURE]
