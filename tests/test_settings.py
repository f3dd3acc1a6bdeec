"""Flags beat variables beat the file beat the defaults; what does not exist is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from featcache import errors
from featcache.settings import load_settings


def test_order_of_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings().C == 1.0
    (tmp_path / "featcache.toml").write_text('C = 2.0\ntrain = ["a"]\ncache = "here"\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert (load_settings().C, load_settings().cache) == (2.0, tmp_path / "here")
    monkeypatch.setenv("FEATCACHE_C", "3.0")
    monkeypatch.setenv("FEATCACHE_TRAIN", "b,c")
    assert (load_settings().C, load_settings().train) == (3.0, ["b", "c"])
    assert load_settings(C=4.0, train=["d"]).train == ["d"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cahce = 'x'", "sets 'cahce', which does not exist. Did you mean 'cache'?"),
        ("C = ", "cannot be read"),
        ("precision = 'fp8'", "precision = 'fp8' is not allowed"),
        ("shard_rows = 5000", "shard_rows = 5000 is not allowed"),
    ],
)
def test_wrong_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    (tmp_path / "featcache.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.SettingsError) as caught:
        load_settings()
    assert message in str(caught.value)


CLASSES = [
    item
    for item in vars(errors).values()
    if isinstance(item, type) and issubclass(item, errors.FeatcacheError)
]


@pytest.mark.parametrize("class_", CLASSES, ids=lambda c: c.__name__)
def test_errors_survive_a_worker_process_and_have_an_exit_code(
    class_: type[errors.FeatcacheError],
) -> None:
    copy = pickle.loads(pickle.dumps(class_("what, where, why")))
    assert (type(copy), str(copy)) == (class_, "what, where, why")
    assert class_.exit_code in {1, 2, 3, 4, 5}
    assert class_.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("address", ["s3://bucket/x", "hf://datasets/a/b", "https://h/x", "gs:/b"])
@pytest.mark.parametrize("name", ["cache", "data"])
@pytest.mark.parametrize("convert", [str, Path])
def test_addresses_are_no_folders(
    address: str, name: str, convert: Callable[[str], str | Path]
) -> None:
    value = convert(address)
    with pytest.raises(errors.SettingsError, match=rf"{name} = .*is an address.*local folders"):
        load_settings(**{name: [value] if name == "data" else value})
    assert load_settings(cache="a:b/c").cache == Path("a:b/c")
