"""Masks of transformers as options of regard: both say the same, and nothing dense is made."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import regard
from regard import reference

torch: Any = pytest.importorskip("torch")
masking: Any = pytest.importorskip("transformers.masking_utils")
adapter: Any = pytest.importorskip("regard.transformers")
registered = masking.AttentionMaskInterface()

LEFT = torch.tensor([0, 3])
RIGHT_PADDED = [[1] * 10, [1] * 6 + [0] * 4]
LEFT_PADDED = [[1] * 10, [0] * 3 + [1] * 7]
RAGGED = [[0] + [1] * 9, [0] * 2 + [1] * 5 + [0] * 3]


def functions() -> dict[str, Any]:
    """Every mask function of the installed transformers that has a compact form."""
    made = {
        "causal": masking.causal_mask_function,
        "window": masking.sliding_window_causal_mask_function(3),
        "chunks": masking.chunked_causal_mask_function(4, LEFT),
    }
    if hasattr(masking, "bidirectional_mask_function"):
        made["bidirectional"] = masking.bidirectional_mask_function
    if hasattr(masking, "sliding_window_bidirectional_mask_function"):
        made["both sides"] = masking.sliding_window_bidirectional_mask_function(2)
    documents = masking.packed_sequence_mask_function(
        torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2, 2], [0] * 5 + [1] * 5])
    )
    made["documents"] = masking.and_masks(made["window"], documents)
    if hasattr(masking, "blockwise_overlay"):
        blocks = torch.tensor(
            [[-1, 0, 0, 0, -1, -1, 1, 1, -1, -1], [0, 0, -1, -1, 2, 2, 2, 2, 2, -1]]
        )
        made["blocks"] = masking.or_masks(made["window"], masking.blockwise_overlay(blocks))
    return made


def make(name: str, function: Any, queries: int, start: int, keys: int, padding: Any) -> Any:
    """Call a registered mask function in the words of the installed transformers."""
    given: dict[str, Any] = {
        "batch_size": 2,
        "kv_length": keys,
        "kv_offset": 10 - keys,
        "mask_function": function,
        "attention_mask": None if padding is None else torch.tensor(padding).bool(),
        "dtype": torch.float32,
    }
    positions = {"q_length": queries, "q_offset": start}
    if "q_length" not in inspect.signature(masking.sdpa_mask).parameters:
        positions = {"cache_position": torch.arange(start, start + queries)}
    return registered[name](**given, **positions)


def seen(mask: Any, queries: int, keys: int) -> Any:
    """What the options of a mask let see, by the definition."""
    options = mask.options
    found = reference.visible((2, 1, queries, keys), **options)
    return np.broadcast_to(found, (2, 1, queries, keys))


PLACES = {"whole": (10, 0, 10), "last": (1, 9, 10), "some": (4, 6, 10), "late keys": (3, 7, 6)}
PADDINGS = {"none": None, "right": RIGHT_PADDED, "left": LEFT_PADDED, "ragged": RAGGED}


# transformers packs whole texts without padding only.
CASES = [
    (kind, place, padding)
    for kind in functions()
    for place in PLACES
    for padding in PADDINGS
    if kind != "documents" or (place, padding) == ("whole", "none")
]


@pytest.mark.parametrize(("kind", "place", "padding"), CASES)
def test_options_mean_the_mask(kind: str, place: str, padding: str) -> None:
    queries, start, keys = PLACES[place]
    arguments = functions()[kind], queries, start, keys, PADDINGS[padding]
    expected = make("eager", *arguments) == 0
    adapter.stats(reset=True)
    mask = make("regard", *arguments)
    assert "mask: dense" not in adapter.stats()
    assert mask.shape == (2, 1, queries, keys)
    np.testing.assert_array_equal(seen(mask, queries, keys), expected.numpy())
    assert isinstance(mask.options.get("mask"), regard.BlockMask | None)


def test_slots_that_a_cache_has_not_filled() -> None:
    """Keys beyond the padding mask, as in static caches."""
    padding = torch.tensor(RIGHT_PADDED)[:, :6].tolist()
    for function in (masking.causal_mask_function, masking.sliding_window_causal_mask_function(3)):
        for queries, start in ((6, 0), (1, 5)):
            arguments = function, queries, start, 10, padding
            mask = make("regard", *arguments)
            np.testing.assert_array_equal(
                seen(mask, queries, 10), (make("eager", *arguments) == 0).numpy()
            )
            assert "mask" not in mask.options


def test_whole_texts_say_nothing_but_causal() -> None:
    mask = make("regard", masking.causal_mask_function, 10, 0, 10, [[1] * 10] * 2)
    assert mask.options == {"causal": True}
    mask = make("regard", masking.causal_mask_function, 10, 0, 10, RIGHT_PADDED)
    assert sorted(mask.options) == ["causal", "key_mask"]
    mask = make("regard", masking.causal_mask_function, 1, 9, 10, None)
    assert mask.options == {}


def strange(batch: Any, head: Any, query: Any, key: Any) -> Any:
    return (key <= query) & (key % 3 != 1)


def test_unknown_functions_are_dense_and_said_once() -> None:
    adapter.stats(reset=True)
    arguments = strange, 10, 0, 10, RIGHT_PADDED
    with pytest.warns(RuntimeWarning, match="the mask function strange is not known"):
        mask = make("regard", *arguments)
    again = make("regard", *arguments)  # a second warning would be an error
    assert adapter.stats() == {"mask: dense": 2}
    expected = (make("eager", *arguments) == 0).numpy()
    for found in (mask, again):
        np.testing.assert_array_equal(seen(found, 10, 10), expected)


def test_a_mask_is_made_when_the_model_works_on_it() -> None:
    arguments = masking.causal_mask_function, 4, 6, 10, LEFT_PADDED
    mask, expected = make("regard", *arguments), make("eager", *arguments)
    adapter.stats(reset=True)
    for same in (
        mask[:, :, :, :10],
        mask.contiguous(),
        mask.detach(),
        mask[:, :, :, : mask.size(-1)],
    ):
        assert same.options is mask.options
    assert adapter.stats() == {}
    assert repr(mask).startswith("LazyMask((2, 1, 4, 10), {'causal': True")
    assert torch.equal(mask + 1, expected + 1)
    assert torch.equal(mask[:, :, :2, :7], expected[:, :, :2, :7])
    assert torch.equal(torch.cat([mask, mask], dim=-1), torch.cat([expected] * 2, dim=-1))
    assert adapter.stats() == {"mask: made dense": 1}


def test_masks_are_only_for_the_cpu() -> None:
    with pytest.raises(TypeError, match="is on the device meta"):
        registered["regard"](
            batch_size=1,
            q_length=3,
            cache_position=None,
            kv_length=3,
            attention_mask=torch.ones(1, 3, device="meta"),
        )
