"""Writes `configs/` for the server of the package `milvus`, as its official image has it: well-known ports and folders.

configure.py FOLDER     the folder with the server's `bin` and `config.yaml.template`
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_FOLDERS = {
    "etcd_data_dir": "/var/lib/milvus/etcd",
    "local_storage_dir": "/var/lib/milvus/data",
    "rocksmq_data_dir": "/var/lib/milvus/rdb_data",
    "etcd_log_path": "stdout",
}


def configure(home: Path) -> None:
    """Fills the template: our folders, else its own defaults."""

    def fill(match: re.Match[str]) -> str:
        name, _, default = match[1].partition(":")
        return _FOLDERS.get(name.split("(")[0].strip(), default.strip())

    configs = home / "configs"
    configs.mkdir()
    template = home / "config.yaml.template"
    (configs / "milvus.yaml").write_text(re.sub(r"\{\{(.*?)\}\}", fill, template.read_text()))
    (home / "glog.conf").rename(configs / "glog.conf")
    template.unlink()


if __name__ == "__main__":
    configure(Path(sys.argv[1]))
