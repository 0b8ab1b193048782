"""``packed``: a model without the padding of its batches."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from regard.transformers import _packed_call
from regard.transformers._arguments import check_model
from regard.transformers._pieces import Pieces
from regard.transformers._register import is_registered

#: Architectures (``config.model_type``) whose layers work on each token alone but for attention,
#: and which pass the pieces on to it. tests/adapters/transformers holds each against its texts run
#: one by one.
ENCODERS = frozenset(
    {
        *("bert", "camembert", "distilbert", "electra", "ernie", "modernbert"),
        *("roberta", "xlm-roberta", "xlm-roberta-xl"),
    }
)
DECODERS = frozenset(
    {
        *("gemma", "gemma2", "gemma3_text", "glm", "gpt_neox", "granite", "llama", "mistral"),
        *("olmo", "olmo2", "phi", "phi3", "qwen2", "qwen3", "smollm3", "starcoder2"),
    }
)
PACKABLE = ENCODERS | DECODERS

#: Arguments of a model's forward that have a row for each token.
_BY_TOKEN = ("input_ids", "inputs_embeds", "token_type_ids", "position_ids")


@contextmanager
def packed(model: torch.nn.Module) -> Iterator[None]:
    """Run a model on the tokens of its batches alone: no layer sees padding.

    Batches are given and results come back padded, as ever. In between the tokens are one row
    (1, total), and attention keeps the texts apart. Gradients are those of the same texts.

    Parameters
    ----------
    model : Module
        A model of transformers, loaded with ``attn_implementation="regard"``, or a module that has
        such models inside, like a SentenceTransformer.

    Yields
    ------
    None
        Inside of the block the model is packed.

    Raises
    ------
    ValueError
        The model, or an argument of a call, is not one that can be packed.
    NotImplementedError
        A call has a cache: texts are packed as a whole.

    Notes
    -----
    Results are those of the texts one by one, padding is 0. Where a model counts positions through
    padding on the left, as BERT does, the padded batch itself gives something else.

    ==========  ===================================================================================
    encoders    bert, camembert, distilbert, electra, ernie, modernbert, roberta, xlm-roberta,
                xlm-roberta-xl
    decoders    gemma, gemma2, gemma3_text, glm, gpt_neox, granite, llama, mistral, olmo, olmo2,
                phi, phi3, qwen2, qwen3, smollm3, starcoder2; without a cache
    ==========  ===================================================================================

    Examples
    --------
    >>> import torch, transformers
    >>> import regard.transformers
    >>> config = transformers.BertConfig(
    ...     vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
    ...     intermediate_size=37, attn_implementation="regard")
    >>> model = transformers.BertModel(config).eval()
    >>> texts = torch.tensor([[2, 7, 8, 3], [2, 9, 0, 0]])
    >>> with regard.transformers.packed(model):
    ...     out = model(texts, attention_mask=(texts != 0).long()).last_hidden_state
    >>> alone = model(texts[1:, :2]).last_hidden_state
    >>> out.shape, torch.allclose(out[1, :2], alone[0], atol=1e-6)
    (torch.Size([2, 4, 32]), True)
    """
    with ExitStack() as stack:
        for base in _bases(model):
            stack.enter_context(_with_forward(base, _packed_forward(base)))
        yield


def _bases(model: torch.nn.Module) -> list[PreTrainedModel]:
    """Find the models without heads that `model` consists of, and check them."""
    found: list[PreTrainedModel] = []
    inside: set[torch.nn.Module] = set()
    check_model(model, "packed")
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module not in inside:
            found.append(module)
            inside.update(module.modules())
    if not found:
        raise ValueError(
            f"packed: {type(model).__name__} has no model of transformers inside.\n  Give a "
            "PreTrainedModel, or what holds one."
        )
    bases = [module.base_model for module in found]
    for base in bases:
        kind, implementation = base.config.model_type, base.config._attn_implementation
        if kind not in PACKABLE:
            raise ValueError(
                f"packed: the architecture {kind} was not tried.\n  Those that can be packed: "
                f"{', '.join(sorted(PACKABLE))}."
            )
        if not is_registered(implementation):
            raise ValueError(
                f"packed: the model's attn_implementation is {implementation!r}.\n  Call "
                "model.set_attn_implementation('regard') first."
            )
    return bases


@contextmanager
def _with_forward(base: PreTrainedModel, forward: Callable[..., Any]) -> Iterator[None]:
    """Let an instance have another forward for a while."""
    own = base.__dict__.get("forward")  # hooks of accelerate are there too
    base.forward = forward
    try:
        yield
    finally:
        del base.forward
        if own is not None:
            base.forward = own


def _packed_forward(base: PreTrainedModel) -> Callable[..., Any]:
    """Wrap a model's forward: padded outside, packed inside."""
    padded = base.forward
    signature = inspect.signature(padded)

    @functools.wraps(padded)
    def forward(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs).arguments
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                bound.update(bound.pop(name, {}))
        arguments = {name: x for name, x in bound.items() if x is not None}
        pieces = _pieces(arguments)
        with _packed_call.expected() as calls:
            output = padded(**_packed_arguments(base, arguments, pieces))
        if not calls[0]:
            raise NotImplementedError(
                f"packed: {type(base).__name__} did not call attention through transformers' "
                "interface.\n  Run this model on the padded batch."
            )
        return _padded_output(base, output, pieces)

    return forward


def _pieces(arguments: dict[str, Any]) -> Pieces:
    tokens = arguments.get("input_ids", arguments.get("inputs_embeds"))
    if tokens is None:
        raise ValueError("packed: there are neither input_ids nor inputs_embeds.\n  Give one.")
    mask = arguments.get("attention_mask")
    if mask is None:
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
    if mask.shape != tokens.shape[:2]:
        raise ValueError(
            f"packed: attention_mask has shape {tuple(mask.shape)}, the tokens "
            f"{tuple(tokens.shape[:2])}.\n  Give one number for each token: 1, or 0 for padding."
        )
    if not mask.any():
        raise ValueError(
            f"packed: attention_mask {tuple(mask.shape)} is 0 everywhere.\n  Give a batch that has "
            "tokens."
        )
    return Pieces.of(mask)


def _packed_arguments(
    base: PreTrainedModel, arguments: dict[str, Any], pieces: Pieces
) -> dict[str, Any]:
    """Put together the arguments of the call without padding."""
    rest = {name: x for name, x in arguments.items() if name != "attention_mask"}
    if rest.get("use_cache") or rest.get("cache") or rest.get("past_key_values"):
        raise NotImplementedError(
            "packed: the call has a cache.\n  Give use_cache=False, or generate outside of the "
            "block."
        )
    if rest.get("output_attentions") or rest.get("return_dict") is False:
        name = "output_attentions" if rest.get("output_attentions") else "return_dict"
        raise ValueError(f"packed: {name} is {rest[name]}.\n  Run the padded batch for that.")
    for name, x in rest.items():
        if name in _BY_TOKEN:
            rest[name] = pieces.pack(x.expand(pieces.batch, -1) if x.ndim == 2 else x)
        elif isinstance(x, torch.Tensor) and x.ndim > 0:
            raise ValueError(
                f"packed: there is no packed form of {name} {tuple(x.shape)}.\n  Run the padded "
                "batch, or leave it out."
            )
    rest.setdefault("position_ids", pieces.positions + _first_position(base))
    takes = inspect.signature(base.forward).parameters
    if "use_cache" in takes:
        rest["use_cache"] = False
    return {
        **rest,
        "cu_seq_lens_q": pieces.starts,
        "cu_seq_lens_k": pieces.starts,
        "max_length_q": pieces.longest,
        "max_length_k": pieces.longest,
    }


def _first_position(base: PreTrainedModel) -> int:
    """Say what the first position is called: RoBERTa counts from behind its padding."""
    embeddings = getattr(base, "embeddings", None)
    if hasattr(embeddings, "create_position_ids_from_input_ids"):
        return int(embeddings.padding_idx) + 1  # type: ignore[union-attr]
    return 0


def _padded_output(base: PreTrainedModel, output: Any, pieces: Pieces) -> Any:
    """Pad the result, and pool it again: the first token of the row is not that of each text."""
    output.last_hidden_state = pieces.pad(output.last_hidden_state)
    if output.get("hidden_states") is not None:
        output.hidden_states = tuple(pieces.pad(x) for x in output.hidden_states)
    if output.get("pooler_output") is not None:
        output.pooler_output = base.pooler(output.last_hidden_state)
    return output
