"""Views: to the byte as independent references, and the same whatever the order and the workers."""

from __future__ import annotations

import hashlib
import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage

from featcache.errors import ImageError, SettingsError, UnknownNameError
from featcache.testing import make_images
from featcache.views import CLEAN, STEPS, View, describe_steps, parse_views

ID = "0123456789abcdef0123456789abcdef"


def photo(width: int = 301, height: int = 263, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return noise.filter(ImageFilter.GaussianBlur(2))


def one(text: str, **options: Any) -> View:
    (view,) = parse_views(text, **options)
    return view


def pixels(view: str, image: Image.Image, name: str = ID) -> np.ndarray:
    return np.asarray(one(view)(image, name))


def test_clean_is_the_image_and_keeps_its_key() -> None:
    image = photo()
    assert one("clean")(image, ID) is image
    assert CLEAN.to_key() == {"name": "clean", "steps": []}


@pytest.mark.parametrize("quality", [1, 30, 65, 90, 100])
def test_jpeg_is_pillows_file(quality: int) -> None:
    buffer = io.BytesIO()
    photo().save(buffer, "JPEG", quality=quality)
    expected = np.asarray(Image.open(buffer))
    np.testing.assert_array_equal(pixels(f"jpeg:{quality}", photo()), expected)


def test_jpeg2_is_jpeg_twice_and_webp_is_pillows() -> None:
    np.testing.assert_array_equal(
        pixels("jpeg2:80-60", photo()), pixels("jpeg:80+jpeg:60", photo())
    )
    buffer = io.BytesIO()
    photo().save(buffer, "WEBP", quality=70)
    np.testing.assert_array_equal(
        pixels("webp:70", photo()), np.asarray(Image.open(buffer).convert("RGB"))
    )


@pytest.mark.parametrize("sigma", [0.5, 1, 2.75])
def test_blur_is_scipys_on_each_channel_in_8_bits(sigma: float) -> None:
    image = np.asarray(photo())
    expected = np.stack([ndimage.gaussian_filter(image[..., c], sigma) for c in range(3)], axis=-1)
    np.testing.assert_array_equal(pixels(f"blur:{sigma}", photo()), expected)


def test_noise_is_white_of_its_sigma_and_independent_over_samples_draws_and_places() -> None:
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    first, another = (pixels("noise:10", grey, name).astype(float) - 128 for name in ("a", "b"))
    drawn = pixels("noise:10#1", grey, "a").astype(float) - 128
    assert first.std() == pytest.approx(10, rel=0.02)
    assert abs(first.mean()) < 0.15
    for second in (another, drawn):
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    twice = pixels("noise:10+noise:10", grey, "a").astype(float) - 128
    assert twice.std() == pytest.approx(10 * np.sqrt(2), rel=0.02)


def test_geometry_follows_torchvision() -> None:
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is missing")
    functional = transforms.functional
    for size in ((301, 263), (224, 500), (240, 230)):
        image = photo(*size)
        crops = transforms.TenCrop(224)(image)
        for view, crop in zip(parse_views("tencrop"), crops, strict=True):
            np.testing.assert_array_equal(np.asarray(view(image, ID)), np.asarray(crop))
        np.testing.assert_array_equal(
            pixels("short:256", image), np.asarray(functional.resize(image, 256))
        )
        np.testing.assert_array_equal(
            pixels("square:256", image), np.asarray(functional.resize(image, [256, 256]))
        )
        np.testing.assert_array_equal(pixels("flip", image), np.asarray(functional.hflip(image)))


def test_small_images_are_padded_by_tencrop_and_scaled_by_match() -> None:
    small = photo(100, 150)
    crops = [np.asarray(view(small, ID)) for view in parse_views("tencrop")]
    assert {crop.shape for crop in crops} == {(224, 224, 3)}
    np.testing.assert_array_equal(crops[4][37 : 37 + 150, 62 : 62 + 100], np.asarray(small))
    assert pixels("match", small).shape == (224, 224, 3)
    assert pixels("match", small).min(axis=(0, 2)).max() > 0  # no black border


def test_scale_and_crop() -> None:
    assert one("resize:0.5")(photo(301, 263), ID).size == (150, 132)
    assert one("resize:0.01")(photo(20, 30), ID).size == (1, 1)
    image = photo(200, 100)
    np.testing.assert_array_equal(pixels("crop:0.5", image), np.asarray(image)[25:75, 50:150])


def reference_augmentation(image: Image.Image, view: View) -> np.ndarray:
    """UnivFD's order, written anew from its description, with the view's own random numbers."""
    step = view.steps[0]
    label = f"{step.seed}/{ID}/{step.draw}/0".encode()
    message = np.frombuffer(hashlib.blake2b(label, digest_size=16).digest(), dtype="<u4")
    blurs, sigma, encodes, quality, top, left, flips = np.random.RandomState(message).random_sample(
        7
    )
    functional = pytest.importorskip("torchvision.transforms.functional")
    array = np.array(functional.resize(image, 256))
    if blurs < 0.5:
        for c in range(3):
            array[..., c] = ndimage.gaussian_filter(array[..., c], sigma=3 * sigma)
    if encodes < 0.5:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, format="jpeg", quality=int(30 + np.floor(71 * quality)))
        array = np.array(Image.open(buffer))
    y, x = (int(np.floor(u * (n - 223))) for u, n in zip((top, left), array.shape, strict=False))
    array = array[y : y + 224, x : x + 224]
    return array[:, ::-1] if flips < 0.5 else array


def test_univfd_train_is_resize_blur_jpeg_crop_flip() -> None:
    image = photo(340, 300)
    results = []
    for view in parse_views("univfd-train:24"):
        results.append(np.asarray(view(image, ID)))
        np.testing.assert_array_equal(results[-1], reference_augmentation(image, view))
    assert len({result.tobytes() for result in results}) == 24


def test_univfd_train_draws_are_spread_as_they_should_be() -> None:
    """One edge between two greys: whether and where it was moved, blurred, coded can be seen."""
    greys = np.where(np.arange(256) < 131, 60, 200).astype(np.uint8)
    image = Image.fromarray(np.tile(greys[None, :, None], (256, 1, 3)))
    made = [np.asarray(view(image, ID))[112, :, 0] for view in parse_views("univfd-train:400")]
    flipped = np.mean([row[0] > row[-1] for row in made])
    untouched = np.mean([set(row.tolist()) == {60, 200} for row in made])
    edges = [int(np.argmax((row > 130) != (row[0] > 130))) for row in made]
    assert flipped == pytest.approx(0.5, abs=0.08)
    assert untouched == pytest.approx(0.27, abs=0.07)  # a quarter, and the faintest of the blurs
    assert min(edges) <= 100
    assert max(edges) >= 124


def test_opencvs_jpeg_is_pillows_for_every_quality_that_univfd_draws() -> None:
    cv2 = pytest.importorskip(
        "cv2", reason="OpenCV is not installed; it is only the reference here"
    )
    image = np.asarray(photo(123, 91))
    for quality in range(30, 101):
        encoded = cv2.imencode(".jpg", image[:, :, ::-1], [int(cv2.IMWRITE_JPEG_QUALITY), quality])[
            1
        ]
        decoded = cv2.imdecode(encoded, 1)[:, :, ::-1]
        np.testing.assert_array_equal(pixels(f"jpeg:{quality}", photo(123, 91)), decoded)


def test_match_leaves_one_size_and_one_codec() -> None:
    sizes = [(640, 480), (224, 224), (100, 400)]
    assert {one("match")(photo(*size), ID).size for size in sizes} == {(224, 224)}
    assert one("match").codec == ("JPEG", 90)
    assert one("match:75-128").codec == ("JPEG", 75)
    assert one("jpeg:90+blur:1").codec == ("JPEG", 90)
    assert one("blur:1").codec is None


ALL = (
    "jpeg:75,webp:60,blur:1.5,resize:0.7,crop:0.8,noise:4,jpeg2:90-70,match,"
    "univfd-train:3,univfd-val:2,tencrop"
)


def test_the_same_bytes_whatever_the_order_and_the_workers() -> None:
    images = [image.resize((280, 260)) for image in make_images(4, seed=3)]
    work = [(view, image, f"id{i}") for view in parse_views(ALL) for i, image in enumerate(images)]
    alone = [view(image, name).tobytes() for view, image, name in work]
    np.random.seed(7)  # the global state must not matter
    with ThreadPoolExecutor(4) as pool:
        backwards = list(pool.map(lambda job: job[0](job[1], job[2]).tobytes(), reversed(work)))
    assert backwards[::-1] == alone
    copies = [pickle.loads(pickle.dumps(view)) for view, _, _ in work]
    assert [copy(w[1], w[2]).tobytes() for copy, w in zip(copies, work, strict=True)] == alone


def test_random_views_are_pinned() -> None:
    """These digests may never change: features were cached under them."""
    ramp = np.add.outer(np.arange(300), np.arange(260)).astype(np.uint8)
    image = Image.fromarray(np.stack([ramp] * 3, axis=-1))
    outcome = {
        view.name: hashlib.sha256(view(image, ID).tobytes()).hexdigest()[:12]
        for view in parse_views("noise:8,noise:8#1")
    }
    assert outcome == {"noise:8": PIN_0, "noise:8#1": PIN_1}


PIN_0, PIN_1 = "ccf643398ac7", "64ac6ec175e6"


def test_keys_say_what_fixes_the_bytes() -> None:
    assert one("blur:1.0+jpeg:90").to_key() == {
        "name": "blur:1+jpeg:90",
        "steps": [
            {"step": "blur", "sigma": 1.0, "filter": "scipy.gaussian_filter", "truncate": 4.0,
             "border": "reflect", "bits": 8},
            {"step": "jpeg", "quality": 90, "subsampling": "4:2:0"},
        ],
    }  # fmt: skip
    assert one("noise:5", seed=3).to_key()["steps"][0] == {
        "step": "noise", "sigma": 5.0, "draw": 0, "seed": 3,
    }  # fmt: skip
    replicates = [view.to_key()["steps"][0]["draw"] for view in parse_views("univfd-train:3")]
    assert replicates == [0, 1, 2]


def test_names() -> None:
    names = [view.name for view in parse_views("clean,univfd-train:2, tencrop+jpeg:90 ,clean")]
    assert names == ["clean", "univfd-train#0", "univfd-train#1"] + [
        f"tencrop:224#{i}+jpeg:90" for i in range(10)
    ]
    assert parse_views(["clean", "blur:1,blur:2"])[2] == one("blur:2.0")
    assert one("univfd-train#7") == parse_views("univfd-train:8")[7]
    assert one("univfd-train:8#7") == one("univfd-train#7")
    for view in parse_views(ALL):
        assert one(view.name) == view


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jpeg", "whole number from 1 to 100"),
        ("jpeg:0", "whole number from 1 to 100"),
        ("jpeg:90.5", "whole number"),
        ("jpeg:x", "Usage: jpeg:QUALITY"),
        ("jpeg:90-80", "too many numbers"),
        ("blur:nan", "a number from 0.0"),
        ("blur:1#2", "not random"),
        ("tencrop#10", "#0 to #9"),
        ("univfd-train:0", "from 1 to 1000"),
        ("", "No view was named"),
    ],
)
def test_wrong_views_say_what_is_right(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_views(text)


def test_unknown_steps_name_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'jpeg'"):
        parse_views("clean,jpg:90")


def test_an_image_that_a_codec_refuses_is_an_image_error() -> None:
    with pytest.raises(ImageError, match="the view webp:90 cannot be made"):
        one("webp:90")(Image.new("RGB", (17000, 2)), ID)


def test_every_step_is_described() -> None:
    rows = describe_steps()
    assert {row["name"] for row in rows} == set(STEPS.names())
    assert all(row["summary"] for row in rows)
