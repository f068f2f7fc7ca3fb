"""Whether two checkouts compute the same bits: `python tests/benchmarks/same_bits.py BEFORE`.

Runs the same small commands in each (every loss family and form, stored and live teachers, a
De-KD prefix, a resumed run, fp32 and bf16, dropout, rotation, depthwise convolutions) and compares
metrics.jsonl and test_logits.npz of every run byte for byte, students and teachers alike; ids and
all other files may differ. The last line is one JSON object. With one checkout, its digests alone.

BEFORE may also be a file of digests that an earlier call wrote (`--save FILE`).
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
D = ["dataset=digits", "model=resnet8", "model.width=4", "schedule=quick", "threads=1"]
D += ["dataset.subset=300", "schedule.epochs=3"]
KD = ["loss=kd", "teacher=resnet8"]
SLIM = 'teacher.overrides=["model.width=4"]'
# name -> the commands that are run one after the other in one output folder.
CASES: dict[str, list[list[str]]] = {
    "ce fp32": [[*D, "precision=fp32"]],
    "ce bf16": [[*D, "precision=bf16"]],
    "lsr released": [[*D, "loss=lsr", "loss.form=as_released", "precision=fp32"]],
    "lsr written bf16": [[*D, "loss=lsr", "precision=bf16", "seed=3"]],
    "kd stored": [
        [*D, *KD, SLIM, "precision=fp32"],
        [*D, *KD, SLIM, "precision=fp32", "loss.tau=2", "loss.form=as_written"],
    ],
    "kd live": [[*D, *KD, SLIM, "precision=bf16", "teacher.store=off", "loss.form=as_released"]],
    "tfkd_self": [[*D, "loss=tfkd_self", "precision=fp32", "dataset.val_fraction=0.1"]],
    "tfkd_reg released": [[*D, "loss=tfkd_reg", "precision=fp32"]],
    "tfkd_reg written": [[*D, "loss=tfkd_reg", "loss.form=as_written", "precision=bf16"]],
    "lsr_os": [[*D, "loss=lsr_os", "precision=fp32"]],
    "lsr_os_tc": [[*D, "loss=lsr_os_tc", "precision=bf16", "loss.scale=0.5"]],
    "De-KD prefix": [[*D, *KD, SLIM, "teacher.epoch=1", "precision=fp32"]],
    "resumed": [
        [*D, "precision=fp32", "until=1", "loss=lsr"],
        [*D, "precision=fp32", "loss=lsr"],
    ],
    "double training": [[*D, "loss=ce", "teacher=self", "start=teacher", "precision=fp32"]],
    "dropout, adam": [
        [*D[:1], "model=plain_cnn", *D[3:], "schedule.epochs=2", "precision=fp32"],
    ],
    "depthwise bf16": [
        [*D[:1], "model=mobilenetv2", *D[3:5], "schedule.epochs=1", "dataset.subset=100",
         "precision=bf16"],
    ],
    "rotated RGB images": [
        ["dataset=image_folder", "dataset.root={images}", "dataset.views=cifar", *D[1:5],
         "schedule.epochs=2", "precision=fp32", "schedule.batch_size=16"],
        ["dataset=image_folder", "dataset.root={images}", "dataset.views=tiny_imagenet", *D[1:5],
         "schedule.epochs=2", "precision=bf16", "schedule.batch_size=16"],
    ],
}  # fmt: skip


def made_images(folder: Path) -> Path:
    """Writes a tree of small RGB images drawn by NumPy's Philox."""
    import numpy as np
    from PIL import Image

    words = np.random.Generator(np.random.Philox(7))
    for split, count in (("train", 20), ("test", 8)):
        for label in ("a", "b", "c"):
            (folder / split / label).mkdir(parents=True)
            for i in range(count):
                pixels = words.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{i}.png")
    return folder


def digests(checkout: Path, names: list[str]) -> dict[str, list[str]]:
    """Returns, by case, the sorted digests of all its runs' metrics and logits."""
    found: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        images = made_images(root / "images")
        for number, name in enumerate(names):
            output = root / f"out{number}"
            for overrides in CASES[name]:
                words = [o.replace("{images}", str(images)) for o in overrides]
                _run(checkout, root, [*words, f"output_dir={output}"])
            found[name] = sorted(_digest(run) for run in (output / "runs").iterdir())
            print(f"{checkout}: {name}: {len(found[name])} runs", flush=True)
    return found


def _run(checkout: Path, folder: Path, overrides: list[str]) -> None:
    variables = os.environ | {"PYTHONPATH": str(checkout), "KDLSR_DATA": str(folder / "data")}
    command = [sys.executable, "-m", "kdlsr.train", *overrides]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout.decode()}{done.stderr.decode()}")


def _digest(run: Path) -> str:
    parts = (run / "metrics.jsonl", run / "test_logits.npz")
    return " ".join(
        hashlib.sha256(p.read_bytes()).hexdigest()[:16] if p.exists() else "-" for p in parts
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path, nargs="?")
    parser.add_argument("--save", type=Path, help="write the digests of BEFORE there")
    parser.add_argument("--only", help="cases that contain this word")
    arguments = parser.parse_args()
    names = [name for name in CASES if not arguments.only or arguments.only in name]
    if arguments.before.is_file():
        before = json.loads(arguments.before.read_text())
    else:
        before = digests(arguments.before.resolve(), names)
    if arguments.save:
        arguments.save.write_text(json.dumps(before, indent=1) + "\n")
    if arguments.after is None:
        return
    after = digests(arguments.after.resolve(), names)
    different = [name for name in names if before[name] != after[name]]
    runs = sum(len(after[name]) for name in names)
    print(json.dumps({"cases": len(names), "runs": runs, "different": different}))
    raise SystemExit(1 if different else 0)


if __name__ == "__main__":
    main()
