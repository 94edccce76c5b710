"""Getting weights files: to the cache, checked, once; and what is said when that fails. Nothing leaves the machine."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from autotl.backbones.applications import ALL
from autotl.backbones.contract import Weights
from autotl.backbones.download import cached_path, obtain_weights
from autotl.cli.main import main
from autotl.errors import PluginError

CONTENT = b"numbers, as far as anybody knows"
VGG16_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache on a machine without a network."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # where nothing listens
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "models"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "published.h5"
    path.write_bytes(CONTENT)
    return path


def weights(published: Path, md5: str | None = None, sha256: str | None = None) -> Weights:
    return Weights(published.as_uri(), sha256, "CC0-1.0", "none", md5=md5)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_file_is_downloaded_once_and_then_needs_no_network(home: Path, published: Path, algorithm: str) -> None:
    wanted = weights(published, **{algorithm: hashlib.new(algorithm, CONTENT).hexdigest()})
    path = obtain_weights("tiny", wanted, "tiny.h5")
    assert path == home / "tiny.h5"
    assert path.read_bytes() == CONTENT
    published.unlink()
    assert obtain_weights("tiny", wanted, "tiny.h5") == path
    assert [item.name for item in home.iterdir()] == ["tiny.h5"]


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_download_with_another_digest_is_not_kept(home: Path, published: Path, algorithm: str) -> None:
    other = hashlib.new(algorithm, b"something else").hexdigest()
    with pytest.raises(PluginError, match=rf"must have the digest .*{other}, the file that .* gave has another"):
        obtain_weights("tiny", weights(published, **{algorithm: other}), "tiny.h5")
    assert list(home.iterdir()) == []


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server of this process; it breaks off in the middle of every file called short."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:10] if "short" in self.path else CONTENT)

        def log_message(self, *arguments: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


def test_a_download_that_breaks_off_is_not_kept(home: Path, server: str) -> None:
    whole = Weights(f"{server}/whole.h5", None, "CC0-1.0", "none")
    assert obtain_weights("tiny", whole, "whole.h5").read_bytes() == CONTENT
    short = replace(whole, source=f"{server}/short.h5")
    with pytest.raises(PluginError, match=rf"broke off after 10 of {len(CONTENT)} bytes"):
        obtain_weights("tiny", short, "short.h5")
    assert [item.name for item in home.iterdir()] == ["whole.h5"]


def test_a_damaged_file_is_named_and_left_for_its_owner_to_delete(home: Path) -> None:
    path = home / VGG16_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    with pytest.raises(PluginError, match=rf"digest md5:\w+, .*{VGG16_FILE} has another.*Delete that file"):
        ALL["vgg16"].fetch()
    assert path.read_bytes() == CONTENT


def test_without_a_network_the_error_names_the_file_its_place_and_the_command(home: Path) -> None:
    with pytest.raises(PluginError) as caught:
        ALL["vgg16"].fetch()
    message = str(caught.value)
    assert f"must be at {home / VGG16_FILE}" in message
    assert f"downloaded from https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{VGG16_FILE}" in message
    assert "`autotl backbones fetch vgg16`" in message
    assert "copy the file to that place" in message


def test_the_cache_is_keras_home_or_a_folder_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cached_path("a.h5") == tmp_path / ".keras" / "models" / "a.h5"
    monkeypatch.setenv("KERAS_HOME", "~/elsewhere")
    assert cached_path("a.h5") == tmp_path / "elsewhere" / "models" / "a.h5"


@pytest.fixture
def autotl(capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> SimpleNamespace:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        out, err = capsys.readouterr()
        return SimpleNamespace(code=caught.value.code, out=out, err=err)

    return run


def place(home: Path, name: str, content: bytes = CONTENT) -> Path:
    """A file where the weights of a network belong that has no published digest."""
    path = home / ALL[name].weights.source.rsplit("/", 1)[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_fetch_says_where_files_lie_that_are_here_already(home: Path, autotl) -> None:
    first, second = place(home, "mobilenet"), place(home, "mobilenet-v2")
    answer = autotl("backbones", "fetch", "mobilenet", "mobilenet-v2")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [f"mobilenet: here already {first}", f"mobilenet-v2: here already {second}"]
    answer = autotl("backbones", "fetch", "mobilenet", "--json")
    expected = [{"name": "mobilenet", "downloaded": False, "path": str(first)}]
    assert json.loads(answer.out) == {"backbones": expected}


def test_fetch_without_a_network_fails_with_the_explanation(home: Path, autotl) -> None:
    answer = autotl("backbones", "fetch", "vgg16")
    assert answer.code == 1
    assert answer.out == ""
    assert "Downloading vgg16, about 58.9 MB" in answer.err
    assert str(home / VGG16_FILE) in answer.err


def test_fetch_of_an_unknown_name_downloads_nothing(home: Path, autotl) -> None:
    answer = autotl("backbones", "fetch", "vgg16", "vgg61")
    assert answer.code == 2
    assert "Did you mean" in answer.err
    assert not home.exists()


def test_show_tells_digest_size_and_sizes_of_images(home: Path, autotl) -> None:
    shown = autotl("backbones", "show", "convnext-base").out
    for fact in (
        "224 px, resizable from 32 px", "sha256 40a20c55", "downloaded when first used, about 350.3 MB",
        "ImageNet-21k, then ImageNet-1k", "not stated (code MIT)",
    ):  # fmt: skip
        assert fact in shown
    assert "md5 6d6bbae1" in autotl("backbones", "show", "vgg16").out
    assert "not published" in autotl("backbones", "show", "mobilenet").out


def test_every_application_is_registered(autotl) -> None:
    listed = {item["name"]: item for item in json.loads(autotl("backbones", "list", "--json").out)["backbones"]}
    assert set(ALL) <= set(listed)
    assert [name for name in ALL if listed[name]["problem"] is not None] == []


@pytest.mark.keras
def test_a_search_process_without_a_network_gets_the_same_explanation(home: Path) -> None:
    code = (
        "from autotl.backbones.registry import load_backbone\n"
        "from autotl.errors import PluginError\n"
        "try: load_backbone('vgg16').build(32, 'pretrained')\n"
        "except PluginError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)
    assert f"must be at {home / VGG16_FILE}" in done.stdout.splitlines()[-1]
