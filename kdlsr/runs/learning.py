"""A run's network with its first weights, and what trains it: for its training, and to be timed."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from kdlsr.losses import Loss
from kdlsr.runs.plan import Run
from kdlsr.training.compiling import compile_model
from kdlsr.training.learner import Learner
from kdlsr.training.optimisation import build_optimizer
from kdlsr.training.past import Past


def build_learner(
    run: Run,
    loss: Loss,
    num_samples: int,
    seed: int,
    weights: Callable[[], Mapping[str, Tensor]] | None = None,
    past: Past | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Learner:
    """Returns a run's network on its device, and its optimiser.

    Args:
        run: whose model, schedule and arithmetic they are.
        loss: whose state is kept, and learned, with the network.
        num_samples: of the data set's training samples.
        seed: of the first weights.
        weights: gives those to begin with instead; None: the drawn ones.
        past: what the network is to remember of its epochs; None: nothing.
        tell: takes a line on what cannot be recorded.

    Raises:
        UserError: the network cannot be built.
    """
    torch.manual_seed(seed)
    model = run.build_model().to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if weights is not None:
        model.load_state_dict(weights())
    if run.config.compile:
        compile_model(model, run.device, captured=run.captures)
    schedule, state = run.config.schedule, loss.state(num_samples).to(run.device)
    return Learner(
        model=model,
        optimizer=build_optimizer(
            model, run.optimisation, schedule, state, decays_state=loss.decays_state
        ),
        schedule=schedule,
        precision=run.precision,
        device=run.device,
        loss_state=state,
        compiled=run.config.compile,
        capture=run.captures,
        tell=tell,
        past=Past() if past is None else past,
    )
