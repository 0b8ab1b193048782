"""Sphinx configuration: ``sphinx-build -W docs docs/_build`` with the extra ``docs`` installed."""

from importlib.metadata import version as installed_version

project = "regard"
author = "The regard developers"
copyright = "The regard developers"
version = release = installed_version("regard")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc"]
exclude_patterns = ["_build"]
nitpicky = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it with shapes
autodoc_mock_imports = ["torch", "jax", "transformers"]
numpydoc_show_class_members = False

html_theme = "furo"
html_title = "regard"
html_show_sphinx = False
