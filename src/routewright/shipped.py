"""Bundles that come with the package, each beside the recipe that made it.

FOLDER/NAME               the bundle; read only
FOLDER/NAME.recipe.yaml   its recipe, for `routewright reproduce NAME`

Where a bundle is named by a text, `default` means the one that ships and anything else a
folder; a folder of the same name is ``./default``.
"""

from pathlib import Path

from routewright.errors import BundleError, ConfigError

DEFAULT = "default"
"""The bundle that is opened when none is named."""
FOLDER = Path(__file__).parent / "bundles"
_MANIFEST = "manifest.json"
_RECIPE = ".recipe.yaml"


def bundle_folder(named: Path | str | None = None) -> Path:
    """The folder of a bundle.

    Args:
        named: None or the text ``default`` for the bundle that ships; a `Path`, and every other
            text, is the folder itself.

    Raises:
        BundleError: the bundle that ships is meant and is not in this installation.
    """
    if named is not None and named != DEFAULT:
        return Path(named)
    return shipped_folder(DEFAULT)


def shipped_folder(name: str) -> Path:
    """The folder of a bundle that ships.

    Raises:
        BundleError: it is not in this installation.
    """
    if not is_installed(name):
        raise BundleError(
            f"{FOLDER / name}: this installation has no bundle of its own; reinstall "
            "routewright, or make one (routewright train, then routewright export) and pass "
            "--bundle BUNDLE"
        )
    return FOLDER / name


def is_installed(name: str) -> bool:
    """Whether the bundle is in this installation; a source checkout may lack it."""
    return (FOLDER / name / _MANIFEST).is_file()


def is_shipped(folder: Path) -> bool:
    """Whether the folder is a bundle of the package, however its path is written."""
    return folder.resolve().parent == FOLDER.resolve()


def recipe_file(name: str) -> Path:
    """The recipe of a bundle that ships.

    Raises:
        ConfigError: no such bundle ships.
    """
    known = sorted(p.name.removesuffix(_RECIPE) for p in FOLDER.glob(f"*{_RECIPE}"))
    if name not in known:
        raise ConfigError(
            f"{name}: no recipe of that name ships with routewright; known: "
            f"{', '.join(known) or 'none'}"
        )
    return FOLDER / f"{name}{_RECIPE}"
