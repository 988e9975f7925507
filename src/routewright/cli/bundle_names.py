"""Bundles as the command line names them: `default`, or a folder."""

import sys
from pathlib import Path

from routewright.errors import BundleError
from routewright.shipped import DEFAULT, bundle_folder


def bundle_named(text: str) -> Path:
    """The folder that an argument or option names; for the `parser` of typer.

    Raises:
        BundleError: the bundle that ships is meant and is not in this installation.
    """
    if text == DEFAULT and Path(DEFAULT).exists():
        sys.stderr.write(
            f"routewright: {DEFAULT} is the bundle of the package; the folder of that name is "
            f"./{DEFAULT}\n"
        )
    return bundle_folder(text)


def new_folder(text: str) -> Path:
    """A folder to write a bundle to, which the one that ships is not; for `parser`.

    Raises:
        BundleError: it is called as the bundle that ships.
    """
    if text == DEFAULT:
        raise BundleError(
            f"{DEFAULT} is the bundle of the package and read only; write ./{DEFAULT} for a "
            "folder of that name"
        )
    return Path(text)
