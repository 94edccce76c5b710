"""Which backbones a space can train at all: a whole hypermodel has nothing to freeze and nothing to probe."""

from collections.abc import Mapping

from autotl.backbones.contract import Backbone
from autotl.backbones.hypermodel import WholeModel
from autotl.errors import UsageError
from autotl.search.plan import allowed_backbones
from autotl.space.schema import SearchSpace


def check_recipes(space: SearchSpace, backbones: Mapping[str, Backbone]) -> None:
    """Insist that whole models meet no stage but those that train from scratch.

    Raises:
        UsageError: a stage would probe or fine-tune a KerasTuner hypermodel.
    """
    whole = [name for name, record in backbones.items() if isinstance(record.build, WholeModel)]
    for stage in space.stages:
        if stage.recipe != "scratch" and (
            named := [name for name in allowed_backbones(stage, backbones) if name in whole]
        ):
            raise UsageError(
                f'A KerasTuner hypermodel can only be trained from scratch; the stage {stage.name} ("{stage.recipe}") '
                f"would take {', '.join(named)}. Give --space scratch, or leave it out."
            )
