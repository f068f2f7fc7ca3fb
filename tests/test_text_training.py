"""Texts in training: their order and padding, resumption, and teachers that read for themselves."""

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import RecordingWatcher
from made_texts import (
    CLASSES,
    MaskedBag,
    WordEncoder,
    make_reviews,
    reviews,
    text_network,
    write_tsv,
)
from torch import Tensor
from torch.nn import functional as F

from kdlsr.config.compose import compose_config
from kdlsr.config.inputs import TextSpec
from kdlsr.config.schema import read_config
from kdlsr.data.draws import permutation_in_buckets
from kdlsr.data.prepare import load_streams
from kdlsr.data.stream import Batch, EvalStream, TrainStream
from kdlsr.data.texts import Texts
from kdlsr.data.token_samples import TokenSamples
from kdlsr.models import models
from kdlsr.runs import teaching
from kdlsr.runs.confidence import read_confidence
from kdlsr.runs.execute import checkpoint_of, complete_run, store_of
from kdlsr.runs.plan import Run, plan_run
from kdlsr.runs.session import Session
from kdlsr.teachers.outputs import FOLDER, list_outputs
from kdlsr.training.checkpoint import read_checkpoint

__all__ = ["text_network"]
CPU = torch.device("cpu")
N = 101
Planned = Callable[..., Run]


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TokenSamples:
    monkeypatch.setenv("KDLSR_DATA", str(tmp_path))
    return token_samples()


def token_samples(
    encoder: WordEncoder | None = None, length: int = 16, device: torch.device = CPU
) -> TokenSamples:
    found = reviews(N, 0)
    labels = np.array([CLASSES.index(name) for _, name in found])
    texts = Texts(tuple((text,) for text, _ in found), labels)
    encoder = encoder or WordEncoder()
    return texts.samples(TextSpec(1, length), None, None, device, encoder)  # type: ignore[arg-type]


def rows_of(stream: TrainStream, epoch: int) -> list[list[int]]:
    return [batch.rows.tolist() for batch in stream.epoch(epoch)]


# ---------------------------------------------------------------- order and padding


def test_an_epochs_order_is_a_function_of_data_seed_and_epoch_and_shows_every_row_once(
    samples: TokenSamples,
) -> None:
    stream = TrainStream(samples, np.arange(N), data_seed=3, batch_size=9)
    orders = [rows_of(stream, epoch) for epoch in (0, 1)]
    again = TrainStream(token_samples(), np.arange(N), data_seed=3, batch_size=9)
    assert [rows_of(again, epoch) for epoch in (0, 1)] == orders
    other = TrainStream(samples, np.arange(N), data_seed=4, batch_size=9)
    assert orders[0] != orders[1] != rows_of(other, 1)
    for order in orders:
        assert [len(batch) for batch in order] == [9] * 11 + [2]  # the partial one comes last
        assert sorted(chain(*order)) == list(range(N))


def test_a_single_last_text_is_dropped_and_another_one_in_each_epoch(samples: TokenSamples) -> None:
    stream = TrainStream(samples, np.arange(N), data_seed=0, batch_size=10)
    seen = [list(chain(*rows_of(stream, epoch))) for epoch in range(3)]
    assert [len(rows) for rows in seen] == [N - 1] * 3
    assert len({frozenset(range(N)) - frozenset(rows) for rows in seen}) > 1


def test_texts_of_like_length_share_a_batch_and_batches_come_in_any_order() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 5000)
    order = permutation_in_buckets(lengths, 1, 2, 32)
    assert sorted(order.tolist()) == list(range(5000))
    batches = order[: 5000 // 32 * 32].reshape(-1, 32)
    widest = lengths[batches].max(1)
    padded = 32 * widest.sum() / lengths[batches].sum()
    unsorted = np.arange(5000)[: 5000 // 32 * 32].reshape(-1, 32)
    assert padded < 1.05
    assert 32 * lengths[unsorted].max(1).sum() / lengths[unsorted].sum() > 1.7
    assert abs(np.corrcoef(widest, np.arange(len(widest)))[0, 1]) < 0.25
    # No pool reaches further than 50 batches: with fewer texts than that, the split is by length.
    few = permutation_in_buckets(lengths[:90], 1, 2, 9).reshape(-1, 9)
    by_length = few[np.argsort(lengths[few].min(1), kind="stable")]
    assert (np.diff(lengths[by_length].reshape(-1)) >= 0).all()


def test_a_batch_is_each_texts_own_tokens_padded_to_a_multiple_of_8_and_no_longer_than_may_be(
    samples: TokenSamples,
) -> None:
    expected = WordEncoder().encode([(text,) for text, _ in reviews(N, 0)], 16)
    for batch in TrainStream(samples, np.arange(N), 0, 9).epoch(0):
        inputs = batch.inputs
        assert isinstance(inputs, dict)
        assert {tensor.dtype for tensor in inputs.values()} == {torch.int64}
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        assert "token_type_ids" not in inputs
        lengths = expected.lengths[batch.rows]
        assert ids.shape[1] == -(-lengths.max() // 8) * 8
        assert mask.sum(1).tolist() == lengths.tolist()
        assert not ids[mask == 0].any()
        for row, text, length in zip(batch.rows, ids, lengths, strict=True):
            begin = expected.offsets[row]
            assert text[:length].tolist() == expected.ids[begin : begin + length].tolist()
    short = token_samples(length=13).plain(np.arange(N))(slice(None))
    assert short["input_ids"].shape == (N, 13)


def test_pairs_have_types_where_the_network_asks_for_them(
    samples: TokenSamples,
) -> None:
    pairs = Texts((("a b", "c"), ("d", "e f g")), np.array([0, 1]))
    encoder = WordEncoder(with_types=True)
    made = pairs.samples(TextSpec(2, 12), None, None, CPU, encoder)  # type: ignore[arg-type]
    types = made.plain(np.array([1, 0]))(slice(None))["token_type_ids"]
    assert types.tolist() == [[0, 0, 0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1, 0, 0]]


def test_texts_are_evaluated_by_length_and_answered_in_the_streams_order(
    samples: TokenSamples,
) -> None:
    samples.evaluation_batch_size = 16
    rows = np.array([*range(50, 0, -1), 77])
    stream = EvalStream(samples, rows)
    batches = list(stream)
    assert len(batches) == len(stream) == 4
    widths = [b.inputs["input_ids"].shape[1] for b in batches]  # type: ignore[index]
    assert widths == sorted(widths)
    assert stream.rows.tolist() == rows.tolist()
    assert torch.equal(stream.labels, samples.labels[stream.rows])
    answers = stream.collect(lambda batch: torch.stack([batch.rows, batch.labels], 1))
    assert answers.tolist() == torch.stack([stream.rows, stream.labels], 1).tolist()


def test_padding_does_not_change_a_bit_of_what_a_masked_network_says(
    samples: TokenSamples,
) -> None:
    torch.manual_seed(0)
    model = MaskedBag(211, 2, 8).eval()
    for batch in EvalStream(samples, np.arange(N)):
        assert isinstance(batch.inputs, dict)
        wider = {name: F.pad(tensor, (0, 8)) for name, tensor in batch.inputs.items()}
        assert torch.equal(model(wider), model(batch.inputs))
    together = EvalStream(samples, np.arange(N)).collect(lambda batch: model(batch.inputs))
    plain = samples.plain(np.arange(N))
    alone = torch.cat([model(plain(slice(row, row + 1))) for row in range(N)])
    torch.testing.assert_close(alone, together)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpus_tokens_are_the_cpus_and_never_make_the_host_wait(samples: TokenSamples) -> None:
    there = token_samples(device=torch.device("cuda"))
    stream, evaluation = TrainStream(there, np.arange(N), 0, 9), EvalStream(there, np.arange(N))
    list(stream.epoch(0))
    epoch = stream.epoch(1)
    batches = [next(epoch)]  # the epoch's rows are moved here, once
    try:
        torch.cuda.set_sync_debug_mode("error")
        batches += list(epoch)
        batches += list(evaluation)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = list(TrainStream(samples, np.arange(N), 0, 9).epoch(1))
    expected += list(EvalStream(samples, np.arange(N)))
    for ours, theirs in zip(batches, expected, strict=True):
        assert isinstance(ours.inputs, dict)
        assert isinstance(theirs.inputs, dict)
        assert ours.rows.tolist() == theirs.rows.tolist()
        for name, tensor in theirs.inputs.items():
            assert torch.equal(ours.inputs[name].cpu(), tensor)


# ---------------------------------------------------------------- runs


@pytest.fixture
def plan(tmp_path: Path, text_network: None) -> Planned:
    """Plans a run of two epochs on made-up reviews, of a small network that reads words."""
    make_reviews(tmp_path / "reviews", 201, 61)

    def planned(*overrides: str) -> Run:
        common = [
            "dataset=text_folder",
            f"dataset.root={tmp_path / 'reviews'}",
            "dataset.max_length=16",
            "model=bag",
            "schedule=quick",
            "schedule.epochs=2",
            "schedule.batch_size=16",
            "schedule.sgd.lr=2",
            "precision=fp32",
            "threads=1",
            f"output_dir={tmp_path / 'outputs'}",
        ]
        return plan_run(read_config(compose_config([*common, *overrides])))

    return planned


def files_of(run: Run) -> tuple[str, bytes]:
    folder = store_of(run.config).run(run.run_id).path
    return (folder / "metrics.jsonl").read_text(), (folder / "test_logits.npz").read_bytes()


def test_a_run_learns_and_one_that_was_stopped_ends_with_the_same_bits(
    plan: Planned, tmp_path: Path
) -> None:
    whole = plan("schedule.epochs=3", f"output_dir={tmp_path / 'whole'}")
    result = complete_run(whole, Session())
    last = result.at("last")
    assert last is not None
    assert last.test.top1 > 75
    assert (last.test.f1, last.more) == (None, {})
    assert "f1" not in files_of(whole)[0]
    assert "more" not in files_of(whole)[0]
    stopped = plan("schedule.epochs=3")
    for epoch in (1, 2):
        checkpoint_of(stopped, epoch, Session())
    complete_run(stopped, Session())
    assert files_of(stopped) == files_of(whole)
    assert stopped.run_id == whole.run_id


def test_a_tokenizer_and_the_longest_text_are_part_of_a_runs_identity(
    plan: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {plan(*moved).run_id for moved in ([], ["dataset.max_length=24"], ["model.letters=true"])}
    option = models.get("bag")
    monkeypatch.setattr("made_texts.WordEncoder.identity", "another")
    from kdlsr.models import registry

    registry._encoder_once.cache_clear()
    ids.add(plan().run_id)
    assert option.encoder is not None
    assert len(ids) == 4


KD = ["loss=kd", "teacher=bag", 'teacher.overrides=["schedule.batch_size=16","schedule.epochs=2"]']


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every teacher's network that is built."""
    made: list[Any] = []
    build = teaching._network

    def counted(*arguments: Any) -> Any:
        made.append(arguments)
        return build(*arguments)

    monkeypatch.setattr(teaching, "_network", counted)
    return made


def test_one_pass_of_a_teacher_serves_every_epoch_seed_tau_and_batch_size(
    plan: Planned, built: list[Any], tmp_path: Path
) -> None:
    complete_run(plan(*KD, "loss.tau=2"), Session())
    assert len(built) == 1
    (store,) = list_outputs(tmp_path / "outputs" / FOLDER)
    assert store.epochs == "all"
    assert {p.name.partition("-")[0] for p in store.path.glob("*.npy")} == {"train", "test"}
    watcher = RecordingWatcher()
    others = ["loss.tau=4", "seed=7", "loss.alpha=0.5", "schedule.batch_size=8"]
    complete_run(plan(*KD, *others, "schedule.epochs=3"), Session(watcher))
    assert len(built) == 1
    assert any("its outputs on all epochs are stored" in line for line in watcher.lines)
    told = "dataset=text_folder: 201 texts to train on, 61 to test on, of 2 classes"
    assert told in watcher.lines
    assert [s.path for s in list_outputs(tmp_path / "outputs" / FOLDER)] == [store.path]


def test_what_texts_are_like_on_train_is_the_same_for_views_and_samples(plan: Planned) -> None:
    """Nothing varies: a teacher says the same after every epoch, and views are the samples."""
    run = plan(*KD, "train_metrics=true", "dataset.val_fraction=0.25")
    complete_run(run, Session())
    folder = store_of(run.config).run(run.run_id)
    first, last = folder.history()
    result = folder.result()
    assert result is not None
    assert result.teacher is not None
    assert first.teacher == last.teacher == result.teacher.train
    assert result.train is not None
    assert last.train_views == result.train_views
    assert result.train_views is not None
    assert result.train.nll == pytest.approx(result.train_views.nll, rel=1e-5)
    confidence = read_confidence(folder, result)
    assert confidence is not None
    assert confidence.temperature is not None


def test_stored_and_live_teachers_give_the_same_bits(plan: Planned, tmp_path: Path) -> None:
    stored = plan(*KD, "teacher.store=auto")
    complete_run(stored, Session())
    live = plan(*KD, "teacher.store=off", f"output_dir={tmp_path / 'live'}")
    complete_run(live, Session())
    assert files_of(live) == files_of(stored)
    assert not (tmp_path / "live" / FOLDER).exists()


def test_a_teacher_reads_the_same_rows_with_its_own_tokenizer(
    plan: Planned, built: list[Any], tmp_path: Path
) -> None:
    overrides = 'teacher.overrides=["model.letters=true","schedule.batch_size=16"]'
    run = plan(*KD[:2], overrides, "dataset.val_fraction=0.2")
    complete_run(run, Session())
    assert len(built) == 1
    assert run.teacher_run is not None
    letters = run.teacher_run.encoder
    assert letters is not None
    assert run.encoder is not None
    assert letters.identity != run.encoder.identity
    path = store_of(run.config).find_checkpoint(run.teacher_run.run_id, 2)
    assert path is not None
    model = run.teacher_run.build_model().eval()
    model.load_state_dict(read_checkpoint(path, run.teacher_run.run_id)["model"])
    streams = load_streams(
        run.config.dataset,
        data_seed=0,
        batch_size=16,
        device=CPU,
        progress=Session().watcher.loading,
        encoder=letters,
    )

    def logits(batch: Batch) -> Tensor:
        with torch.inference_mode():
            return model(batch.inputs).half()

    (store,) = list_outputs(tmp_path / "outputs" / FOLDER)
    (train,) = store.path.glob("train-*.npy")
    (test,) = store.path.glob("test-*.npy")
    train_rows = EvalStream(streams.train.samples, streams.train.rows)
    np.testing.assert_array_equal(np.load(train), train_rows.collect(logits).numpy())
    np.testing.assert_array_equal(np.load(test), streams.test.collect(logits).numpy())


# ---------------------------------------------------------------- further figures


def test_mismatched_texts_and_f1_stand_beside_the_figures_of_the_test_set(
    plan: Planned, tmp_path: Path
) -> None:
    names = ("entailment", "neutral", "contradiction")
    header = ("index", "sentence1", "sentence2", "gold_label")
    for file, count in (("train", 60), ("dev_matched", 20), ("dev_mismatched", 14)):
        rows = [(str(i), f"{file} {i}", names[i % 3], names[i % 3]) for i in range(count)]
        write_tsv(tmp_path / "MNLI" / f"{file}.tsv", [header, *rows])
    run = plan("dataset=mnli", f"dataset.root={tmp_path}", "schedule.epochs=1")
    last = complete_run(run, Session()).at("last")
    assert last is not None
    folder = store_of(run.config).run(run.run_id)
    assert [len(np.load(folder.path / "test_logits.npz")["labels"])] == [20]
    (record,) = folder.history()
    assert record.more == last.more
    assert set(last.more) == {"mismatched"}
    assert last.more["mismatched"] != last.test
    line = json.loads((folder.path / "metrics.jsonl").read_text())
    assert line["more"]["mismatched"]["top1"] == last.more["mismatched"].top1
    result = folder.result()
    assert result is not None
    assert result.at("last") == last


def test_f1_is_among_mrpcs_figures(plan: Planned, tmp_path: Path) -> None:
    header = ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")
    for file, count in (("train", 40), ("dev", 30)):
        rows = [(str(int(i % 3 > 0)), "1", "2", f"{file} {i}", "x") for i in range(count)]
        write_tsv(tmp_path / "MRPC" / f"{file}.tsv", [header, *rows])
    run = plan("dataset=mrpc", f"dataset.root={tmp_path}", "dataset.val_fraction=0.2")
    last = complete_run(run, Session()).at("last")
    assert last is not None
    folder = store_of(run.config).run(run.run_id)
    stored = np.load(folder.path / "test_logits.npz")
    named, right = stored["logits"].argmax(1) == 1, stored["labels"] == 1
    hits = int((named & right).sum())
    assert last.test.f1 == pytest.approx(100 * 2 * hits / (named.sum() + right.sum()))
    assert all(r.test.f1 is not None and r.val and r.val.f1 for r in folder.history())
