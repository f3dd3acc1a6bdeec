"""Where weights are looked for: in order, offline first, quickly when there is nothing; fetching
goes on and verifies.
"""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from featcache.backbones import BACKBONES, build_network, describe_all, hub, resolve, weights
from featcache.backbones.hub import WeightsSource, remembered_digest
from featcache.backbones.weights import find, locate, parse_weights
from featcache.errors import ResourceError, SettingsError, WeightsError
from featcache.trust import trust

PUBLISHED = [name for name in BACKBONES.names() if not name.startswith("efficientnet")]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home: no caches of this machine."""
    folder = tmp_path / "home"
    for name, value in {"HOME": folder, "XDG_CACHE_HOME": folder / ".cache"}.items():
        monkeypatch.setenv(name, str(value))
    for name in ("TORCH_HOME", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
    hub._probe_url.cache_clear()
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every use of the network fails, and is counted."""
    calls: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> Any:
        calls.append(arguments)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return calls


@pytest.mark.parametrize("name", PUBLISHED)
def test_without_weights_and_network_the_message_says_where_from_at_once(
    name: str, no_network: list[Any], home: Path
) -> None:
    start = time.perf_counter()
    with pytest.raises(WeightsError) as caught:
        resolve(name).find_weights()
    assert time.perf_counter() - start < 3
    spec, message = resolve(name), str(caught.value)
    assert spec.weights is not None
    assert spec.page.split(" ")[0] in message
    assert str(home / ".cache/torch/hub/checkpoints" / spec.weights.files[0]) in message
    assert f"--weights {name}={spec.weights.files[0]}" in message
    assert ("backbones fetch" in message) == spec.weights.can_fetch


def test_a_network_that_never_answers_costs_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}/x.pth"
        start = time.perf_counter()
        assert "no answer" in hub.unreachable(
            WeightsSource(files=("x.pth",), page="p", url=address)
        )
        hub.unreachable(WeightsSource(files=("x.pth",), page="p", url=address))
        assert time.perf_counter() - start < 3


def test_listing_asks_no_network(no_network: list[Any]) -> None:
    states = {row["name"]: row["weights"] for row in describe_all()}
    assert states["clip-vit-b16"] == states["synclr-vit-b16"] == "missing"
    assert states["efficientnet-lite0"] == "found"
    assert no_network == []


def test_the_order_of_the_places(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[Any]
) -> None:
    def file(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        return path

    def result() -> Path:
        return resolve("dinov2", weights=flags).find_weights()

    flags: dict[str, Path] = {}
    places = [
        file(
            home
            / "hub/models--timm--vit_base_patch14_dinov2.lvd142m/snapshots/abc/model.safetensors"
        ),
        file(home / ".cache/torch/hub/checkpoints/dinov2_vitb14_pretrain.pth"),
        file(weights.weights_folder() / "dinov2_vitb14_pretrain.pth"),
        file(tmp_path / "folder/dinov2.pth"),
        file(tmp_path / "named.pth"),
        file(tmp_path / "in_toml.pth"),
        file(tmp_path / "flag.pth"),
    ]
    refs = home / "hub/models--timm--vit_base_patch14_dinov2.lvd142m/refs/main"
    file(refs).write_text("abc")
    for path in places[2:0:-1]:
        assert result() == path
        path.unlink()
    assert result() == places[0]
    monkeypatch.setenv("FEATCACHE_WEIGHTS", str(tmp_path / "folder"))
    assert result() == places[3]
    monkeypatch.setenv("FEATCACHE_WEIGHTS", f"{tmp_path / 'folder'},dinov2={places[4]}")
    assert result() == places[4]
    (tmp_path / "cwd/featcache.toml").write_text('[weights]\ndinov2 = "../in_toml.pth"\n')
    trust(tmp_path / "cwd/featcache.toml")  # it names a file outside its folder
    assert result().resolve() == places[5]
    flags = {"dinov2-vit-b14": places[6]}
    assert result() == places[6]
    assert no_network == []


def test_a_named_file_that_is_not_there_is_never_replaced_by_another(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"synclr-vit-b16 are to be .*nowhere\.pth \(--weights\)"
    ):
        resolve("synclr", weights={"synclr": tmp_path / "nowhere.pth"}).find_weights()


@pytest.mark.parametrize(
    ("values", "names", "phrases"),
    [
        (["a.pth"], ["clip", "synclr"], "does not say for which of clip-vit-b16, synclr-vit-b16"),
        (["dinov2=a.pth"], ["clip"], "dinov2 is not among the backbones clip-vit-b16"),
    ],
)
def test_weights_for_nobody(values: list[str], names: list[str], phrases: str) -> None:
    with pytest.raises(SettingsError, match=phrases):
        parse_weights(values, names)


def test_one_file_serves_all_taps_of_its_backbone() -> None:
    assert parse_weights(["a.pth"], ["clip", "clip@layer3"]) == {"clip-vit-b16": Path("a.pth")}


def test_digests_are_remembered_by_path_size_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from featcache.backbones import hub as digests

    reads: list[Path] = []
    digest_file = digests.digest_file

    def counted(path: Path) -> str:
        reads.append(path)
        return digest_file(path)

    monkeypatch.setattr(digests, "digest_file", counted)
    path = tmp_path / "weights.pth"
    path.write_bytes(b"one")
    fresh = remembered_digest(path)
    assert remembered_digest(path) == fresh
    assert len(reads) == 2  # changed a moment ago: its time cannot be trusted yet
    os.utime(path, (1e9, 1e9))
    assert [remembered_digest(path) for _ in range(3)] == [fresh] * 3
    assert len(reads) == 3
    path.write_bytes(b"two")
    assert remembered_digest(path) != fresh
    digests._file().write_text("no json")
    os.utime(path, (1e9, 1e9))
    assert remembered_digest(path) == digest_file(path)


BODY = bytes(range(256)) * 4096
Server = tuple[str, list[str | None]]


@pytest.fixture
def server() -> Iterator[Server]:
    """Serves BODY, with ranges; the first answer breaks off in the middle."""
    ranges: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            expected = self.headers.get("Range")
            ranges.append(expected)
            start = int(expected.split("=")[1].rstrip("-")) if expected else 0
            self.send_response(206 if expected else 200)
            self.send_header("Content-Length", str(len(BODY) - start))
            self.end_headers()
            end = len(BODY) // 2 if len(ranges) == 1 else len(BODY)
            self.wfile.write(BODY[start:end])

        def log_message(self, *arguments: Any) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{web.server_port}/net.pth", ranges
    web.shutdown()
    web.server_close()


def test_a_fetch_goes_on_where_it_stopped_and_verifies(server: Server) -> None:
    url, ranges = server
    digest = hashlib.sha256(BODY).hexdigest()
    source = WeightsSource(files=("net.pth",), page="p", url=url, sha256=digest[:8])
    with pytest.raises(WeightsError, match="run it again to go on"):
        find("net", source)
    assert locate("net", source) is None  # half a file is no file
    path = find("net", source)
    assert path.read_bytes() == BODY
    assert ranges == [None, f"bytes={len(BODY) // 2}-"]
    assert find("net", source) == path
    assert len(ranges) == 2


def test_a_fetched_file_that_is_not_the_published_one_is_deleted(server: Server) -> None:
    url, ranges = server
    ranges.append(None)  # no broken answer here
    source = WeightsSource(files=("net.pth",), page="p", url=url, sha256="0" * 64)
    with pytest.raises(WeightsError, match="is not the published file"):
        find("net", source)
    assert list(weights.weights_folder().iterdir()) == []


def test_show_names_file_page_and_places(
    featcache: Callable[..., Any], no_network: list[Any]
) -> None:
    ran = featcache("backbones", "show", "synclr@layer3", "--json")
    facts = ran.json
    assert facts["name"] == "synclr-vit-b16@layer3"
    assert (facts["weights"], facts["file"], facts["fetch"]) == ("missing", None, False)
    assert facts["published_as"] == ["synclr_vit_b_16.pth"]
    assert "syn-rep-learn" in facts["page"]
    assert any("torch.hub's cache" in place for place in facts["looked_at"])
    assert no_network == []


def test_fetch_of_what_only_a_person_can_get_says_so(featcache: Callable[..., Any]) -> None:
    ran = featcache("backbones", "fetch", "stablerep")
    assert ran.code == 5
    assert "only a person can get them" in ran.err
    assert "laion_stablerep_pp_50m.pth" in ran.err


@pytest.fixture
def gated(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub whose repository asks to log in, and that sends the file from another host."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            login = self.headers.get("Authorization", "")
            seen.append(login)
            self.send_response(302 if login else 401)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{web.server_port}/{{}}/{{}}"
    monkeypatch.setattr("huggingface_hub.hf_hub_url", address.format)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    hub._probe_url.cache_clear()
    yield seen
    web.shutdown()
    web.server_close()


def test_a_gated_repository_says_how_to_get_access(
    gated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resolve("dinov3-vit-s16").weights
    assert source is not None
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "accept a licence, do so there and run 'hf auth login'" in hub.unreachable(source)
    hub._probe_url.cache_clear()
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "secret")
    assert hub.unreachable(source) == ""
    assert gated[-1] == "Bearer secret"


def test_a_network_larger_than_the_memory_is_refused_before_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = resolve("dinov3-vit-7b16", random_init=0)
    monkeypatch.setattr("featcache.backbones.modules.available_memory", lambda: 8 * 10**9)
    with pytest.raises(
        ResourceError, match=r"takes 26.9 GB to load, and 8.0 GB of memory are free"
    ):
        build_network([spec])
