"""Models of Hugging Face transformers on regard: ``attn_implementation="regard"``.

Imported only when asked for; ``pip install "regard[transformers]"`` installs what it needs.

    import regard.transformers

    model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="regard")

For transformers 4.57 and 5.0 to 5.24; those are the versions that were tested. With 4.57 models
that do not use its attention interface yet, most encoders among them, are not reached.
"""

from regard.transformers._packed import packed
from regard.transformers._register import register
from regard.transformers._stats import stats
from regard.transformers._watch import watch

register()

__all__ = ["packed", "register", "stats", "watch"]
