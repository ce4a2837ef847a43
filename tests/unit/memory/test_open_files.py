"""The limit of open files, of which a search index needs many."""

from __future__ import annotations

import resource

from memgpt_memory.service import _allow_open_files


def test_the_limit_of_open_files_is_raised_to_the_most_that_is_allowed() -> None:
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        _allow_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
