"""The training that all models that see share: AdamW, a cosine, clipped gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from regard import nn
from regard.nn import training

Parameters = dict[str, NDArray[Any]]
Model = TypeVar("Model", bound=nn.Layer)


def fit(
    loss_and_gradients: Callable[[Parameters, int], tuple[float, Parameters]],
    parameters: Parameters,
    *,
    steps: int,
    rate: float,
    label: str,
    weight_decay: float = 0.05,
) -> tuple[Parameters, list[float]]:
    """Take steps, with a progress bar on a terminal.

    Parameters
    ----------
    loss_and_gradients : callable
        Of the parameters and the number of the step, which says what batch there is.
    parameters : dict of str to ndarray
    steps : int
    rate : float
        The highest learning rate; a tenth of the steps lead to it, the others back to 0.
    label : str
        Words in front of the bar.
    weight_decay : float, default 0.05
        Of matrices alone.

    Returns
    -------
    parameters : dict of str to ndarray
    losses : list of float
        Of each step, before it.
    """
    optimizer = training.AdamW(weight_decay=weight_decay, decays=training.matrices)
    schedule = training.schedules.Cosine(rate, steps=steps, warmup=max(1, steps // 10))
    state = optimizer.init(parameters)
    losses: list[float] = []
    for step in training.progress(range(steps), label, lambda: f"loss {losses[-1]:.3f}"):
        loss, gradients = loss_and_gradients(parameters, step)
        gradients, _ = training.clip_by_global_norm(gradients, 1.0)
        parameters, state = optimizer.update(parameters, gradients, state, schedule(step))
        losses.append(loss)
    return parameters, losses


def kept(folder: Path | None, name: str, fresh: Model, train: Callable[[], Model]) -> Model:
    """Give a fresh model the trained weights that are kept; train and keep it if there are none.

    Parameters
    ----------
    folder : Path, optional
        Of the file; without one, nothing is kept.
    name : str
        Of the file, without its ending.
    fresh : Layer
    train : callable
        Returns the trained model.
    """
    if folder is None:
        return train()
    file = folder / f"{name}.safetensors"
    if file.is_file():
        fresh.load_state_dict(nn.load_safetensors(file))
        return fresh
    model = train()
    folder.mkdir(parents=True, exist_ok=True)
    nn.save_safetensors(model.state_dict(), file)
    return model
