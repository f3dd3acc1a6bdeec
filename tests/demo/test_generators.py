"""The real generators on two crops, and what does not need them."""

from __future__ import annotations

import numpy as np
import pytest

from featcache.demo.generators import GENERATORS, Pixels, make_fakes, to_pixels
from featcache.demo.photographs import SIZE
from featcache.errors import FeatcacheError, ResourceError


def _crops() -> list[Pixels]:
    """Two smooth pictures with edges: what the networks can work on."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    one = np.stack([x, y, (x + y) / 2], axis=2)
    two = np.stack([np.sin(9 * x) ** 2, (x > y) * 0.8, y * (1 - x)], axis=2)
    return [np.asarray(picture * 255).astype(np.uint8) for picture in (one, two)]


def test_unit_values_become_pixels() -> None:
    got = to_pixels(np.array([-1.0, 0.0, 0.5, 1.0, 2.0]), "any")
    assert got.dtype == np.uint8
    assert got.tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ResourceError, match="cyclegan"):
        to_pixels(np.array([0.5, value]), "cyclegan")


def test_the_control_only_blurs() -> None:
    crops = _crops()
    fakes = make_fakes("control-bicubic", crops, crops[::-1], lambda n=1, /: None)
    for crop, fake in zip(crops, fakes, strict=True):
        assert fake.shape == crop.shape
        assert 0 < np.abs(fake.astype(float) - crop).mean() < 4


def test_there_are_five_generators_and_a_control() -> None:
    assert sum(not name.startswith("control-") for name in GENERATORS) == 5
    assert "control-bicubic" in GENERATORS


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in GENERATORS if name != "control-bicubic"])
def test_real_generator(name: str) -> None:
    crops = _crops()
    try:
        first, again = (make_fakes(name, crops, crops[::-1], lambda n=1, /: None) for _ in range(2))
    except FeatcacheError as error:
        pytest.skip(f"the archives cannot be had here: {error}")
    for crop, fake, same in zip(crops, first, again, strict=True):
        assert (fake.shape, fake.dtype) == (crop.shape, np.uint8)
        np.testing.assert_array_equal(fake, same)
        # It draws something, and something else than it was given.
        assert fake.std() > 5
        assert np.abs(fake.astype(float) - crop).mean() > 0.5
