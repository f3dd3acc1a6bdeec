"""Progress on standard error that is no terminal: lines with rate, time left, and a note where
there is one.
"""

from __future__ import annotations

import io
import logging
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from featcache import progress
from featcache.cli import _output
from featcache.cli.app import app
from featcache.datasets import Manifest

Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def every_step_is_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)
    caplog.set_level(logging.INFO, logger="featcache")


def test_a_line_says_how_far_how_fast_and_the_note(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress("clip", 4, note=lambda: "cpu: forward 90 %") as advance:
        advance(3)
    err = capsys.readouterr().err
    assert err.startswith("clip: 3/4 images, ")
    assert err.rstrip().endswith("s left; cpu: forward 90 %")


def test_without_a_note_the_line_ends_with_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track([1, 2], "scan", 2, "files")) == [1, 2]
    assert capsys.readouterr().err.rstrip().endswith("s left")


def test_quiet_is_silent(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="featcache")
    with progress.progress("clip", 4) as advance:
        advance(4)
    assert not capsys.readouterr().err


def test_before_the_first_item_a_line_has_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress("fit", 3, "heads") as advance:
        advance(0, "iteration 0, proven gap 2.0e-01")
    assert capsys.readouterr().err == "fit: 0/3 heads; iteration 0, proven gap 2.0e-01\n"


def test_probe_names_every_step_and_the_gap(featcache: Call, toy: tuple[Manifest, Path]) -> None:
    _, store = toy
    ran = featcache("probe", "--features", "a,b", "--cache", store, "--results", store.parent / "r")
    assert ran.code == 0, ran.err
    steps = [
        line.partition(":")[0] for line in ran.err.splitlines() if re.search(r": \d+/\d+ ", line)
    ]
    assert list(dict.fromkeys(steps)) == [
        "read training features", "learn scaling", "scale features", "fit", "predict",
        "read test features (clean)",
    ]  # fmt: skip
    gaps = [float(gap) for gap in re.findall(r"^fit: .*proven gap (\S+)$", ran.err, re.MULTILINE)]
    assert len(gaps) > 2
    assert gaps[-1] < 1e-3 < gaps[0]
    quiet = featcache("probe", "--features", "a", "--cache", store, "--results", store.parent, "-q")
    assert quiet.code == 0
    assert "fit" not in quiet.err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_bars_of_long_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(progress, "BAR_AFTER_S", 0.2)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.progress("short", 4) as advance:
        advance(4)
    assert not terminal.getvalue()
    with progress.progress("long", 4, "runs") as advance:
        for _ in progress.track(
            range(2), "inner", 2, "heads"
        ):  # a step inside a step: a line below
            time.sleep(0.4)
        advance(4, "all well")
    shown = terminal.getvalue()
    assert "inner" in shown
    last = shown.rpartition("long")[2]
    assert "4/4" in last
    assert "all well" in last


@pytest.mark.parametrize(
    ("command", "kept"), [("probe", "This result is kept if"), ("extract", "What was finished is")]
)
def test_an_interrupt_says_what_is_kept(
    command: str, kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [command, "--features", "a"]
    assert _output.report(KeyboardInterrupt(), get_command(app), arguments) == 130
    assert kept in capsys.readouterr().err


def test_passes_and_their_bytes_are_in_the_result(
    featcache: Call, toy: tuple[Manifest, Path]
) -> None:
    _, store = toy
    flags = ["--features", "a,c", "--cache", store, "--results", store.parent / "s", "--json"]
    ran = featcache("probe", *flags, "--verbose")
    assert ran.code == 0, ran.err
    passes = ran.json["passes"]
    n_train, n_test, columns = 240, 240, 12 + 8
    read = {"n": 1, "n_bytes": 4 * n_train * columns}
    assert passes["read training features"] == passes["learn scaling"] == read
    assert passes["read test features (clean)"]["n_bytes"] == 4 * n_test * columns
    # Few features are solved in float64; every product reads all of them.
    products = passes["products of the fit"]
    assert products["n"] >= 2 * ran.json["certificate"]["n_iter"]
    assert products["n_bytes"] == products["n"] * 8 * n_train * columns
    assert f"Passes: products of the fit: {products['n']}, " in ran.err
    assert "Passes" not in featcache("probe", *flags).err
