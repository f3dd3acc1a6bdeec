"""Suggested commands can be copied, and a settings file found above is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from featcache.cli._output import complete_commands
from featcache.cli.app import app

Call = Callable[..., Any]
ROOT = get_command(app)


@pytest.mark.parametrize(
    ("arguments", "completed"),
    [
        ([], "Run 'featcache extract --backbone clip --data FOLDER'."),
        (
            ["probe", "--cache", "my store", "--data=d"],
            "Run 'featcache extract --backbone clip --data d --cache 'my store''.",
        ),
        (["probe", "--cache"], "Run 'featcache extract --backbone clip --data FOLDER'."),
    ],
)
def test_suggested_commands_repeat_the_users_flags(arguments: list[str], completed: str) -> None:
    text = "Run 'featcache extract --backbone clip --data FOLDER'."
    assert complete_commands(text, ROOT, arguments) == completed


def test_flags_that_a_command_lacks_are_not_added() -> None:
    text = "Run 'featcache trust', or 'featcache cache verify --repair'."
    assert complete_commands(text, ROOT, ["probe", "--cache", "s", "--data", "d"]) == (
        "Run 'featcache trust', or 'featcache cache verify --repair --cache s'."
    )


def test_missing_features_suggest_a_command_that_runs(
    featcache: Call, tree: Path, tmp_path: Path
) -> None:
    store = tmp_path / "my store"
    assert featcache("datasets", "scan", tree, "--cache", store).code == 0
    ran = featcache("probe", "--features", "clip", "--cache", store, "--data", tree)
    assert ran.code == 4
    assert f"--data {tree}" in ran.err
    assert f"--cache '{store}'" in ran.err


def test_a_settings_file_found_above_is_named(
    featcache: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "featcache.toml").write_text('train = ["progan"]\n')
    here = tmp_path / "deep" / "er"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    ran = featcache("probe", "--features", "clip")
    assert ran.code != 0
    assert f"(Settings were read from {tmp_path / 'featcache.toml'}.)" in ran.err
    monkeypatch.chdir(tmp_path)
    assert "Settings were read" not in featcache("probe", "--features", "clip").err


@pytest.mark.parametrize("name", ["probe", "extract", "ablate", "transfer"])
def test_help_begins_with_the_common_flags_and_names_what_they_take(
    featcache: Call, name: str
) -> None:
    text = featcache(name, "--help").out
    first = text.partition("Options:")[2].partition("\n\n")[0]
    flags = [line for line in first.splitlines() if line.startswith("  -")]
    assert 5 <= len(flags) <= 10, flags
    assert "<str>" not in text
    assert "<int" not in text
    assert all(heading in text for heading in ("Which images:", "Output:"))


def test_features_can_stand_without_a_flag_and_tests_can_be_named(
    featcache: Call, toy: tuple[Any, Path]
) -> None:
    _, store = toy
    place = ["--cache", store]
    plain = featcache("probe", "--features", "a,b", *place, "--json", "--seed", 0)
    assert plain.code == 0, plain.err
    bare = featcache("probe", "a,b", *place, "--json")
    assert bare.json["generators"] == plain.json["generators"]
    one = featcache("probe", "--model", "a,b", "--test", "adm", *place, "--json")
    assert list(one.json["generators"]) == ["adm"]
    assert one.json["generators"]["adm"]["ap"] == plain.json["generators"]["adm"]["ap"]
    wrong = featcache("probe", "a", "--test", "admm", *place)
    assert wrong.code == 2
    assert "adm" in wrong.err


def test_a_penalty_that_a_head_ignores_is_said(featcache: Call, toy: tuple[Any, Path]) -> None:
    _, store = toy
    ran = featcache("probe", "a", "--cache", store, "--head", "knn", "--C", "0.1,1", "--json")
    assert "--C is ignored: the head knn has no C." in ran.err
    fitted = featcache("probe", "a", "--cache", store, "--C", "0.1", "--json")
    assert "ignored" not in fitted.err
