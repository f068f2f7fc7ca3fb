"""How long a command takes before it does anything, against importing torch alone.

    python tests/benchmarks/start.py

Each is a whole process, timed in turns. The last line is one JSON object:

    help_over_import_torch          `--help`, which imports no torch
    cfg_over_import_torch           `--cfg job`, likewise
    config_error_over_import_torch  a mistake that Hydra finds (no torch), and
    range_error_over_import_torch   one that a loss finds (torch, but none of its neighbours)
    first_step_over_bare            a run up to the end of its first epoch of four steps, over
                                    a bare script that trains the same network as long
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

from machine import describe
from turns import finish

TRAIN = [sys.executable, "-m", "kdlsr.train"]
IMPORT_TORCH = [sys.executable, "-c", "import torch"]
BARE = [
    sys.executable,
    "-c",
    """
import torch
from sklearn.datasets import load_digits
from torch import nn
torch.set_num_threads(1)
data = load_digits()
images = torch.tensor(data.images[:256], dtype=torch.float32)[:, None] / 16
labels = torch.tensor(data.target[:256])
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for start in range(0, 256, 64):
    loss = nn.functional.cross_entropy(model(images[start:start + 64]), labels[start:start + 64])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
]
ONE_EPOCH = ["dataset=digits", "dataset.subset=256", "model=resnet8", "schedule=quick"]
ONE_EPOCH += ["schedule.epochs=1"]


def seconds(command: list[str], exit_code: int = 0) -> float:
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        elapsed = time.perf_counter() - begun
    if done.returncode != exit_code:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return elapsed


def ratio(command: list[str], exit_code: int, reference: list[str], rounds: int) -> float:
    """Median over rounds of the command's time over the reference's, in turns."""
    seconds(command, exit_code), seconds(reference)
    pairs = [(seconds(command, exit_code), seconds(reference)) for _ in range(rounds)]
    print("  seconds " + ", ".join(f"{a:.2f} / {b:.2f}" for a, b in pairs))
    return statistics.median(a / b for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(describe())
    cases = {
        "help_over_import_torch": ([*TRAIN, "--help"], 0, IMPORT_TORCH),
        "cfg_over_import_torch": ([*TRAIN, "--cfg", "job"], 0, IMPORT_TORCH),
        "config_error_over_import_torch": ([*TRAIN, "loss=tfkd_rge"], 2, IMPORT_TORCH),
        "range_error_over_import_torch": ([*TRAIN, "loss=lsr", "loss.alpha=2"], 2, IMPORT_TORCH),
        "first_step_over_bare": ([*TRAIN, *ONE_EPOCH], 0, BARE),
    }
    results = {}
    for name, (command, exit_code, reference) in cases.items():
        print(name)
        results[name] = ratio(command, exit_code, reference, rounds)
    finish(results)


if __name__ == "__main__":
    main()
