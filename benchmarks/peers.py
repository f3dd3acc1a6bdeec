"""Extraction against thingsvision, each in its own environment, in turn, on the same files and
network.

thingsvision is installed from the package index into an environment beside (it pins an old
torch), so the ratio compares what a user of either gets, not two loops over one torch. Both run
fp32 with random weights.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.data import Bench, make_jpegs
from benchmarks.frame import Report, compare, in_turn, parser, seconds

CHILD = """
import contextlib, sys, time
with contextlib.redirect_stdout(sys.stderr):
    from thingsvision import get_extractor
    from thingsvision.utils.data import DataLoader, ImageDataset
    root, out, name, layer = sys.argv[1:]
    extractor = get_extractor(model_name=name, source="timm", device="cpu", pretrained=False)
    files = ImageDataset(root=root, out_path=out, backend=extractor.get_backend(),
                         transforms=extractor.get_transformations())
    start = time.perf_counter()
    batches = DataLoader(dataset=files, batch_size=32, backend=extractor.get_backend())
    features = extractor.extract_features(batches=batches, module_name=layer, flatten_acts=True,
                                          output_type="ndarray")
    rate = len(features) / (time.perf_counter() - start)
print(rate)
"""

LAYERS = {"resnet50": "global_pool", "vit_base_patch16_224": "norm"}


def install(folder: Path) -> Path:
    """Return the interpreter of an environment that has thingsvision; make it where there is
    none.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "thingsvision"], check=True)
    return python


def measure(name: str, n: int, rounds: int, python: Path, folder: Path) -> Report:
    """Measure one network of timm on ``n`` files."""
    images = folder / "images"
    bench = Bench([f"timm:{name}#random0"], make_jpegs(images, n), folder, precision="fp32")

    def peer() -> float:
        command = [python, "-c", CHILD, str(images), str(folder / "out"), name, LAYERS[name]]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout.split()[-1])

    report = Report(f"peers-{name}", f"{name}, fp32, {n} JPEG files of 500 x 375")
    cases = {"thingsvision": peer, "featcache": lambda: n / seconds(bench)}
    compare(report, in_turn(cases, rounds), "images/s", "thingsvision")
    return report


def main() -> None:
    """Measure a residual network and a transformer."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--files", type=int, default=128)
    arguments.add_argument(
        "--venv", type=Path, help="environment that has thingsvision, or gets it"
    )
    flags = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        python = install(flags.venv or Path(name) / "venv")
        for network in LAYERS:
            folder = Path(name) / network
            measure(network, flags.files, flags.rounds, python, folder).show(flags.out)


if __name__ == "__main__":
    main()
