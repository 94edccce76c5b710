import json

from autotl.data.check import check_dataset
from autotl.report.data_tables import class_counts, facts, findings
from autotl.report.record import read_record


def test_findings_say_how_many_and_name_the_first_few(make_run):
    found = {finding.what: finding for finding in findings(read_record(make_run()))}
    assert list(found) == [
        "files that could not be used", "sets of identical images with different labels, kept out of training",
        "sets of identical images, each in one split", "kinds of images that needed a rule to decode",
    ]  # fmt: skip
    assert found["files that could not be used"].examples == ["airplane/broken.jpg: truncated"]
    assert found["sets of identical images with different labels, kept out of training"].examples == [
        "cat/a.jpg (cat), dog/a.jpg (dog)"
    ]
    identical = found["sets of identical images, each in one split"]
    assert (identical.number, len(identical.examples)) == (130, 5)


def test_the_counts_add_up(make_run):
    counts = class_counts(read_record(make_run()))
    assert counts["total"] == sum(row["total"] for row in counts["rows"]) == sum(counts["totals"])


def test_a_real_check_is_understood(make_run, tmp_path):
    import numpy as np
    from PIL import Image

    generator, root = np.random.default_rng(0), tmp_path / "photos"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for index in range(12):
            pixels = generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    (root / "cat" / "broken.png").write_bytes((root / "cat" / "1.png").read_bytes()[:200])
    (root / "cat" / "copy.png").write_bytes((root / "cat" / "2.png").read_bytes())
    run = make_run()
    (run / "data.json").write_text(json.dumps(check_dataset(str(root)).report))
    record = read_record(run)
    assert class_counts(record)["total"] == 25
    assert facts(record) == "25 of 26 files are used; 25 PNG; sides of 30 to 40 pixels, median 35."
    found = {finding.what: finding for finding in findings(record)}
    assert found["files that could not be used"].examples[0].startswith("cat/broken.png: truncated")
    assert found["sets of identical images, each in one split"].examples == ["cat/2.png, cat/copy.png"]


def test_a_report_without_a_check_has_nothing_to_say(make_run):
    record = read_record(make_run(without=["data.json"]))
    assert (class_counts(record), facts(record), findings(record)) == (None, "", [])
