"""A settings file that comes with a folder cannot run code or leave its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featcache.errors import SettingsError
from featcache.settings import load_settings
from featcache.trust import is_trusted, trust


@pytest.mark.parametrize(
    "text",
    [
        'engine = "ray"',
        'address = "ray://evil:10001"',
        'cache = "/somewhere/else"',
        'cache = "../outside"',
        '[weights]\nclip = "/etc/passwd"',
    ],
)
def test_an_untrusted_file_may_not_name_clusters_or_places_outside(text: str) -> None:
    Path("featcache.toml").write_text(text)
    with pytest.raises(SettingsError, match="featcache trust"):
        load_settings()
    trust(Path("featcache.toml"))
    load_settings()


def test_what_is_harmless_needs_no_trust() -> None:
    Path("featcache.toml").write_text(
        'cache = "features"\nengine = "local"\nC = 2.0\ndata = ["/data/images"]\n'
        '[weights]\nclip = "weights/clip.pt"\n'
    )
    assert load_settings().C == 2.0


def test_trust_ends_when_the_file_changes() -> None:
    path = Path("featcache.toml")
    path.write_text('cache = "/a"')
    trust(path)
    assert is_trusted(path)
    path.write_text('cache = "/b"')
    assert not is_trusted(path)
    with pytest.raises(SettingsError, match="you have not trusted this file"):
        load_settings()


def test_a_link_out_of_the_folder_is_outside(tmp_path: Path) -> None:
    Path("features").symlink_to(tmp_path)
    Path("featcache.toml").write_text('cache = "features"')
    with pytest.raises(SettingsError, match="sets cache"):
        load_settings()


def test_config_names_the_source_of_every_setting(
    featcache: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("featcache.toml").write_text("C = 2.0")
    monkeypatch.setenv("FEATCACHE_PRESET", "native")
    rows = {row["setting"]: row for row in featcache("config", "--json").json["settings"]}
    assert rows["C"]["source"].endswith("featcache.toml")
    assert rows["preset"] == {
        "setting": "preset", "value": "native", "source": "FEATCACHE_PRESET"
    }  # fmt: skip
    assert rows["device"]["source"] == "default"
    ran = featcache("config")
    assert ran.code == 0
    assert "featcache.toml" in ran.out


def test_the_command_trusts_the_file_that_holds_here(featcache: Callable[..., Any]) -> None:
    Path("featcache.toml").write_text('cache = "/a"')
    assert featcache("config").code == 2
    assert featcache("trust").code == 0
    assert featcache("config").code == 0
