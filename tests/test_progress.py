"""Progress on standard error that is no terminal: lines with rate, time left, and a note where
there is one.
"""

from __future__ import annotations

import logging

import pytest

from featcache import progress


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
