"""Where the weights of a backbone are looked for, in which order, and what is said when they are
nowhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from featcache.backbones.hub import (
    PATIENCE_S,
    WeightsSource,
    download,
    remembered_digest,
    unreachable,
    weights_folder,
)
from featcache.backbones.names import ALIASES, canonical_name, parse_name
from featcache.errors import SettingsError, WeightsError
from featcache.files import read_text
from featcache.settings import load_settings

ORDER = (
    "--weights, [weights] in featcache.toml, FEATCACHE_WEIGHTS, the caches of this machine, the hub"
)
PUBLISHED_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
)
"""What the libraries call the weights in a folder of theirs, the preferred first."""

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def given(name: str, flags: Mapping[str, Path]) -> tuple[Path, str] | None:
    """Return the file that the user named for a backbone, and where; None where none was named.

    Parameters
    ----------
    name : str
        Canonical name of the backbone, without tap.
    flags : mapping of str to Path
        What ``--weights`` said, by canonical name.

    Returns
    -------
    tuple[Path, str] | None
        The file that the user named for a backbone, and where.

    Raises
    ------
    WeightsError
        If the file does not exist: another one is never taken in its place.
    """
    for place, files in _named(flags):
        if path := files.get(name):
            path = weights_file(path)
            if not path.is_file():
                raise WeightsError(
                    f"The weights of {name} are to be {path} ({place}), which is no file. "
                    "Correct the path, or take the setting away to have them looked for."
                )
            return path, place
    return None


PLACES = ("local-dir:", "hf-hub:")
"""How timm and open_clip name models that lie in a folder or a repository of the hub."""


def published_config(place: str, file: str) -> tuple[dict[str, Any], WeightsSource]:
    """Read the configuration of a model in a folder or in a repository of the hub.

    Parameters
    ----------
    place : str
        ``local-dir:FOLDER`` or ``hf-hub:OWNER/NAME``.
    file : str
        Name of the configuration there.

    Returns
    -------
    config : dict
        The JSON object of the file.
    source : WeightsSource
        Where the weights lie.

    Raises
    ------
    WeightsError
        If the place has no such file, or it holds no JSON object.
    """
    kind, _, where = place.partition(":")
    if kind == "local-dir":
        path = Path(where) / file
        weights = weights_file(Path(where))
        source = WeightsSource(files=(str(weights.absolute()),), page=str(Path(where).absolute()))
    else:
        path = _hub_config(where, file)
        page = f"https://huggingface.co/{where}"
        files = tuple(name for name in PUBLISHED_NAMES if not name.endswith(".json"))
        source = WeightsSource(files=(files[0],), page=page, hub=where, hub_files=files)
    try:
        config = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{place} has no readable {file}: {error}. Name a folder or a repository as timm or"
            " open_clip write them, or give the weights with --weights."
        ) from error
    if not isinstance(config, dict):
        raise WeightsError(f"{file} of {place} is no JSON object. Name another folder.")
    return config, source


def _hub_config(repository: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, file, etag_timeout=PATIENCE_S))
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"The hub gives no {file} of {repository}: {reason}. Check the name; for a gated"
            " repository accept its licence on its page and run 'hf auth login'."
        ) from error


def locate(name: str, source: WeightsSource) -> tuple[Path, str] | None:
    """Return the first local file of published weights, and the place; the network is not asked.

    Parameters
    ----------
    name : str
        Name to look up or to show.
    source : WeightsSource
        Where the weights are published.

    Returns
    -------
    tuple[Path, str] | None
        The first local file of published weights, and the place.
    """
    for place, candidates in _places(name, source):
        for path in candidates:
            if path.is_file():
                return path, place
    return None


def find(name: str, source: WeightsSource) -> Path:
    """Return the weights file of a backbone, from this machine or from the hub.

    Parameters
    ----------
    name : str
        Name to look up or to show.
    source : WeightsSource
        Where the weights are published.

    Returns
    -------
    Path
        The weights file of a backbone, from this machine or from the hub.

    Raises
    ------
    WeightsError
        If it is nowhere: says every place that was looked at, and the page that it comes from.
    """
    if path := locate(name, source):
        return path[0]
    if not source.can_fetch:
        raise missing(name, source, "they are on no hub: only a person can get them")
    if reason := unreachable(source):
        raise missing(name, source, reason)
    try:
        return download(source)
    except ConnectionError as error:
        raise missing(name, source, str(error)) from error


def finder(name: str, source: WeightsSource) -> partial[Path]:
    """Return the ``find_weights`` of a spec.

    Parameters
    ----------
    name : str
        Name to look up or to show.
    source : WeightsSource
        Where the weights are published.

    Returns
    -------
    partial[Path]
        The ``find_weights`` of a spec.
    """
    return partial(find, name, source)


def missing(name: str, source: WeightsSource, hub: str) -> WeightsError:
    """Return the error for weights that are nowhere.

    Parameters
    ----------
    name : str
        Name to look up or to show.
    source : WeightsSource
        Where the weights are published.
    hub : str
        Name of the repository on the hub.

    Returns
    -------
    WeightsError
        The error for weights that are nowhere.
    """
    looked = "; ".join(looked_at(name, source))
    file = source.files[0]
    fetch = f" or run 'featcache backbones fetch {name}' with a network" if source.can_fetch else ""
    return WeightsError(
        f"There are no weights for {name}. Looked for in order: --weights; [weights] in"
        f" featcache.toml; {looked}; the hub: {hub}. Get {file} from {source.page} and give it with"
        f" --weights {name}={file}{fetch}."
    )


def looked_at(name: str, source: WeightsSource) -> list[str]:
    """Return the places behind the user's own settings where published weights are looked for, in
    words.

    Parameters
    ----------
    name : str
        Name to look up or to show.
    source : WeightsSource
        Where the weights are published.

    Returns
    -------
    list[str]
        The places behind the user's own settings where published weights are looked for, in
        words.
    """
    return [
        f"{place}: {', '.join(_brief(candidates)) or 'nothing set'}"
        for place, candidates in _places(name, source)
    ]


def parse_weights(values: Iterable[str], names: Iterable[str]) -> dict[str, Path]:
    """Return what ``--weights`` says, by canonical name.

    Parameters
    ----------
    values : iterable of str
        ``FILE`` or ``NAME=FILE``.
    names : iterable of str
        The backbones of the command; a bare ``FILE`` is for the only one.

    Returns
    -------
    dict[str, Path]
        What ``--weights`` says, by canonical name.

    Raises
    ------
    SettingsError
        If a bare file could be meant for several, or a name is not among the backbones.

    Examples
    --------
    >>> parse_weights(["synclr=s.pth"], ["clip", "synclr@layer11"])
    {'synclr-vit-b16': PosixPath('s.pth')}
    """
    bases = list(dict.fromkeys(parse_name(name).base for name in names))
    files: dict[str, Path] = {}
    for value in values:
        name, path = _split(value)
        if not name and len(bases) != 1:
            raise SettingsError(
                f"--weights {value} does not say for which of {', '.join(bases)}. Write NAME=FILE."
            )
        base = parse_name(name).base if name else bases[0]
        if base not in bases:
            raise SettingsError(
                f"--weights {value}: {name} is not among the backbones {', '.join(bases)}."
            )
        files[base] = weights_file(path)
    return files


def weights_file(path: Path) -> Path:
    """Return the weights file in a folder as transformers, timm and open_clip write it.

    Parameters
    ----------
    path : Path
        A folder, or a file, which is returned as it is.

    Returns
    -------
    Path
        The file, or the index of a file in several parts (``model.safetensors.index.json``).

    Raises
    ------
    WeightsError
        If the folder holds none, or several under names of its own.
    """
    if not path.is_dir():
        return path
    for name in PUBLISHED_NAMES:
        if (path / name).is_file():
            return path / name
    others = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if len(others) == 1:
        return others[0]
    names = ", ".join(file.name for file in others) or "none"
    raise WeightsError(
        f"The folder {path} is to hold one weights file and holds: {names}. Name the file, or give"
        f" a folder with one of {', '.join(PUBLISHED_NAMES)}."
    )


def weights_identities(values: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """Return which weights features shall come from, as their keys say it, by backbone.

    Parameters
    ----------
    values : iterable of str
        What ``--weights`` says: ``FILE`` or ``NAME=FILE``; ``blake2b:DIGEST`` may stand for a file
        that is not on this machine.
    names : iterable of str
        The features of the command.

    Returns
    -------
    dict[str, str]
        Which weights features shall come from, as their keys say it, by backbone.

    Raises
    ------
    SettingsError
        As :func:`parse_weights`.
    WeightsError
        If a file cannot be read.
    """
    return {name: _identity(path) for name, path in parse_weights(values, names).items()}


def _identity(path: Path) -> str:
    if str(path).startswith("blake2b:"):
        return str(path)
    try:
        return f"blake2b:{remembered_digest(path)}"
    except OSError as error:
        raise WeightsError(
            f"The weights file {path} cannot be read: {error.strerror or error}. Correct --weights."
        ) from error


def _split(value: str) -> tuple[str, Path]:
    """Split ``NAME=FILE``; a file that exists is a file, whatever its name."""
    name, equals, path = value.partition("=")
    if equals and not Path(value).exists():
        return name.strip(), Path(path).expanduser()
    return "", Path(value).expanduser()


def _named(flags: Mapping[str, Path]) -> Iterator[tuple[str, Mapping[str, Path]]]:
    settings = load_settings()
    yield "--weights", flags
    yield "[weights] in featcache.toml", {canonical_name(k): p for k, p in settings.weights.items()}
    split = [_split(value) for value in settings.weights_variable]
    yield "FEATCACHE_WEIGHTS", {canonical_name(name): path for name, path in split if name}


def _places(name: str, source: WeightsSource) -> Iterator[tuple[str, list[Path]]]:
    """Yield every place where published weights may lie, with the files that are looked for
    there.
    """
    aliases = [alias for alias, base in ALIASES.items() if base == name]
    plain = name.replace("/", "_").replace(":", "_")
    names = [*source.files, *(f"{n}{suffix}" for n in (plain, *aliases) for suffix in SUFFIXES)]
    items = [_split(value) for value in load_settings().weights_variable]
    folders = [path for base, path in items if not base]
    yield (
        "FEATCACHE_WEIGHTS",
        [path if path.is_file() else path / n for path in folders for n in names],
    )
    yield "featcache's cache", [weights_folder() / file for file in source.files]
    yield "torch.hub's cache", [_torch_hub() / file for file in source.files]
    if "openaipublic" in source.url:
        yield "CLIP's cache", [Path.home() / ".cache/clip" / file for file in source.files]
    if source.hub:
        yield "the hub's cache", list(_in_hub_cache(source))


def _in_hub_cache(source: WeightsSource) -> Iterator[Path]:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE

    for file in source.hub_files:
        path = try_to_load_from_cache(source.hub, file)
        folder = f"models--{source.hub.replace('/', '--')}"
        yield Path(path) if isinstance(path, str) else Path(HF_HUB_CACHE) / folder / file


def _torch_hub() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("TORCH_HOME", cache / "torch")) / "hub/checkpoints"


def _brief(candidates: list[Path]) -> list[str]:
    """Name each folder once, with its first file."""
    folders: dict[Path, str] = {}
    for path in candidates:
        folders.setdefault(path.parent, path.name)
    return [str(folder / name) for folder, name in folders.items()]
