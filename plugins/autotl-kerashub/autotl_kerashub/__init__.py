"""KerasHub's pretrained image networks as autotl backbones; importing this imports nothing heavy.

Every preset is an attribute of this module, as entry points need it: `autotl_kerashub.resnet_50_imagenet`.
"""

from autotl.backbones.contract import Backbone
from autotl_kerashub.records import record
from autotl_kerashub.sources import open_preset
from autotl_kerashub.table import presets

__all__ = ["open_preset", "presets", "record"]


def __getattr__(attribute: str) -> Backbone:
    if attribute not in presets():
        raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
    return record(attribute)
