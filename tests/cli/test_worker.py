"""`autotl worker` and the options of `autotl search` that go with it."""


def test_a_password_in_the_url_is_refused_and_not_repeated(autotl_json):
    for command in (["worker"], ["search", "sample:clipart"]):
        answer, code = autotl_json(*command, "--storage", "postgresql://me:secret@host/autotl", "--study", "s")
        assert (answer["error"]["kind"], code) == ("usage", 2)
        assert "pgpass" in answer["error"]["message"]
        assert "secret" not in answer["error"]["message"]


def test_a_worker_without_a_search_says_what_to_start(autotl_json, tmp_path):
    url = f"sqlite:///{tmp_path / 'board.db'}"
    answer, code = autotl_json("worker", "--storage", url, "--study", "birds", "--wait-seconds", "0")
    assert (answer["error"]["kind"], code) == ("runtime", 1)
    assert f"autotl search DATASET --storage {url} --study birds" in answer["error"]["message"]


def test_a_search_with_a_storage_needs_a_study(autotl):
    answer = autotl("search", "sample:clipart", "--storage", "sqlite:///board.db")
    assert answer.code == 2
    assert "--study NAME" in answer.err


def test_a_study_without_a_storage_is_refused(autotl):
    answer = autotl("search", "sample:clipart", "--study", "birds")
    assert answer.code == 2
    assert "Give --storage URL" in answer.err


def test_two_executors_are_refused(autotl):
    answer = autotl("search", "sample:clipart", "--storage", "sqlite:///board.db", "--study", "s", "--executor", "ray")
    assert answer.code == 2
    assert "leave the other executor out" in answer.err
