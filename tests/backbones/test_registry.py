import subprocess
import sys
from pathlib import Path

import pytest

from autotl.backbones.contract import Backbone
from autotl.backbones.registry import (
    GROUP,
    SOURCES_GROUP,
    absolute_reference,
    is_path,
    list_backbones,
    load_backbone,
    owner_of,
)
from autotl.errors import PluginError, UsageError

RECORD = """
from autotl.backbones.contract import Backbone, Weights

def record(name, api_version=1):
    return Backbone(
        name=name, build=lambda image_size, weights: None, image_size=64, min_image_size=32, parameters=1,
        weights=Weights("nowhere", None, "CC0-1.0", "nothing"), imagenet_top1=None, reference="https://example.org",
        available=lambda: True, api_version=api_version,
    )
"""


class Site:
    """A folder on the import path with real distributions in it: modules and their metadata."""

    def __init__(self, path: Path):
        self.path = path

    def install(
        self, distribution: str, name: str, module: str, code: str, *, directory: str = "dist-info", group: str = GROUP
    ) -> str:
        (self.path / f"{module}.py").write_text(RECORD + code)
        metadata = self.path / f"{distribution.replace('-', '_')}-1.2.{directory}"
        metadata.mkdir(exist_ok=True)
        content = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n"
        (metadata / ("METADATA" if directory == "dist-info" else "PKG-INFO")).write_text(content)
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:THING\n")
        return name


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(tmp_path)
    return Site(tmp_path)


def test_an_installed_plugin_is_listed_with_its_distribution_and_loads(site: Site) -> None:
    site.install("fake-nets", "fake-net", "fake_nets_good", "THING = record('fake-net')")
    (listing,) = [listing for listing in list_backbones() if listing.name == "fake-net"]
    assert (listing.distribution, listing.version, listing.value) == ("fake-nets", "1.2", "fake_nets_good:THING")
    assert listing.problem is None
    backbone = load_backbone("fake-net")
    assert isinstance(backbone, Backbone)
    assert backbone.name == "fake-net"


def test_listing_imports_no_plugin(site: Site) -> None:
    site.install("fake-bomb", "bomb", "fake_bomb", "raise SystemExit('imported')")
    assert "bomb" in {listing.name for listing in list_backbones()}
    assert "fake_bomb" not in sys.modules


def test_listing_and_the_records_import_nothing_heavy() -> None:
    code = (
        "import sys, autotl.backbones.applications\n"
        "from autotl.backbones.registry import list_backbones; list_backbones()\n"
        "heavy = {'numpy', 'keras', 'tensorflow', 'optuna', 'sklearn', 'PIL', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_of_two_distributions_is_a_problem_that_names_both(site: Site) -> None:
    site.install("fake-one", "twice", "fake_one", "THING = record('twice')")
    site.install("fake-two", "twice", "fake_two", "THING = record('twice')")
    problems = [listing.problem for listing in list_backbones() if listing.name == "twice"]
    assert len(problems) == 2
    assert all(problem is not None and "fake-one" in problem and "fake-two" in problem for problem in problems)
    with pytest.raises(PluginError, match=r"twice.*fake-one.*fake-two.*Uninstall"):
        load_backbone("twice")


def test_a_name_registered_twice_does_not_hurt_the_others(site: Site) -> None:
    site.install("fake-one", "doubled", "fake_other_one", "THING = record('doubled')")
    site.install("fake-two", "doubled", "fake_other_two", "THING = record('doubled')")
    site.install("fake-three", "single", "fake_other_three", "THING = record('single')")
    assert load_backbone("single").name == "single"


def test_an_editable_install_seen_twice_is_one_registration(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("fake-edit", "edited", "fake_edit", "THING = record('edited')")
    source = tmp_path / "source"
    source.mkdir()
    monkeypatch.syspath_prepend(source)
    Site(source).install("fake-edit", "edited", "fake_edit", "THING = record('edited')", directory="egg-info")
    assert [listing.problem for listing in list_backbones() if listing.name == "edited"] == [None]
    assert load_backbone("edited").name == "edited"


def test_a_plugin_that_fails_to_import_is_named_with_the_cause(site: Site) -> None:
    site.install("fake-broken", "broken", "fake_broken", "import a_module_that_is_not_there")
    with pytest.raises(PluginError, match=r"broken.*fake_broken:THING of fake-broken 1\.2.*a_module_that_is_not_there"):
        load_backbone("broken")


def test_an_entry_point_without_its_object_is_named(site: Site) -> None:
    site.install("fake-hollow", "hollow", "fake_hollow", "")
    with pytest.raises(PluginError, match=r"fake_hollow:THING of fake-hollow 1\.2.*THING"):
        load_backbone("hollow")


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("typed", "THING = 42", r"must name an autotl.*Backbone.*is a int"),
        ("newer", "THING = record('newer', api_version=7)", r"API version 1.*is of 7"),
        ("named", "THING = record('other')", r"registered as 'named'.*calls itself 'other'"),
    ],
)
def test_a_record_that_breaks_the_contract_is_refused(site: Site, name: str, code: str, message: str) -> None:
    site.install(f"fake-{name}", name, f"fake_{name}", code)
    with pytest.raises(PluginError, match=message):
        load_backbone(name)


def test_an_unknown_name_suggests_the_nearest_and_the_command_that_lists_them(site: Site) -> None:
    site.install("fake-suggest", "wonder-net", "fake_suggest", "THING = record('wonder-net')")
    with pytest.raises(UsageError, match=r"no backbone 'wundernet'\. Did you mean wonder-net\? Run `autotl backbones"):
        load_backbone("wundernet")
    with pytest.raises(UsageError, match=r"Did you mean efficientnet-b0\? \(Or .*\.\) Run") as error:
        load_backbone("EfficientNetB0")
    assert len(str(error.value)) < 200


SOURCE = """
def THING(rest):
    if rest == "nothing":
        raise LookupError("no such network")
    return record("other" if rest == "misnamed" else f"{SOURCE_NAME}:{rest}")
"""


def install_source(site: Site, distribution: str, name: str, module: str) -> None:
    site.install(distribution, name, module, SOURCE.replace("SOURCE_NAME", repr(name)), group=SOURCES_GROUP)


def test_a_source_opens_what_follows_its_colon(site: Site) -> None:
    install_source(site, "fake-zoo", "zoo", "fake_zoo")
    assert load_backbone("zoo:lions/one").name == "zoo:lions/one"
    owner = owner_of("zoo:lions/one")
    assert (owner.distribution, owner.version) == ("fake-zoo", "1.2")


@pytest.mark.parametrize(
    ("rest", "message"), [("nothing", r"fake-zoo cannot open .*no such network"), ("misnamed", "called pets:misnamed")]
)
def test_a_source_that_fails_is_named(site: Site, rest: str, message: str) -> None:
    install_source(site, "fake-zoo", "pets", "fake_pets")
    with pytest.raises(PluginError, match=message):
        load_backbone(f"pets:{rest}")


def test_a_source_of_two_distributions_is_a_problem_that_names_both(site: Site) -> None:
    install_source(site, "fake-one", "farm", "fake_farm_one")
    install_source(site, "fake-two", "farm", "fake_farm_two")
    with pytest.raises(PluginError, match=r"farm must be unique.*fake-one and fake-two"):
        load_backbone("farm:cow")


def test_a_registered_name_wins_over_a_source_and_over_a_file(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("fake-nets", "circus:lion", "fake_circus_net", "THING = record('circus:lion')")
    install_source(site, "fake-zoo", "circus", "fake_circus")
    site.install("fake-files", "mine.keras", "fake_mine_net", "THING = record('mine.keras')")
    (tmp_path / "mine.keras").touch()
    monkeypatch.chdir(tmp_path)
    assert owner_of("circus:lion").distribution == "fake-nets"
    assert load_backbone("circus:lion").name == "circus:lion"
    assert load_backbone("mine.keras").name == "mine.keras"
    assert not is_path("mine.keras") and is_path("./mine.keras")
    assert absolute_reference("mine.keras", "unit") == "mine.keras"


def test_a_reference_can_mean_the_same_in_every_folder(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_source(site, "fake-zoo", "park", "fake_park")
    (tmp_path / "bears").mkdir()
    monkeypatch.chdir(tmp_path)
    assert absolute_reference("vgg16") == "vgg16"
    assert absolute_reference("my.keras", "unit") == f"{tmp_path}/my.keras?normalisation=unit"
    assert absolute_reference("my.keras?normalisation=torch", "unit") == f"{tmp_path}/my.keras?normalisation=torch"
    assert absolute_reference("runs/birds", "unit") == f"{tmp_path}/runs/birds"
    assert absolute_reference("park:bears") == f"park:{tmp_path}/bears"
    assert absolute_reference("park:kaggle://bears") == "park:kaggle://bears"
    assert absolute_reference("park:") == "park:"
    assert absolute_reference("my_models:Network") == "my_models:Network"
    assert all(absolute_reference(name) == name for name in (absolute_reference("my.keras", "unit"), "park:/bears"))


def test_files_and_modules_of_your_own_have_no_plugin() -> None:
    assert {owner_of(name).distribution for name in ("/home/me/my.keras", "my_models:Network")} == {"none"}


def test_a_name_that_is_nothing_says_what_it_could_be() -> None:
    with pytest.raises(UsageError, match="source or a Python module"):
        load_backbone("no-such-source:something")
    with pytest.raises(UsageError, match="There is no backbone 'vgg-16'"):
        load_backbone("vgg-16")
