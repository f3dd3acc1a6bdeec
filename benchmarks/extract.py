"""Extraction from JPEG files into shards, against the bare forward pass and against a plain PyTorch
loop.

``bare``: the same network, precision and batch on pixels that are in memory, as PyTorch runs it
by itself with all cores on one batch. ``bare in lanes``: the same, one single-threaded batch per
core. ``plain loop``: what the field writes: fp32, a DataLoader with 4 workers, batch 128,
Pillow, centre crop.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.data import LITE, VIT, Bench, make_jpegs
from benchmarks.frame import Report, compare, in_turn, parser, seconds


def measure(name: str, n: int, rounds: int, title: str, target: float, folder: Path) -> Report:
    """Measure one backbone on ``n`` files."""
    manifest = make_jpegs(folder / "images", n)
    bench = Bench([name], manifest, folder, batch_size=min(16, max(n // 4, 1)))
    loop = plain_loop(name, [sample.path for sample in manifest])
    precision = bench.requests[0].precision
    cases = {
        "bare": lambda: n / seconds(lambda: bench.forward_only(n)),
        "bare in lanes": lambda: n / seconds(lambda: bench.forward_in_lanes(n)),
        "featcache": lambda: n / seconds(bench),
        "plain loop": lambda: n / seconds(loop),
    }
    report = Report(f"extract-{title}", f"{name}, {precision}, {n} JPEG files of 500 x 375")
    found = in_turn(cases, rounds)
    compare(report, found, "images/s", "bare", targets={"featcache": target})
    both = {name: found[name] for name in ("featcache", "bare in lanes")}
    compare(report, both, "images/s", "bare in lanes")
    least = 3.0 if precision != "fp32" else 1.0
    pair = {name: found[name] for name in ("featcache", "plain loop")}
    compare(report, pair, "images/s", "plain loop", targets={"featcache": least})
    report.results = [r for i, r in enumerate(report.results) if i < 4 or r.ratio is not None]
    report.rounds = found
    return report


def plain_loop(name: str, paths: list[str]):  # type: ignore[no-untyped-def]
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
    model = build_network([resolve(name)])

    class Files(Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, i: int) -> torch.Tensor:
            return prepare(Image.open(paths[i]).convert("RGB"))

    def loop() -> None:
        loader = DataLoader(Files(), batch_size=128, num_workers=4)
        with torch.no_grad():
            features = [model(images)[0].cpu() for images in loader]
        assert len(torch.cat(features)) == len(paths)

    return loop


def main() -> None:
    """Measure both backbones."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--vit", type=int, default=32, help="files for ViT-B/16")
    arguments.add_argument("--lite", type=int, default=256, help="files for EfficientNet-Lite0")
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
