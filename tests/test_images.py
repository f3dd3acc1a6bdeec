"""Pixels against Pillow and torchvision; facts against the encoder that wrote them."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from featcache import images
from featcache.backbones.efficientnet_lite import EFFICIENTNET_LITE0
from featcache.backbones.preprocess import choose_preset
from featcache.errors import ImageError, UnknownNameError
from featcache.images import (
    center_crop,
    convert_to_rgb,
    decode,
    read_metadata,
    resize_shorter_side,
)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "1", "CMYK"])
def test_decoding_is_pillows_convert(mode: str) -> None:
    data = encoded(noise(31, 17, mode), "TIFF" if mode == "CMYK" else "PNG")
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(expected))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    pixels = np.asarray(decode(encoded(Image.fromarray(deep), "PNG")))
    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bits_keep_their_orientation() -> None:
    deep = Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    turned = images.apply_orientation(decode(encoded(deep, "PNG", exif=exif)))
    plain = np.asarray(decode(encoded(deep, "PNG")))
    np.testing.assert_array_equal(np.asarray(turned), np.rot90(plain, -1))


def test_arrays_of_sixteen_bits_are_scaled_like_files() -> None:
    deep = Image.fromarray(np.random.default_rng(1).integers(0, 65536, (9, 7)).astype(np.uint16))
    np.testing.assert_array_equal(
        np.asarray(convert_to_rgb(deep)), np.asarray(decode(encoded(deep, "PNG")))
    )


@pytest.mark.parametrize("kind", ["ICO", "TGA", "MPO", "BMP", "TIFF", "PNG"])
def test_formats_with_a_magic_number_are_tried_first(kind: str) -> None:
    facts = read_metadata(encoded(noise(32, 32), kind))
    assert facts.format == ("JPEG" if kind == "MPO" else kind)


@pytest.mark.parametrize(
    ("kind", "module", "named"),
    [("HEIF", "pillow_heif", "HEIF"), ("JXL", "pillow_jxl", "JPEG XL")],
)
def test_formats_of_an_extra_are_read_or_the_extra_is_named(
    kind: str, module: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(module)
    images._formats()
    data = encoded(noise(40, 24), kind)
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(expected))
    assert read_metadata(data).format == kind
    without = tuple(name for name in images._formats() if name != kind)
    monkeypatch.setattr(images, "_formats", lambda: without)
    with pytest.raises(ImageError, match=rf"{named} needs a plug-in: .*featcache\[formats\]"):
        decode(data)


def test_scans_are_counted_up_to_the_end_of_the_image() -> None:
    photo = encoded(noise(64, 48), "JPEG", progressive=True)
    film = b"\xff\xda" * 5000  # what follows the image in the file of a motion photo
    np.testing.assert_array_equal(np.asarray(decode(photo + film)), np.asarray(decode(photo)))
    n_scans = images._count_scans(photo)
    assert n_scans == images._count_scans(photo + film) > 1
    start = photo.index(b"\xff\xda")
    last = photo.rindex(b"\xff\xda")
    bomb = photo[:start] + photo[last:-2] * 300 + photo[-2:]
    with pytest.raises(ImageError, match="more than 200 passes"):
        decode(bomb)


def test_libtiff_does_not_write_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encoded(noise(64, 64), "TIFF", compression="jpeg"))
    for position in range(300, 1500):
        data[position] = position * 7 % 256
    with contextlib.suppress(ImageError):
        decode(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_floats_are_refused() -> None:
    with pytest.raises(ImageError, match="no known range"):
        decode(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=200)
def test_damaged_bytes_give_an_image_or_a_reason(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = rng.choice(["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
    data = bytearray(encoded(noise(20, 20), str(kind)))
    for position in rng.integers(0, len(data), 5):
        data[position] = rng.integers(256)
    with contextlib.suppress(ImageError):  # a reason is as good; any other exception fails the test
        assert decode(bytes(data)).mode == "RGB"


@pytest.mark.parametrize("quality", [5, 30, 49, 50, 75, 90, 95, 100])
def test_jpeg_quality_is_read_from_the_tables(quality: int) -> None:
    facts = read_metadata(encoded(noise(40, 30), "JPEG", quality=quality))
    assert (facts.format, facts.mode, facts.width, facts.height) == ("JPEG", "RGB", 40, 30)
    assert facts.jpeg_quality == quality


@given(width=st.integers(1, 400), height=st.integers(1, 400))
@settings(deadline=None, max_examples=40)
def test_crop_and_resize_equal_torchvisions(width: int, height: int) -> None:
    image = noise(width, height)
    crop = transforms.CenterCrop(224)(image)
    np.testing.assert_array_equal(np.asarray(center_crop(image, 224)), np.asarray(crop))
    if max(width, height) / min(width, height) < 20:
        bicubic = transforms.InterpolationMode.BICUBIC
        resized = transforms.Resize(64, bicubic, antialias=True)(image)
        own = resize_shorter_side(image, 64, "bicubic")
        np.testing.assert_array_equal(np.asarray(own), np.asarray(resized))


def test_presets_differ_in_the_key() -> None:
    native = EFFICIENTNET_LITE0.native
    keys = {str(choose_preset(name, native).to_key()) for name in ("univfd", "native", "resize")}
    assert len(keys) == 3
    with pytest.raises(UnknownNameError, match="Known: native, resize, univfd"):
        choose_preset("other", native)
