"""Write a variant of `deploy/envoy/envoy.yaml`.

    scripts/envoy.py --plaintext --without-tokens >/etc/envoy/envoy.yaml

The tests run the variants that this makes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SOURCE = Path(__file__).resolve().parent.parent / "deploy" / "envoy" / "envoy.yaml"
FOLDER = "/etc/envoy"
"""Folder of certificates, keys and descriptors in the source."""

JWT = "envoy.filters.http.jwt_authn"
RATE_LIMIT = "envoy.filters.http.local_ratelimit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """How a configuration differs from the source.

    Attributes:
        listen: ``host:port`` of the listener; None for the source's.
        admin: ``host:port`` of the admin interface; None for the source's.
        upstreams: Addresses of the servers by cluster; a cluster without an entry keeps the source's.
        plaintext: Whether connections have no TLS, to clients and to servers.
        tokens: Whether callers without an API key need a token of the issuer.
        issuer: Issuer of tokens; None for the source's.
        calls_per_second: Rate limit; a burst may have twice as many. None for the source's.
        folder: Folder of certificates, keys and descriptors.
    """

    listen: str | None = None
    admin: str | None = None
    upstreams: Mapping[str, Sequence[str]] | None = None
    plaintext: bool = False
    tokens: bool = True
    issuer: str | None = None
    calls_per_second: int | None = None
    folder: str = FOLDER


def render(variant: Variant) -> str:
    """Return the configuration as JSON, which Envoy reads like YAML."""
    config = yaml.safe_load(SOURCE.read_text(encoding="utf-8").replace(f"{FOLDER}/", f"{variant.folder}/"))
    # Aliases of YAML are one object for Python; what is changed here must not change elsewhere.
    config = json.loads(json.dumps(config))
    (listener,) = config["static_resources"]["listeners"]
    if variant.listen:
        listener["address"] = _address(variant.listen)
    if variant.admin:
        config["admin"]["address"] = _address(variant.admin)
    (chain,) = listener["filter_chains"]
    _change_filters(chain["filters"][0]["typed_config"], variant)
    if variant.plaintext:
        del chain["transport_socket"]
    for cluster in config["static_resources"]["clusters"]:
        _change_cluster(cluster, variant)
    return json.dumps(config, indent=1)


def _change_filters(manager: dict[str, Any], variant: Variant) -> None:
    if not variant.tokens:
        manager["http_filters"] = [each for each in manager["http_filters"] if each["name"] != JWT]
    settings = {each["name"]: each["typed_config"] for each in manager["http_filters"]}
    if variant.issuer and JWT in settings:
        settings[JWT]["providers"]["issuer"]["issuer"] = variant.issuer
    if variant.calls_per_second is not None:
        rate = variant.calls_per_second
        settings[RATE_LIMIT]["token_bucket"] |= {"max_tokens": 2 * rate, "tokens_per_fill": rate}


def _change_cluster(cluster: dict[str, Any], variant: Variant) -> None:
    if variant.plaintext:
        del cluster["transport_socket"]
    if addresses := (variant.upstreams or {}).get(cluster["name"]):
        (group,) = cluster["load_assignment"]["endpoints"]
        group["lb_endpoints"] = [{"endpoint": {"address": _address(address)}} for address in addresses]


def _address(text: str) -> dict[str, Any]:
    host, _, port = text.rpartition(":")
    address = {"address": host.strip("[]"), "port_value": int(port)}
    # As the services do, it listens on both families.
    return {"socket_address": address | ({"ipv4_compat": True} if address["address"] == "::" else {})}


def main() -> None:
    """Write the variant that the options describe to standard output."""
    parser = argparse.ArgumentParser(description="Write a variant of deploy/envoy/envoy.yaml to standard output.")
    parser.add_argument("--listen", metavar="HOST:PORT", help="address of the listener; [::]:PORT for IPv6 and IPv4")
    parser.add_argument("--admin", metavar="HOST:PORT", help="address of the admin interface")
    parser.add_argument("--agent", action="append", default=[], metavar="HOST:PORT", help="an Agent; repeatable")
    parser.add_argument("--loader", action="append", default=[], metavar="HOST:PORT", help="a Loader; repeatable")
    parser.add_argument("--plaintext", action="store_true", help="no TLS, to clients and to servers")
    parser.add_argument("--without-tokens", action="store_true", help="leave the check of tokens to the services")
    parser.add_argument("--issuer", help="issuer of tokens")
    parser.add_argument("--calls-per-second", type=int, metavar="N", help="rate limit")
    parser.add_argument("--folder", default=FOLDER, help="folder of certificates, keys and descriptors")
    options = parser.parse_args()
    variant = Variant(
        listen=options.listen,
        admin=options.admin,
        upstreams={"agent": options.agent, "loader": options.loader},
        plaintext=options.plaintext,
        tokens=not options.without_tokens,
        issuer=options.issuer,
        calls_per_second=options.calls_per_second,
        folder=options.folder,
    )
    print(render(variant))


if __name__ == "__main__":
    main()
