"""What a layout consists of: labelled files, and the names that splits go by."""

from dataclasses import dataclass

SPLIT_SPELLINGS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One labelled file, not yet opened. `split` is "train", "val" or "test" where the user gave one."""

    path: str
    label: str
    split: str | None = None
    group: str | None = None
