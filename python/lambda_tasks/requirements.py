"""The msgspec of this process, which may be ours, a function's own, or another layer's: importing this checks it.

Layers are unpacked on top of each other, so two of them that bring msgspec may leave a mix of both.
"""

from __future__ import annotations

import sys

from lambda_tasks.errors import UnusableMsgspec

OLDEST = (0, 18)  # the first with `msgspec.convert`


def check() -> None:
    """Import msgspec.

    Raises:
        UnusableMsgspec: it cannot be imported from where it lies, or it is too old.
    """
    try:
        import msgspec  # noqa: PLC0415 - it may fail, and this says why
    except (ImportError, AttributeError) as error:
        folder = _folder()
        if folder is None:  # there is none
            raise
        raise UnusableMsgspec(
            f"msgspec cannot be imported: {type(error).__name__}: {error}",
            source=_files(folder),
            remedy="where two layers bring msgspec, attach this one last, or take the other's away",
        ) from error
    version = msgspec.__version__.split(".")[:2]
    if all(part.isdigit() for part in version) and tuple(map(int, version)) < OLDEST:
        raise UnusableMsgspec(
            f"msgspec {msgspec.__version__} is too old",
            source=_files(msgspec.__file__.rpartition("/msgspec/")[0]),
            remedy=f"bundle {OLDEST[0]}.{OLDEST[1]} or later, or none, since the layer brings one; where it is another "
            "layer's, attach this one last",
        )


def _folder() -> str | None:
    """Return where on the import path msgspec lies."""
    from pathlib import Path  # noqa: PLC0415 - for an error alone

    return next((entry for entry in sys.path if Path(entry, "msgspec/__init__.py").is_file()), None)


def _files(folder: str) -> str:
    """Name the two files that have to be of one version, and the versions that the folder knows of."""
    from importlib.machinery import EXTENSION_SUFFIXES  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    names = [f"_core{suffix}" for suffix in EXTENSION_SUFFIXES]
    compiled = next((name for name in names if Path(folder, "msgspec", name).is_file()), f"no {names[0]}")
    versions = " and ".join(sorted(path.stem for path in Path(folder).glob("msgspec-*.dist-info")))
    return f"{folder}/msgspec/__init__.py and {compiled}" + (f" of {versions}" if versions else "")


check()
