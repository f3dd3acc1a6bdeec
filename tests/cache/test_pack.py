"""Feature packs: what is exported is imported, and nothing else."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featcache.cache import FeatureStore, maintenance
from featcache.cache.pack import export_pack, import_pack
from featcache.cache.testing import make_key, make_rows
from featcache.errors import DataError, FeatcacheError, ShardError

Call = Callable[..., Any]
NAME = "efficientnet-lite0"


def any_manifest(name: str, file: Path) -> None:
    if b"label" not in file.read_bytes():
        raise DataError("no manifest")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(tmp_path / "store")
    for i in range(2):
        store.write(make_key(), f"s{i}", make_rows(4, start=4 * i), {})
    return store


@pytest.fixture
def pack(store: FeatureStore, tmp_path: Path) -> Path:
    path = tmp_path / "p.featpack"
    export_pack(store, [make_key()], path, manifests={"toy": b"label\n"}, licence="CC-BY-4.0")
    return path


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_pack_gives_the_same_shards(store: FeatureStore, pack: Path, tmp_path: Path) -> None:
    second = FeatureStore(tmp_path / "other")
    result = import_pack(second, pack, any_manifest)
    assert (result.n_shards, result.n_known, result.licence) == (2, 0, "CC-BY-4.0")
    assert result.manifests == {"toy": b"label\n"}
    for name in ("s0", "s1"):
        paths = [s.shard(make_key(), name) for s in (store, second)]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    again = import_pack(second, pack, any_manifest)
    assert (again.n_shards, again.n_known) == (0, 2)
    assert not list(second.root.glob(".tmp-*"))


def test_the_same_store_gives_the_same_pack(
    store: FeatureStore, pack: Path, tmp_path: Path
) -> None:
    export_pack(
        store, [make_key()], tmp_path / "q", manifests={"toy": b"label\n"}, licence="CC-BY-4.0"
    )
    assert (tmp_path / "q").read_bytes() == pack.read_bytes()
    with tarfile.open(pack) as tar:  # any tar program reads it
        assert tar.getnames()[0] == "pack.json"


def test_a_damaged_shard_is_not_exported(store: FeatureStore, tmp_path: Path) -> None:
    path = store.shard(make_key(), "s0")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ShardError):
        export_pack(store, [make_key()], tmp_path / "q", manifests={}, licence="")
    assert not (tmp_path / "q").exists()


def forge(pack: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> None:
    """Rewrite a pack with changed members, and with digests that fit again."""
    with tarfile.open(pack) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar.getmembers()]  # type: ignore[union-attr]
    change(members)
    about = json.loads(members[0][1])
    about["members"] = [
        {"name": i.name, "n_bytes": len(d), "digest": xxhash.xxh3_128_hexdigest(d)}
        for i, d in members[1:]
    ]
    members[0] = (members[0][0], json.dumps(about).encode())
    with tarfile.open(pack, "w", format=tarfile.USTAR_FORMAT) as tar:
        for info, data in members:
            info.size = len(data) if info.type == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(data))


def rename(name: str) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[-1][0].name = name

    return change


def retype(kind: bytes) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[2][0].type = kind
        members[2][0].linkname = "/etc/passwd"

    return change


def swap(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[1] = (members[1][0], make_key(precision="bf16").json.encode())


def nest(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[1] = (members[1][0], b"[" * 60_000)


def spoil(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    data = bytearray(members[2][1])
    data[data.index(make_rows(4).features.tobytes())] ^= 1
    members[2] = (members[2][0], bytes(data))


def bad_manifest(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[-1] = (members[-1][0], b"nothing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename("../../evil.csv"), "is not allowed"),
        (rename("/tmp/evil.csv"), "is not allowed"),
        (rename("manifests/.hidden.csv"), "is not allowed"),
        (rename("manifests/a/b.csv"), "is not allowed"),
        (retype(tarfile.SYMTYPE), "not a plain file"),
        (retype(tarfile.LNKTYPE), "not a plain file"),
        (retype(tarfile.FIFOTYPE), "not a plain file"),
        (retype(tarfile.GNUTYPE_SPARSE), "not a plain file"),
        (swap, "holds another key"),
        (nest, "nested too deep"),
        (spoil, "is damaged"),
        (bad_manifest, "no manifest"),
    ],
)
def test_a_hostile_pack_is_refused_and_adds_nothing(
    pack: Path, tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    forge(pack, change)
    second = FeatureStore(tmp_path / "other")
    second.write(make_key(), "mine", make_rows(1), {})
    before = snapshot(tmp_path / "other")
    with pytest.raises(DataError, match=message):
        import_pack(second, pack, any_manifest)
    assert snapshot(tmp_path / "other") == before
    assert not (tmp_path / "evil.csv").exists()


def test_what_is_no_pack_is_refused(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s")
    for data in (b"", b"x" * 5000, b"\0" * 2048):
        (tmp_path / "f").write_bytes(data)
        with pytest.raises(DataError):
            import_pack(store, tmp_path / "f", any_manifest)
    with pytest.raises(FeatcacheError, match="cannot be read"):
        import_pack(store, tmp_path / "missing", any_manifest)


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_flipped_byte_in_a_pack_is_found_or_harmless(
    data: st.DataObject, pack: Path, store: FeatureStore, tmp_path: Path
) -> None:
    raw = bytearray(pack.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "bad").write_bytes(raw)
    shutil.rmtree(tmp_path / "other", ignore_errors=True)
    second = FeatureStore(tmp_path / "other")
    try:
        import_pack(second, tmp_path / "bad", any_manifest)
    except DataError:
        assert not list((tmp_path / "other").rglob("*.h5"))
    else:
        assert maintenance.verify(second).damaged == []
        assert (second.read(make_key(), make_rows(4).ids) == make_rows(4).features).all()


def test_export_import_probe(featcache: Call, extracted: tuple[Path, Path], tmp_path: Path) -> None:
    pack, new = tmp_path / "f.pack", tmp_path / "new"
    command = ("cache", "export", "--features", NAME, "--cache", extracted[1])
    ran = featcache(*command, "--pack", pack, "--licence", "CC0", "--json")
    assert ran.json["n_bytes"] == pack.stat().st_size
    assert str(extracted[0]).encode() not in pack.read_bytes()  # no path of this machine
    ran = featcache("cache", "import", pack, "--cache", new)
    assert (ran.code, "CC0" in ran.out) == (0, True)
    probes = [
        featcache("probe", "--features", NAME, "--cache", cache, "--json").json["mAP"]
        for cache in (extracted[1], new)
    ]
    assert probes[0] == probes[1]
    assert featcache(*command).code == 2
