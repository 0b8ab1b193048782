"""Caches of keys and values for text generation."""

from regard.cache._contiguous import KVCache
from regard.cache._latent import LatentKVCache
from regard.cache._paged import PagedKVCache
from regard.cache._paged_latent import PagedLatentKVCache
from regard.cache._pages import OutOfPages

__all__ = ["KVCache", "LatentKVCache", "OutOfPages", "PagedKVCache", "PagedLatentKVCache"]
