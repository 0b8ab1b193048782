"""Check a site that was built: python docs/_make/check_site.py docs/_build.

Every link, picture and anchor inside it leads somewhere, and its search finds what people type who
know another library's words. Links that leave the site are not followed.
"""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.search.en import SearchEnglish

SOUGHT = (
    "scaled_dot_product_attention", "attn_mask", "key_padding_mask", "flash_attn_func", "einsum",
    "macOS", "GPU", "memory_efficient_attention", "softmax_scale", "is_causal", "window_size",
    "MultiheadAttention", "GQA", "AMX",
)  # fmt: skip


class Page(HTMLParser):
    """The ids of a page, and where its links and pictures lead."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of what the tag has."""
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif (tag, name) in (("a", "href"), ("img", "src"), ("link", "href")) and value:
                self.links.append(value)


def dead_links(site: Path) -> list[str]:
    """Links that lead nowhere, each with the page that has it."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            where = urlsplit(link)
            if where.scheme or where.netloc:
                continue
            target = (path.parent / unquote(where.path)).resolve() if where.path else path
            anchors = pages[target].ids if target in pages else {where.fragment}
            if not target.exists() or (where.fragment and unquote(where.fragment) not in anchors):
                dead.append(f"{path.relative_to(site)}: {link}")
    return dead


def not_found(site: Path) -> list[str]:
    """Words that the search does not find."""
    text = (site / "searchindex.js").read_text("utf-8")
    terms = json.loads(text[text.index("{") : text.rindex("}") + 1])["terms"]
    language = SearchEnglish({})
    return [word for word in SOUGHT if language.stem(word.lower()) not in terms]


def main(folder: str) -> int:
    """Say what is wrong; 1 if anything is."""
    site = Path(folder).resolve()
    pages = len(list(site.rglob("*.html")))
    dead, unknown = dead_links(site), not_found(site)
    for line in dead:
        print(f"dead link: {line}")
    for word in unknown:
        print(f"the search does not find: {word}")
    print(f"{pages} pages, {len(dead)} dead links, {len(SOUGHT) - len(unknown)} words found")
    return bool(dead or unknown or not pages)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
