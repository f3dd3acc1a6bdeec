"""Weights from the network: asked for quickly, fetched resumably, verified before they are used.

Digests of weights files, remembered between runs: a file of gigabytes is read once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from featcache.errors import StoreError, WeightsError
from featcache.files import digest_file, digest_json, open_file, read_text, write_atomic
from featcache.progress import progress

PATIENCE_S = 2.0
"""How long the network may take to say that a file is there; after that it counts as absent."""

BLOCK = 1 << 20
INDEX = ".safetensors.index.json"
"""How the name of the list of a safetensors file's parts ends."""

_ABSENT = "it answers"


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """Where the weights of one backbone are published: plain facts.

    Parameters
    ----------
    files : tuple of str
        Names of the published files, looked for in the folders of ``FEATCACHE_WEIGHTS`` and in the
        caches.
    page : str
        Where a person gets them.
    hub : str
        Repository on the Hugging Face hub; empty: not there.
    hub_files : tuple of str
        Files of the repository that hold the weights, the preferred first.
    url : str
        Direct address; empty: none.
    sha256 : str
        Beginning of the file's SHA-256 behind ``url``, as its publisher gives it; empty: not
        published.
    """

    files: tuple[str, ...]
    page: str
    hub: str = ""
    hub_files: tuple[str, ...] = ()
    url: str = ""
    sha256: str = ""

    @property
    def can_fetch(self) -> bool:
        """Whether a program can get it without a person."""
        return bool(self.hub or self.url)


def weights_folder() -> Path:
    """Return the folder that ``backbones fetch`` keeps files from direct addresses in.

    Returns
    -------
    Path
        The folder that ``backbones fetch`` keeps files from direct addresses in.
    """
    return user_cache_path("featcache") / "weights"


def unreachable(source: WeightsSource) -> str:
    """Return why the weights cannot be fetched just now, in a few words; empty where they can.

    Parameters
    ----------
    source : WeightsSource
        Where the weights are published.

    Returns
    -------
    str
        Why the weights cannot be fetched just now, in a few words.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return "HF_HUB_OFFLINE is set"
    answer = ""
    for address in _addresses(source):
        answer = _probe_url(address, bool(source.hub))
        if not answer.startswith(
            _ABSENT
        ):  # there, or no network: then the other names need no asking
            return answer
    return answer


def download(source: WeightsSource) -> Path:
    """Fetch the weights, going on where an interrupted fetch stopped, and verify them.

    Parameters
    ----------
    source : WeightsSource
        Where the weights are published.

    Returns
    -------
    Path

    Raises
    ------
    WeightsError
        If the file is not the published one.
    ConnectionError
        If it cannot be fetched: says why in a few words.
    """
    try:
        path = _from_hub(source) if source.hub else _from_url(source)
    except WeightsError:
        raise
    except Exception as error:  # the hub's client raises errors of several libraries
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConnectionError(text) from error
    return path


def _addresses(source: WeightsSource) -> list[str]:
    if not source.hub:
        return [source.url]
    from huggingface_hub import hf_hub_url

    return [str(hf_hub_url(source.hub, file)) for file in source.hub_files]


@lru_cache
def _probe_url(url: str, on_hub: bool = False) -> str:
    """Ask for the head of a file, in a thread that is left behind when a resolver hangs."""
    answer = [f"no answer within {PATIENCE_S:.0f} s"]

    def send_request() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD", headers=_login() if on_hub else {})
            opener = urllib.request.build_opener(_NoRedirect)
            with opener.open(request, timeout=PATIENCE_S + 1):  # join decides
                answer[0] = ""
        except urllib.error.HTTPError as error:
            answer[0] = f"{_ABSENT} {error.code} {error.reason}"
            if 300 <= error.code < 400:  # the file lies on another host
                answer[0] = ""
            elif on_hub and error.code in (401, 403):
                answer[0] += (
                    "; if its page asks to accept a licence, do so there and run 'hf auth login'"
                )
        except (OSError, ValueError) as error:
            answer[0] = f"no network ({getattr(error, 'reason', error)})"

    thread = threading.Thread(target=send_request, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    return answer[0]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirection: the token of the hub stays with the hub."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _login() -> dict[str, str]:
    """Return the header of the user's login on the hub; empty without one."""
    from huggingface_hub import get_token

    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _from_hub(source: WeightsSource) -> Path:
    from huggingface_hub import hf_hub_download

    addresses = dict(zip(source.hub_files, _addresses(source), strict=True))
    file = next(
        (f for f, address in addresses.items() if not _probe_url(address, True)),
        source.hub_files[0],
    )
    path = Path(hf_hub_download(source.hub, file, etag_timeout=PATIENCE_S))
    published = path.resolve().name  # the hub's cache names a large file by its SHA-256
    if re.fullmatch("[0-9a-f]{64}", published):
        _verify(path.resolve(), published, f"{source.hub}/{file}")
    return path


def _from_url(source: WeightsSource) -> Path:
    target = weights_folder() / source.files[0]
    part = target.with_name(f"{target.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    _resume(source.url, part)
    if source.sha256:
        _verify(part, source.sha256, source.url)
    part.replace(target)
    return target


def _resume(url: str, part: Path) -> None:
    """Append to ``part`` what is missing of ``url``; start anew where the server cannot go on."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            resumed = answer.status == 206
            left = int(answer.headers.get("Content-Length") or 0)
            with (
                part.open("ab" if resumed else "wb") as file,
                progress(part.stem, left, "bytes") as advance,
            ):
                n_read = 0
                while block := answer.read(BLOCK):
                    file.write(block)
                    advance(len(block))
                    n_read += len(block)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: all of it is there already
            raise
        return
    if left and n_read < left:
        raise OSError(
            f"the connection broke after {n_read:,} of {left:,} bytes; run it again to go on"
        )


def _verify(path: Path, sha256: str, origin: str) -> None:
    with open_file(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(sha256):
        path.unlink()
        raise WeightsError(
            f"What came from {origin} is not the published file: its SHA-256 is {digest}, not"
            f" {sha256}. It was deleted; fetch it again, and do not use it if it happens twice."
        )


SETTLED_S = 2.0
"""A file changed less than this long ago is not remembered: its time could not tell a further
change.
"""

KEPT = 1000


def remembered_digest(path: Path) -> str:
    """Return the digest of a file; one of known path, size and time of change is not read again.

    Parameters
    ----------
    path : Path
        A file; the index of a file in several parts stands for itself and all of them.

    Returns
    -------
    str
        As :func:`featcache.files.digest_file` gives it.
    """
    if path.name.endswith(INDEX):
        parts = {part.name: remembered_digest(part) for part in index_parts(path)}
        return digest_json({"index": digest_file(path), "parts": parts})
    real = path.resolve()
    status = real.stat()
    entry = f"{real}|{status.st_size}|{status.st_mtime_ns}"
    memo = _read()
    if entry not in memo:
        memo[entry] = digest_file(real)
        if time.time() - status.st_mtime > SETTLED_S:
            _write(memo)
    return memo[entry]


def index_parts(path: Path) -> list[Path]:
    """Return the parts that the index of a safetensors file in several parts lists.

    Parameters
    ----------
    path : Path
        ``model.safetensors.index.json``.

    Returns
    -------
    list[Path]
        Sorted; all beside the index.

    Raises
    ------
    WeightsError
        If it is no such index, or a part is missing.
    """
    try:
        names = sorted(set(json.loads(read_text(path))["weight_map"].values()))
        parts = [path.parent / name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} is no index of a safetensors file in parts: {error!r}. Get it again."
        ) from error
    for name, part in zip(names, parts, strict=True):
        if Path(name).name != name or not name.endswith(".safetensors") or not part.is_file():
            raise WeightsError(
                f"{path} lists the part {name!r}, which is no safetensors file beside it. Get all"
                " parts of the weights."
            )
    return parts


def weights_bytes(path: Path) -> int:
    """Return the size of a weights file, all its parts together.

    Parameters
    ----------
    path : Path
        A file, or the index of one in several parts.

    Returns
    -------
    int, bytes
    """
    parts = index_parts(path) if path.name.endswith(INDEX) else [path]
    return sum(part.stat().st_size for part in parts)


def _file() -> Path:
    return user_cache_path("featcache") / "weights.json"


def _read() -> dict[str, str]:
    try:
        memo = json.loads(read_text(_file()))
    except (OSError, ValueError):
        return {}  # lost or damaged: the files are read again
    good = isinstance(memo, dict) and all(isinstance(value, str) for value in memo.values())
    return memo if good else {}


def _write(memo: dict[str, str]) -> None:
    newest = dict(list(memo.items())[-KEPT:])
    try:
        write_atomic(_file(), json.dumps(newest, indent=1).encode())
    except StoreError:
        return  # a home that cannot be written costs a second reading, nothing else
