"""Extraction from JPEG files into shards, against the bare forward pass and against a plain PyTorch
loop.

``bare``: the same network, precision and batch on pixels that are in memory, as PyTorch runs it
by itself with all cores on one batch. ``bare in lanes``: the same, one single-threaded batch per
core (CPUs). ``decode only``: files to crops with a process per core (GPUs: the slower of it and
``bare`` is what extraction can reach). ``plain loop``: what the field writes: fp32, a DataLoader
with 4 workers, batch 128, Pillow, centre crop. ``tuned loop`` (GPUs): the same with a worker per
core, pinned memory and featcache's precision; nothing is checked, hashed or kept.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.data import LITE, VIT, Bench, make_jpegs
from benchmarks.frame import Report, compare, in_turn, parser, seconds
from featcache.extract.device import BATCH, choose_device, count_cores, describe_device


def measure(name: str, n: int, rounds: int, title: str, target: float, folder: Path) -> Report:
    """Measure one backbone on ``n`` files, on the device that ``auto`` means here."""
    manifest = make_jpegs(folder / "images", n)
    device = choose_device("auto")
    batch_size = min(BATCH[device.type], max(n // 4, 1))
    bench = Bench([name], manifest, folder, batch_size=batch_size)
    paths = [sample.path for sample in manifest]
    loop = plain_loop(name, paths, device)
    precision = bench.requests[0].precision
    cases = {
        "bare": lambda: n / seconds(lambda: bench.forward_only(n)),
        "featcache": lambda: n / seconds(bench),
        "plain loop": lambda: n / seconds(loop),
    }
    if device.type == "cuda":  # on a GPU the decoding processes are the other limit
        tuned = plain_loop(name, paths, device, count_cores(), precision)
        cases["tuned loop"] = lambda: n / seconds(tuned)
        cases["decode only"] = lambda: n / seconds(lambda: decode_only(paths))
        binding = "decode only"
    else:
        cases["bare in lanes"] = lambda: n / seconds(lambda: bench.forward_in_lanes(n))
        binding = "bare in lanes"
    about = f"{name}, {precision}, {n} JPEG files of 500 x 375, {describe_device(device)}"
    report = Report(f"extract-{title}", about)
    found = in_turn(cases, rounds)
    if device.type == "cuda":
        compare(report, found, "images/s", "bare")
    else:
        compare(report, found, "images/s", "bare", targets={"featcache": target})
    n_cases = len(report.results)
    both = {name: found[name] for name in ("featcache", binding)}
    compare(report, both, "images/s", binding)
    least = 3.0 if precision != "fp32" else 1.0
    pair = {name: found[name] for name in ("featcache", "plain loop")}
    compare(report, pair, "images/s", "plain loop", targets={"featcache": least})
    report.results = [r for i, r in enumerate(report.results) if i < n_cases or r.ratio is not None]
    report.rounds = found
    spent = ", ".join(f"{stage} {value:.1f}" for stage, value in bench.stages.items() if value)
    report.notes.append(f"featcache's seconds by stage, added over its workers: {spent}")
    return report


def decode_only(paths: list[str]) -> None:
    """Decode and crop all files with one process per core; nothing is forwarded."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(count_cores(), get_context("fork")) as pool:
        assert sum(pool.map(_decode, paths, chunksize=32)) == 224 * len(paths)


def _decode(path: str) -> int:
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB").crop((100, 50, 324, 274)).width


def plain_loop(name: str, paths: list[str], device, workers=4, precision="fp32"):  # type: ignore[no-untyped-def]
    """Return the loop as a user of PyTorch writes it, its network already loaded."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    from featcache.backbones import build_network, resolve
    from featcache.backbones.preprocess import CLIP_MEAN, CLIP_STD

    prepare = transforms.Compose(
        [
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(CLIP_MEAN, CLIP_STD),
        ]
    )
    model = build_network([resolve(name)]).to(device)

    class Files(Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int) -> torch.Tensor:
            return prepare(Image.open(paths[i]).convert("RGB"))

    def loop() -> None:
        loader = DataLoader(Files(), batch_size=128, num_workers=workers, pin_memory=workers > 4)
        narrow = precision != "fp32"
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=narrow):
            features = [model(images.to(device))[0].cpu() for images in loader]
        assert len(torch.cat(features)) == len(paths)

    return loop


def main() -> None:
    """Measure both backbones."""
    arguments = parser(__doc__ or "")
    gpu = choose_device("auto").type == "cuda"
    vit, lite = (4096, 4096) if gpu else (32, 256)
    arguments.add_argument("--vit", type=int, default=vit, help="files for ViT-B/16")
    arguments.add_argument("--lite", type=int, default=lite, help="files for EfficientNet-Lite0")
    flags = arguments.parse_args()
    for name, n, title, target in (
        (LITE, flags.lite, "lite0", 0.80),
        (VIT, flags.vit, "vit-b16", 0.95),
    ):
        if n:
            with tempfile.TemporaryDirectory() as folder:
                measure(name, n, flags.rounds, title, target, Path(folder)).show(flags.out)


if __name__ == "__main__":
    main()
