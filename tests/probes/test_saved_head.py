"""Saved heads: what is written is read back to the bit; anything else is refused with a way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from featcache.errors import DataError
from featcache.probes import SavedHead, load_head


def head(**changes: object) -> SavedHead:
    values: dict[str, object] = {
        "weight": np.linspace(-1, 1, 5),
        "bias": 0.1,
        "feature_keys": [{"backbone": "a"}, {"backbone": "b"}],
        "widths": [2, 3],
        "threshold": 0.37,
        "meta": {"C": 0.1, "train": {"generators": ["progan"]}},
    }
    return SavedHead(**{**values, **changes})  # type: ignore[arg-type]


def test_round_trip(tmp_path: Path) -> None:
    for saved in (head(), head(l2=True)):
        read = load_head(saved.save(tmp_path / "h.safetensors"))
        np.testing.assert_array_equal(read.weight, saved.weight)
        assert (read.bias, read.threshold, read.l2) == (0.1, 0.37, saved.l2)
        assert (read.feature_keys, read.widths) == (saved.feature_keys, saved.widths)
        assert read.meta == saved.meta
        rows = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
        np.testing.assert_array_equal(read.logits(rows), saved.logits(rows))


def test_l2_divides_each_feature_by_its_norm() -> None:
    rows = np.array([[3.0, 4.0, 0.0, 0.0, 2.0]])
    expected = np.array([0.6, 0.8, 0.0, 0.0, 1.0]) @ head().weight + 0.1
    assert head(l2=True).logits(rows)[0] == pytest.approx(expected, abs=1e-15)
    np.testing.assert_array_equal(
        rows, [[3.0, 4.0, 0.0, 0.0, 2.0]]
    )  # the caller's rows are left alone


def test_other_widths_are_refused() -> None:
    with pytest.raises(DataError, match="rows of 5 features"):
        head().logits(np.zeros((2, 4)))


def with_metadata(**changes: str) -> bytes:
    """Return a head's file with other texts in its metadata."""
    about = {"format": "featcache-head-1", "widths": "[3]", "threshold": "0.5", "l2": "false"}
    about |= {"feature_keys": "[]", "meta": "{}", "calibration": "null"}
    return save({"weight": np.zeros(3), "bias": np.zeros(1)}, {**about, **changes})


def test_metadata_as_they_should_be_are_read(tmp_path: Path) -> None:
    (tmp_path / "h").write_bytes(with_metadata())
    assert load_head(tmp_path / "h").widths == [3]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no saved head"),
        (b"PK\x03\x04 a pickle", "no saved head"),
        (save({"weight": np.zeros(3), "bias": np.zeros(1)}), "format"),
        (save({"w": np.zeros(3)}, {"format": "featcache-head-1"}), "no saved head"),
        (with_metadata(meta="[" * 100_000), "nested too deep"),
        (with_metadata(meta='{"C": NaN}'), "it holds NaN"),
        (with_metadata(meta="[]"), "metadata are no object"),
        (with_metadata(feature_keys='["clip"]'), "no list of keys"),
        (with_metadata(calibration="[" * 100_000), "nested too deep"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "h.safetensors"
    path.write_bytes(data)
    with pytest.raises(DataError, match=why) as caught:
        load_head(path)
    assert "featcache probe" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"weight": np.array([1.0, np.nan])}, {"widths": [2, 2]}, {"threshold": 1.5}],
)
def test_heads_that_make_no_sense_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(DataError, match="no saved head"):
        load_head(head(**changes).save(tmp_path / "h.safetensors"))


def test_a_missing_head_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_head(tmp_path / "none.safetensors")
