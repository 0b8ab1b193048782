"""Models of Hugging Face transformers on regard: ``attn_implementation="regard"``.

Imported only when asked for; ``pip install "regard[transformers]"`` installs what it needs.

    import regard.transformers  # registers "regard"

    model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="regard")

For transformers from 4.57 on; tested with 4.57.6, 5.0.0, 5.10.4 and 5.24.0. Models of 4.57 that do
not use its attention interface, most encoders among them, are not reached.
"""

from regard.transformers._packed import packed
from regard.transformers._register import register
from regard.transformers._stats import stats
from regard.transformers._watch import watch

register()

__all__ = ["packed", "register", "stats", "watch"]
