"""Training: optimisers, losses, schedules, checkpoints, and gradients of batches in pieces.

Parameters, gradients and states are plain dicts of arrays, which no function changes. So an
optimiser from elsewhere fits, and a training that goes on from a checkpoint takes the same steps,
bit for bit.
"""

from regard._tqdm import progress
from regard.nn.training import schedules
from regard.nn.training._accumulation import accumulate_gradients
from regard.nn.training._adamw import AdamW
from regard.nn.training._batches import Batches, step_seed
from regard.nn.training._checkpoint import load_checkpoint, save_checkpoint
from regard.nn.training._clipping import clip_by_global_norm, clip_by_value, global_norm
from regard.nn.training._cross_entropy import cross_entropy, cross_entropy_vjp
from regard.nn.training._decay import everything, matrices
from regard.nn.training._early_stopping import EarlyStopping
from regard.nn.training._process_pool import process_pool
from regard.nn.training._sgd import SGD

__all__ = [
    "SGD",
    "AdamW",
    "Batches",
    "EarlyStopping",
    "accumulate_gradients",
    "clip_by_global_norm",
    "clip_by_value",
    "cross_entropy",
    "cross_entropy_vjp",
    "everything",
    "global_norm",
    "load_checkpoint",
    "matrices",
    "process_pool",
    "progress",
    "save_checkpoint",
    "schedules",
    "step_seed",
]
