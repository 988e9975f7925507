"""Where the bundles of the package are, and how they are named."""

from pathlib import Path

import pytest
from tests.tiny import write_tiny_bundle

from routewright import Classifier, shipped
from routewright.bundle import Bundle
from routewright.calibrate import recalibrate
from routewright.data.examples import SequenceExample
from routewright.errors import BundleError, ConfigError
from routewright.shipped import bundle_folder, is_shipped, recipe_file
from routewright.train.recipe import load_recipe

ROOT = Path(__file__).parents[2]


def test_nothing_and_the_name_mean_the_bundle_of_the_package(shipped_bundle: Bundle) -> None:
    assert bundle_folder() == bundle_folder("default") == shipped_bundle.path
    assert Classifier.open().heads.keys() == Classifier.open("default").heads.keys()


@pytest.mark.parametrize("named", ["./default", "default/", "Default", Path("default")])
def test_everything_else_is_a_folder(named: str | Path, shipped_bundle: Bundle) -> None:
    assert bundle_folder(named) == Path(named)


def test_an_installation_without_a_bundle_says_what_to_do(shipped_folder: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle of its own; reinstall .* --bundle BUND"):
        Classifier.open()


def test_a_bundle_of_the_package_is_known_by_any_path(
    shipped_bundle: Bundle, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(shipped_bundle.path)
    assert is_shipped(link)
    assert is_shipped(shipped_bundle.path / ".." / "default")
    assert not is_shipped(write_tiny_bundle(tmp_path / "default").path)


def test_a_bundle_of_the_package_cannot_be_calibrated(shipped_bundle: Bundle) -> None:
    before = (shipped_bundle.path / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match="read only; copy the folder"):
        recalibrate(shipped_bundle.path, "attack", [SequenceExample(text="x", label="attack")])
    assert (shipped_bundle.path / "manifest.json").read_bytes() == before


def test_a_recipe_that_does_not_ship_is_named_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"mine: no recipe .*; known: default$"):
        recipe_file("mine")


def test_the_recipe_in_the_package_needs_no_file_outside_it() -> None:
    assert load_recipe(recipe_file("default")).name == "default"


def test_the_bundle_of_the_package_is_small_and_fits_its_recipe() -> None:
    if not shipped.is_installed("default"):
        pytest.skip("a checkout from before `make bundle`")
    bundle, recipe = Bundle.open(bundle_folder()), load_recipe(recipe_file("default"))
    for copy in shipped.FOLDER.glob("*.yaml"):
        own = ROOT / "recipes" / copy.name.replace(".recipe", "")
        assert copy.read_text() == own.read_text(), "run `make bundle RUN=...`"
    manifest = bundle.manifest
    assert manifest.name == recipe.name
    assert list(bundle.tasks) == list(recipe.tasks)
    assert manifest.encoding == recipe.encoding
    assert list(manifest.precisions) == ["int8"]
    assert sum(record.bytes for record in manifest.files.values()) < 30e6
