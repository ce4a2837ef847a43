"""The search index of the Lite adapter: exact inner products and BM25 over memory-mapped arrays.

It is derived from the rows and never the source of truth: the adapter's writes feed it, and it is brought up to date
from the rows when it is missing, stale or damaged. Nothing outside the adapter knows that it exists.

- `search_index`: the index of one collection. `segment`: an immutable part of it, in memory or in a file.
- `bm25`: which rows hold which words, and their scores. `masks`: conditions over a segment. `hits`: scores in order.
- `arrays`: the file format.
"""
