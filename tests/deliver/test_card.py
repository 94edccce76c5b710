import json
import re

import pytest
from markdown_it import MarkdownIt

from autotl.deliver.card import escape_markdown, render_card
from autotl.deliver.description import complete_description

HOSTILE = [
    "a | b",
    "<script>alert(1)</script>",
    "two\nlines",
    "**bold** [x](http://y)",
    "# head",
    "back\\slash|",
    "`code`",
    "```",
    "---",
    "~~~\n<img src=x>",
    "![x](http://y) <http://y>",
    "- a\r\n1. b\u2028> c\x85&lt;",
]


@pytest.fixture
def card_of(tmp_path, describe):
    def render(names=("cat", "dog"), **more):
        (tmp_path / "m.keras").write_bytes(b"")
        rows = [{"name": name, "support": 5, "precision": 0.5, "recall": 0.2, "f1": 0.3} for name in names]
        confusions = [{"true": names[0], "predicted": names[1], "count": 3, "share": 0.6}]
        test = {
            "n": 40, "accuracy": 0.725, "accuracy_ci95": [0.6, 0.85], "balanced_accuracy": 0.7, "macro_f1": 0.69,
            "log_loss": 0.9, "per_class": rows, "confusions": confusions,
        }  # fmt: skip
        return render_card(complete_description(tmp_path / "m.keras", describe(names, **{"test": test, **more})))

    return render


def front_matter(card):
    return re.match(r"---\n(.*?)\n---\n", card, re.DOTALL).group(1)


def tables(card):
    """Rows of each table as the number of their cells."""
    blocks = re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE)
    return [[len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()] for block in blocks]


def test_the_card_says_what_the_model_is_how_good_and_what_to_respect(card_of):
    card = card_of(command="autotl search colours --seed 0")
    for words in (
        "**72.5 %** (60.0 % to 85.0 %)",
         "autotl search colours --seed 0", "Apache-2.0", "The test set is small (40 images)",
        "Recognised less than half of the time: cat (20.0 %), dog (20.0 %).", "| cat | dog | 3 | 60.0 % |",
    ):  # fmt: skip
        assert words in card


def test_the_card_of_an_ensemble_names_all_its_networks(card_of):
    card = card_of(members=[{"backbone": "one-net"}, {"backbone": "two_net"}])
    assert "pretrained networks one-net, two\\_net by" in card and "The answers of 2 networks" in card
    assert json.loads(re.search(r"- name: (.*)", front_matter(card)).group(1)).endswith(" · one-net + two_net")
    assert "The answers of" not in card_of()


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("stretch", "antialiased), and"),
        ("pad", "antialiased: in its proportions"),
        ("trim", "antialiased: without margins"),
    ],
)
def test_the_card_says_how_images_become_square(card_of, mode, words):
    assert words in card_of(configuration={"resize": mode})


def test_the_front_matter_is_what_the_hugging_face_hub_reads(card_of):
    text = front_matter(card_of())
    for line in (
        "license: apache-2.0",
        "library_name: keras",
        "pipeline_tag: image-classification",
        "      value: 0.725",
    ):
        assert line in text.splitlines()
    assert "license_name" not in text


def test_a_licence_that_the_hub_does_not_know_is_given_by_name(card_of):
    weights = {"source": "x", "sha256": None, "licence": "My own: licence", "dataset": "x"}
    text = front_matter(card_of(backbone={"name": "b", "weights": weights}))
    assert 'license: other\nlicense_name: "My own: licence"' in text


def test_the_ancestors_of_an_adapted_network_are_named_with_their_licences(card_of):
    birds = {
        "name": "birds-2026", "backbone": "efficientnet-lite0", "sha256": "cd" * 32, "data_fingerprint": "ef" * 8,
        "licences": [{"of": "weights of efficientnet-lite0", "licence": "Apache-2.0"}],
    }  # fmt: skip
    mine = {"name": "mine", "backbone": None, "sha256": "12" * 32, "data_fingerprint": None, "licences": []}
    card = card_of(ancestors=[birds, mine])
    assert "the nearest first" in card
    assert f"| birds-2026 | efficientnet-lite0 | {'cd' * 32} | {'ef' * 8} | weights of efficientnet-lite0: " in card
    assert card.index("| birds-2026 |") < card.index("| mine | unknown |")
    assert "nearest first" not in card_of()


def test_a_restriction_and_the_plugins_to_install_are_on_the_card(card_of):
    weights = {"source": "x", "sha256": None, "licence": "X", "dataset": "x", "restriction": "No commercial use."}
    plugins = [{"distribution": "my-nets", "version": "1.2"}]
    card = card_of(backbone={"name": "b", "weights": weights}, plugins=plugins)
    assert "**Restricted:** No commercial use." in card
    assert "To load it, install my-nets 1.2" in card


def test_the_command_on_the_card_says_nothing_of_the_machine(card_of):
    card = card_of(
        command="autotl search /home/me/photos --space quick --backbone '/home/me/a b.keras?normalisation=unit' "
        "--backbone /data/runs/birds/model --backbone kerashub:/opt/presets/vit --seed 0"
    )
    assert (
        "autotl search photos --space quick --backbone 'a b.keras?normalisation=unit' --backbone birds/model "
        "--backbone kerashub:vit --seed 0"
    ) in card
    assert "/home/me" not in card and "/data" not in card and "/opt" not in card
    assert "it's" in card_of(command="it's")


def test_class_names_can_neither_break_a_table_nor_bring_in_markup(card_of):
    plain, hostile = card_of(["x"] * len(HOSTILE)), card_of(HOSTILE)
    assert tables(hostile) == tables(plain)
    assert all(len(set(rows)) == 1 for rows in tables(hostile))
    assert len(hostile.splitlines()) == len(plain.splitlines())
    assert "<script>" not in hostile


def with_everywhere(word):
    """What a description may say, with a word in the place of each text that the card prints."""
    weights = dict.fromkeys(("source", "sha256", "licence", "dataset", "restriction"), word)
    ancestor = dict.fromkeys(("name", "backbone", "sha256", "data_fingerprint"), word)
    validation = {"n": 9, "accuracy": 0.9, "reference_accuracy": 0.9}
    limits = {"max_difference": 0.1, "same_label": 1.0, "accuracy_drop": 0.0}
    parity = {"max_difference": 0.0, "mean_difference": 0.0, "same_label": 1.0, "limits": limits, "n": 9}
    return {
        "backbone": {"name": word, "weights": weights},
        "data": {"name": word, "fingerprint": word, "split_fingerprint": word},
        "configuration": {word: word},
        "versions": {"autotl": word, f"{word} ": word},
        "ancestors": [{**ancestor, "licences": [{"of": word, "licence": word}]}],
        "plugins": [{"distribution": word, "version": word}],
        "created": word, "command": word, "precision": word, "exported_from": word, "runtime_packages": [word],
        "parity": {**parity, "validation": validation},
    }  # fmt: skip


def shape(card):
    """All that a reader of Markdown would see but the texts themselves."""
    _, front, body = card.split("---\n", 2)
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    return [len(front.splitlines()), *((token.type, [one.type for one in token.children or ()]) for token in tokens)]


@pytest.mark.parametrize("has_format", [False, True])
@pytest.mark.parametrize("word", HOSTILE)
def test_no_text_of_a_description_changes_the_shape_of_the_card(card_of, word, has_format):
    cards = [
        card_of(
            [f"{text} {number}" for number in range(3)], format=text if has_format else None, **with_everywhere(text)
        )
        for text in ("word", word)
    ]
    assert shape(cards[0]) == shape(cards[1])
    assert ("Without the script" in cards[0]) == has_format != ("To load it" in cards[0])


def test_the_name_of_the_data_cannot_break_the_front_matter(card_of):
    name = 'x"\n---\nlicense: mit'
    text = front_matter(card_of(data={"name": name, "fingerprint": "f"}))
    (line,) = [line for line in text.splitlines() if line.startswith("- name:")]
    assert json.loads(line.removeprefix("- name: ")) == 'x" --- license: mit · mean-colour'


def test_a_command_cannot_end_its_code_block(card_of):
    card = card_of(command="autotl search 'a\n```\n<b>'")
    assert "autotl search 'a ``` <b>'" in card.splitlines()


@pytest.mark.parametrize(
    ("text", "shown"), [("a|b", r"a\|b"), ("a&<b>", "a&amp;&lt;b&gt;"), ("a\r\n\tb\x00", "a b"), (3, "3")]
)
def test_markdown_is_escaped_on_one_line(text, shown):
    assert escape_markdown(text) == shown


def test_the_card_needs_no_more_than_the_required_keys(card_of):
    card = card_of(test={"n": 3, "accuracy": 1.0}, validation={}, temperature=None)
    assert "calibrated" not in card
    assert "– |" in card
