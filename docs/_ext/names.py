"""Names of the package become links, wherever a page or a docstring writes them as code.

A page writes ``regard.attention`` or ``KVCache.append`` in backticks, as a README would; what the
reference documents under that name is linked, and so are dotted names of other projects that are in
the inventories. In docstrings a name in single backticks is looked
up from its own module first. What is no name of the package there, such as a parameter, is code; a
name that begins with ``regard.`` and is not documented is an error under ``-n``.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.intersphinx import InventoryAdapter
from sphinx.util.nodes import make_refnode

NAME = re.compile(r"(?:regard\.)?[A-Za-z_]\w*(?:\.\w+)*(?=(?:\([^()]*\))?$)")
# Documented, and also options or everyday words: meant only with the package in front.
_WORDS = frozenset({"alibi_slopes", "bias", "masks", "plot", "positions", "reference"})


def documented(env: BuildEnvironment, text: str) -> tuple[str, Any] | None:
    """Find what the reference has under a name, with or without ``regard.`` in front."""
    objects = env.domains.python_domain.objects
    if text in _WORDS:
        return None
    for name in (text, f"regard.{text}"):
        if name.startswith("regard.") and name in objects:
            return name, objects[name]
    return None


def elsewhere(env: BuildEnvironment, text: str) -> str | None:
    """Find the address of a dotted name of another project, in the inventories."""
    if "." not in text:
        return None
    for kind, entries in InventoryAdapter(env).main_inventory.items():
        if kind.startswith("py:") and text in entries:
            entry: Any = entries[text]
            return str(entry.uri if hasattr(entry, "uri") else entry[2])
    return None


def link_literals(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Turn inline code that is a documented name into a link."""
    for literal in list(doctree.findall(nodes.literal)):
        parent = literal.parent
        if isinstance(parent, (nodes.reference, nodes.title, nodes.term)) or literal.children == []:
            continue
        match = NAME.match(literal.astext())
        found = match and documented(app.env, match[0])
        if not found:
            if match and (address := elsewhere(app.env, match[0])):
                parent.replace(literal, nodes.reference("", "", literal.deepcopy(), refuri=address))
            continue
        if found[1].docname == page:
            continue
        name, entry = found
        link = make_refnode(
            app.builder, page, entry.docname, entry.node_id, literal.deepcopy(), name
        )
        parent.replace(literal, link)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Resolve what the Python domain did not find: shorter names, and names that are none."""
    if node.get("refdomain") != "py" or node.get("reftype") not in ("obj", "mod", "class"):
        return None
    target = node["reftarget"]
    if found := documented(env, target):
        name, entry = found
        docname = node.get("refdoc", env.docname)
        return make_refnode(app.builder, docname, entry.docname, entry.node_id, content, name)
    # Left alone, -n speaks of it.
    return None if target.startswith("regard.") or node["reftype"] != "obj" else content


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect both."""
    app.connect("doctree-resolved", link_literals)
    app.connect("missing-reference", resolve, priority=900)  # after intersphinx
    return {"parallel_read_safe": True, "parallel_write_safe": True}
