"""Caches of keys and values for text generation."""

from regard.cache._contiguous import KVCache
from regard.cache._paged import PagedKVCache
from regard.cache._pages import OutOfPages

__all__ = ["KVCache", "OutOfPages", "PagedKVCache"]
