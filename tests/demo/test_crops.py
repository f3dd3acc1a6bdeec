"""Crops and split: pure, even, distinct, never enlarged, and never one photograph on both sides."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

# Whole, and not its names: pytest would take `crops.held_out_photos` for a test of this module.
from featcache.demo import photographs
from featcache.demo.photographs import SIZE, Photo
from featcache.errors import DataError

# Of two scales at least, so that each holds the three crops that are asked for.
SIDES = st.integers(SIZE * 3 // 2, 4 * SIZE)
SIZES = st.lists(st.tuples(SIDES, SIDES), min_size=4, max_size=12).map(
    lambda sizes: {f"photo-{i}": size for i, size in enumerate(sizes)}
)
NAMES = st.sets(st.text("abcdef-", min_size=1, max_size=8), min_size=2, max_size=40)


@given(SIZES)
def test_enough_distinct_crops_spread_evenly(sizes: dict[str, tuple[int, int]]) -> None:
    planned = photographs.plan_crops(sizes, 3 * len(sizes))
    assert len(planned) >= 3 * len(sizes)
    assert len(set(planned)) == len({crop.name for crop in planned}) == len(planned)
    per_photo = Counter(crop.photo for crop in planned)
    assert set(per_photo) == set(sizes)
    assert max(per_photo.values()) - min(per_photo.values()) <= 1


@given(SIZES)
def test_crops_lie_inside_and_are_never_enlarged(sizes: dict[str, tuple[int, int]]) -> None:
    for crop in photographs.plan_crops(sizes, 3 * len(sizes)):
        width, height = sizes[crop.photo]
        assert crop.side >= SIZE
        assert 0 <= crop.left <= width - crop.side
        assert 0 <= crop.top <= height - crop.side


@given(SIZES, st.randoms())
def test_plan_does_not_depend_on_the_order(
    sizes: dict[str, tuple[int, int]], chance: random.Random
) -> None:
    names = list(sizes)
    chance.shuffle(names)
    shuffled = {name: sizes[name] for name in names}
    assert photographs.plan_crops(shuffled, 20) == photographs.plan_crops(sizes, 20)


def test_large_photograph_gives_several_scales() -> None:
    planned = photographs.plan_crops({"large": (4 * SIZE, 4 * SIZE)}, 8)
    assert len({crop.side for crop in planned}) >= 3
    assert 4 * SIZE in {crop.side for crop in planned}


def test_small_photographs_leave_their_share_to_the_others() -> None:
    planned = photographs.plan_crops({"only-one": (SIZE, SIZE), "large": (900, 900)}, 10)
    assert Counter(crop.photo for crop in planned)["only-one"] == 1
    assert len(planned) >= 10


def test_too_few_crops_are_said() -> None:
    with pytest.raises(DataError, match="1 distinct crops"):
        photographs.plan_crops({"only-one": (SIZE, SIZE)}, 2)


def test_no_photographs_are_said() -> None:
    with pytest.raises(DataError):
        photographs.plan_crops({}, 1)


@given(NAMES, st.randoms())
def test_half_is_for_testing_whatever_the_order(names: set[str], chance: random.Random) -> None:
    order = sorted(names)
    held_out = photographs.held_out_photos(order)
    assert held_out < names
    assert len(held_out) == len(names) // 2
    chance.shuffle(order)
    assert photographs.held_out_photos(order) == held_out


def test_cut_gives_the_square_itself_where_nothing_is_scaled() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE + 20, SIZE + 9, 3), dtype=np.uint8)
    photo = Photo("noise", "", Image.fromarray(pixels))
    got = photographs.crop_image(photo, photographs.Crop("noise", 3, 7, SIZE))
    np.testing.assert_array_equal(got, pixels[7 : 7 + SIZE, 3 : 3 + SIZE])


def test_cut_scales_down_with_antialiasing() -> None:
    board = np.indices((2 * SIZE, 2 * SIZE)).sum(0)[..., None] % 2 * np.full(3, 255)
    photo = Photo("board", "", Image.fromarray(board.astype(np.uint8)))
    got = photographs.crop_image(photo, photographs.Crop("board", 0, 0, 2 * SIZE))
    assert got.shape == (SIZE, SIZE, 3)
    # A scaler without a filter would pick all black or all white.
    assert abs(got[8:-8, 8:-8].astype(float) - 127.5).max() < 8
