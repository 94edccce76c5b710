"""What a search-space file says: stages, and what each of them varies."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from autotl.space.parameters import OneValue, Parameter, ParameterName, not_empty


class Stage(BaseModel):
    """One study: its trials share a recipe and a way to be scored.

    Attributes:
        name: unique in the space; names the study.
        recipe: "probe", "finetune", "scratch", or "any" when `recipe` is itself a parameter.
        trials: how many are asked for, unless the request says otherwise.
        evaluation: "cross_validation" over training and validation rows, "holdout" on the validation split, or "auto":
            folds where images are few, a hold-out where they are many.
        folds: of the cross-validation.
        repeats: how often the cross-validation is repeated with other folds; its scores are averaged.
        sampler: "tpe" learns from the trials before, "random" does not.
        images: at most so many images, drawn in the classes' proportions, are seen by the trials; None is all. What was
            scored on fewer images than others is not compared with these.
        gate: the first configurations run alone; the stage ends with them unless they beat what is known already with
            at least this probability, and so do the stages with a gate right behind it. `true` is 0.025: the stage ends
            only where it surely cannot pay.
        keep_backbones: from the stage before, only the best so many backbones compete; None keeps all.
        epochs: of each trial, where it is not a parameter; None leaves it to the recipe.
        prune: whether trials that fall behind are stopped early, by successive halving.
        parameters: what varies; `HEAD.option` is an option of a head, which is searched in the head's own range unless
            the file writes another.
        first: configurations tried before any is sampled; what one leaves open is sampled.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=40)]
    recipe: Literal["probe", "finetune", "scratch", "any"]
    trials: Annotated[int, Field(strict=True, ge=1)]
    evaluation: Literal["cross_validation", "holdout", "auto"] = "holdout"
    folds: Annotated[int, Field(strict=True, ge=2, le=20)] = 5
    repeats: Annotated[int, Field(strict=True, ge=1, le=20)] = 1
    sampler: Literal["tpe", "random"] = "tpe"
    images: Annotated[int, Field(strict=True, ge=10)] | None = None
    gate: bool | Annotated[float, Field(gt=0.0, lt=1.0)] = False
    keep_backbones: Annotated[int, Field(strict=True, ge=1)] | None = None
    epochs: Annotated[int, Field(strict=True, ge=1)] | None = None
    prune: bool = False
    parameters: dict[ParameterName, Parameter] = Field(default_factory=dict)
    first: tuple[dict[str, OneValue], ...] = ()


class SearchSpace(BaseModel):
    """A whole file. Stages run in the order in which they are written."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    description: str = ""
    stages: Annotated[tuple[Stage, ...], Field(alias="stage"), AfterValidator(not_empty)]
