"""The conformance kit for plugin authors: one call in a test says whether a plugin keeps its contract.

```
from autotl.testing import check_backbone, check_head


def test_my_network_keeps_the_contract():
    check_backbone(MY_NETWORK)


def test_my_head_keeps_the_contract():
    check_head(MY_HEAD)
```

`autotl plugins check NAME` does the same to what is installed, and shows what was measured.
"""

from autotl.conformance.backbone import Conformance, check_backbone
from autotl.conformance.head import HeadConformance, check_head
from autotl.conformance.rules import BrokenRule

__all__ = ["BrokenRule", "Conformance", "HeadConformance", "check_backbone", "check_head"]
