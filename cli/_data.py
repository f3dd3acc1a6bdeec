"""Which images a command is about, from its settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from featcache.cli._output import say
from featcache.errors import SettingsError

if TYPE_CHECKING:
    from featcache.datasets import Scan
    from featcache.settings import Settings

DEFAULT_ROOT = Path("datasets")


def roots_of(settings: Settings) -> list[Path]:
    """Return the roots that were named, or the folder ``datasets/``.

    Raises
    ------
    SettingsError
        If nothing was named and there is no such folder.
    """
    if settings.data:
        return settings.data
    if DEFAULT_ROOT.is_dir():
        return [DEFAULT_ROOT]
    raise SettingsError(
        "No images were named. Give --data FOLDER, set data in featcache.toml, "
        "or put them into a folder datasets/."
    )


def scan_roots(settings: Settings) -> list[Scan]:
    """Scan every root into the store, saying what the reader should know."""
    from featcache.datasets import ScanOptions, scan_into

    options = ScanOptions(
        source_pattern=settings.source_pattern,
        test_fraction=settings.test_fraction,
        workers=settings.workers,
    )
    scans = []
    for root in roots_of(settings):
        scans.append(scan_into(settings.cache, root, options))
        say(f"{root}: {len(scans[-1].manifest):,} files")
    return scans
