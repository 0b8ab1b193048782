"""Sphinx configuration: ``sphinx-build -nW docs docs/_build`` with the extra ``docs`` installed."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

from inventories import write_inventories  # noqa: E402

import regard  # noqa: E402

project = "regard"
author = "The regard developers"
copyright = "The regard developers"
version = release = regard.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "names",
    "dark_pictures",
    "dense_tables",
]
exclude_patterns = ["_build", "_make", "_templates", "inventories"]
templates_path = ["_templates"]
default_role = "py:obj"

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it with shapes
autodoc_mock_imports = [
    "dask", "distributed", "jax", "keras", "onnx", "torch", "transformers",
]  # fmt: skip
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"  # but these, and what numpydoc knows of Python and NumPy
numpydoc_xref_aliases = {
    "BlockMask": "regard.BlockMask",
    "Gradients": "regard.Gradients",
    "PackedMask": "regard.PackedMask",
    "PositionBias": "regard.bias.PositionBias",
    "Rope": "regard.positions.Rope",
    "Tensor": "torch.Tensor",
    "torch.Tensor": "torch.Tensor",
    "jax.Array": "jax.Array",
}
# The members that the page of a class has; others describe theirs in the class's own docstring.
autosummary_context = {
    "members": {
        "regard.BlockMask": "from_dense, from_function, to_dense, ndim, density, block_density",
        "regard.Explanation": "kernel",
        "regard.KVCache": "",
        "regard.LatentKVCache": "",
        "regard.PackedMask": "from_dense, to_dense",
        "regard.PagedKVCache": "",
        "regard.PagedLatentKVCache": "",
        "regard.Vjp": "__call__",
        "regard.bias.PositionBias": "",
        "regard.positions.Rope": "__call__",
        "regard.positions.Scaling": "",
    }
}

intersphinx_mapping = write_inventories(HERE / "inventories", HERE / "_build" / "inventories")
code = ("python", "py", "pycon", "default", "sh", "console", "cpp")  # but not what is printed
copybutton_selector = ", ".join(f"div.highlight-{language} pre" for language in code)
copybutton_exclude = ".linenos, .gp, .go"  # neither prompts nor output


pygments_dark_style = "github-dark"

html_theme = "furo"
html_title = "regard"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["regard.css"]
html_favicon = "_static/mark.svg"
html_theme_options = {
    "light_logo": "wordmark-light.svg",
    "dark_logo": "wordmark-dark.svg",
    "sidebar_hide_name": True,
    "navigation_with_keys": True,
}


def setup(app):
    """Fences that tests read are plain text; modules without a source have no page to link to."""
    from pygments.lexers.special import TextLexer

    for fence in ("arrows", "layers"):
        app.add_lexer(fence, TextLexer)
    app.connect("html-collect-pages", forget_modules_without_source, priority=400)


def forget_modules_without_source(app):
    """Viewcode lists every module that it has met, those of ``autodoc_mock_imports`` too."""
    modules = getattr(app.env, "_viewcode_modules", {})
    for name in [name for name, source in modules.items() if not source]:
        del modules[name]
    return []
