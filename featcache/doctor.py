"""Check whether this machine can do the work; each problem comes with a fix."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from featcache.backbones import describe_all
from featcache.cache import FeatureStore
from featcache.errors import FeatcacheError

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "open_clip_torch",
    "h5py",
    "numpy",
    "scikit-learn",
    "pillow",
)
EXTRAS = {"viz": ("jinja2", "matplotlib"), "demo": ("ncnn", "onnxruntime", "scikit-image")}
LOW_DISK = 2 * 1024**3
"""Bytes free below which a large extraction is likely to fail."""


@dataclass(frozen=True)
class CheckResult:
    """One thing that was looked at.

    Parameters
    ----------
    topic : str
    state : {"ok", "warning", "problem"}
    detail : str
        What was found.
    fix : str
        What fixes it; empty where nothing is to be mended.
    """

    topic: str
    state: str
    detail: str
    fix: str = ""


def run_checks(cache: Path) -> list[CheckResult]:
    """Look at devices, packages, weights, disk and store.

    Parameters
    ----------
    cache : Path
        The store that would be used.

    Returns
    -------
    list of Finding
    """
    checks: tuple[Callable[[], Iterator[CheckResult]], ...] = (
        _packages,
        _extras,
        _device,
        _weights,
        lambda: _disk(cache),
        lambda: _store(cache),
    )
    return [finding for check in checks for finding in check()]


def _packages() -> Iterator[CheckResult]:
    for name in PACKAGES:
        try:
            yield CheckResult("package", "ok", f"{name} {version(name)}")
        except PackageNotFoundError:
            yield CheckResult("package", "problem", f"{name} is missing", f"pip install {name}")


def _extras() -> Iterator[CheckResult]:
    for extra, names in EXTRAS.items():
        missing = [name for name in names if not _installed(name)]
        if missing:
            fix = f"pip install 'featcache[{extra}]'"
            yield CheckResult("extra", "warning", f"{extra}: lacks {', '.join(missing)}", fix)
        else:
            yield CheckResult("extra", "ok", extra)


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _device() -> Iterator[CheckResult]:
    import torch

    if torch.cuda.is_available():
        yield CheckResult("device", "ok", f"GPU {torch.cuda.get_device_name(0)}")
    elif torch.version.cuda:
        yield CheckResult(
            "device",
            "warning",
            f"CPU, {os.cpu_count()} cores: this torch is built for CUDA {torch.version.cuda} "
            "but sees no GPU",
            "run nvidia-smi; without a GPU this is as it should be, only slow",
        )
    else:
        yield CheckResult("device", "ok", f"CPU, {os.cpu_count()} cores")


def _weights() -> Iterator[CheckResult]:
    """Say which backbones could run now, in two lines and without asking the network."""
    states = {row["name"]: row["weights"] for row in describe_all()}
    available = [name for name, state in states.items() if state == "found"]
    missing = [name for name, state in states.items() if state != "found"]
    yield CheckResult(
        "weights", "ok" if available else "warning", f"found: {', '.join(available) or 'none'}"
    )
    if missing:
        fix = f"featcache backbones show {missing[0]} (says where each comes from)"
        yield CheckResult("weights", "ok", f"not on this machine: {', '.join(missing)}", fix)


def _disk(cache: Path) -> Iterator[CheckResult]:
    folder = next(path for path in (cache.absolute(), *cache.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1024**3:.1f} GiB free for {cache}"
    if free < LOW_DISK:
        yield CheckResult("disk", "warning", detail, "free some space or choose another --cache")
    else:
        yield CheckResult("disk", "ok", detail)
    if not os.access(folder, os.W_OK):
        yield CheckResult("disk", "problem", f"{folder} is read-only", "choose another --cache")


def _store(cache: Path) -> Iterator[CheckResult]:
    try:
        keys = FeatureStore(cache).list_keys()
        yield CheckResult("store", "ok", f"{cache}: {len(keys)} kinds of features")
    except FeatcacheError as error:
        yield CheckResult("store", "problem", str(error), "featcache cache ls")
