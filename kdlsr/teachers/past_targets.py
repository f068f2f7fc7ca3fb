"""Soft targets of a network's own past: answered live, on the very views of the epoch.

Nothing is stored: the past is this run's alone. What it depends on is in the run's checkpoint.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from kdlsr.data.samples import Inputs
from kdlsr.data.stream import Batch, EvalStream, TrainStream
from kdlsr.metrics import Metrics, classification_metrics
from kdlsr.teachers.network import TeacherNetwork
from kdlsr.training.past import Past


class MeanOfLogits(nn.Module):
    """Networks as one: the mean of their logits.

    It is the logits' mean, not that of the probabilities, since that is one answer for every
    temperature: softmax(mean z / tau) is the normalised geometric mean of the softmax(z / tau),
    while the arithmetic mean of those is no softmax(. / tau) of anything that is the same for
    all tau, and a loss is given logits.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.answering = len(networks)

    def load(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        """Gives the first networks weights, one each; the others do not answer."""
        for network, state in zip(self.networks, weights, strict=False):
            network.load_state_dict(state)
        self.answering = len(weights)

    def forward(self, inputs: Inputs) -> Tensor:
        """Returns logits (B, K)."""
        total: Tensor = self.networks[0](inputs)
        for network in self.networks[1 : self.answering]:
            total = total + network(inputs)
        return total / self.answering if self.answering > 1 else total


class PastTargets:
    """What a network said some epochs ago of the views of this epoch.

    A reconstruction of MrKD (Wang et al., arXiv 2009.05226: a KD loss between a model's output
    and those of its copies on the training trajectory; how many copies, how they are combined
    (Sensors 2021, 21(8) 2792, has a small network for it) and when they are taken is not known
    to us). PS-KD (Kim et al., ICCV 2021) learns from its past in another way, and takes no
    teacher: its loss keeps what the network said in training mode, of the views of the epoch
    before; here the network of that epoch answers in evaluation mode, on this epoch's views.

    Before there is a past there is no answer, and the loss is cross-entropy with the labels
    (`Loss.untaught`). Of several epochs ago those answer that there are.

    Args:
        past: of the student, `max(epochs_ago) + 1` epochs deep.
        epochs_ago: rising, 1 or more each.
        build: gives a network of the student's kind; its weights are of no account.
        answer: makes a teacher of a network: frozen, its logits rounded.
    """

    def __init__(
        self,
        past: Past,
        epochs_ago: Sequence[int],
        build: Callable[[], nn.Module],
        answer: Callable[[nn.Module], TeacherNetwork],
    ) -> None:
        self._past = past
        self._epochs_ago = tuple(epochs_ago)
        # Not drawn from the generator that the student's first weights come from.
        with torch.random.fork_rng(devices=[]):
            self._networks = MeanOfLogits([build() for _ in epochs_ago])
        self._teacher = answer(self._networks)
        self._answers = False

    def begin_epoch(self, epoch: int) -> None:  # noqa: ARG002
        """Takes the weights of so many epochs ago: 1 is what the last completed epoch left."""
        self._take([ago - 1 for ago in self._epochs_ago])

    def stored(self, rows: Tensor) -> None:
        """Nothing: what a past says is computed as it is asked."""

    def logits(self, batch: Batch) -> Tensor | None:
        """Returns the logits (B, K), fp32, of a batch of views; None while there is no past."""
        return self._teacher.logits(batch.inputs) if self._answers else None

    def end_epoch(self) -> None:
        """Verifies the epoch's logits.

        Raises:
            RunFailed: some were not finite, or beyond the range of the dtype.
        """
        self._teacher.check()

    def predict(self, stream: EvalStream) -> Tensor:
        """Returns the logits (N, K), fp32, of the test samples, of those who taught last.

        Asked after the last epoch: its past is one epoch further ago by then.

        Raises:
            RunFailed: as for `end_epoch`.
        """
        self._take(self._epochs_ago)
        logits = stream.collect(lambda batch: self._teacher.logits(batch.inputs))
        self._teacher.check()
        return logits

    def on_training(self, train: TrainStream, epoch: int) -> Metrics | None:
        """Returns the metrics, on the views of `epoch`, of those who taught in it, the last one.

        It costs another pass over the views. None where there was no past yet.

        Raises:
            RunFailed: as for `end_epoch`.
        """
        self._take(self._epochs_ago)
        if not self._answers:
            return None
        batches = [(self._teacher.logits(b.inputs), b.labels) for b in train.epoch(epoch)]
        self._teacher.check()
        logits, labels = zip(*batches, strict=True)
        return classification_metrics(torch.cat(logits), torch.cat(labels))

    def _take(self, ages: Sequence[int]) -> None:
        found = [weights for age in ages if (weights := self._past.ago(age)) is not None]
        self._answers = bool(found)
        if found:
            self._networks.load(found)
