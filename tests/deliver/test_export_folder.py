import json

import pytest

from autotl.deliver.export_folder import metadata_of

HOSTILE = ["a\nb", "\ud800", "\x00\x1b[31m", "\x85\u2028", "<x> & ]]>", "`|---", "é"]


@pytest.fixture
def metadata(describe):
    scores = {"confusion": [[1, 2], [3, 4]], "per_class": [{"name": "x"}], "confusions": [{"true": "x"}]}
    described = describe(HOSTILE, licences=[{"of": word, "licence": word} for word in HOSTILE], image_size=32)
    described["test"] |= scores
    described["data"]["name"] = "/home/me/photos"
    return metadata_of({**described, "command": "autotl search /home/me/photos"})


def test_what_is_embedded_is_plain_text(metadata):
    assert set(metadata) == {"autotl.json", "labels.txt"}
    for text in metadata.values():
        text.encode("utf-8")
        assert all(character.isprintable() or character in "\n\u2028" for character in text)
    embedded = json.loads(metadata["autotl.json"])
    assert len(embedded["class_names"]) == len(metadata["labels.txt"].splitlines()) == len(HOSTILE)
    assert embedded["class_names"][-1] == "é"


def test_what_is_embedded_has_single_scores_and_no_tables_and_says_nothing_of_the_machine(metadata):
    embedded = json.loads(metadata["autotl.json"])
    assert embedded["test"] == {"n": 9, "accuracy": 0.8} and embedded["image_size"] == 32
    assert "/home/me" not in metadata["autotl.json"] and "command" not in embedded
