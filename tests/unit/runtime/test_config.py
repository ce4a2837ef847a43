from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from memgpt.cli.settings import ClientSettings
from memgpt.config import ConfigError, ServerSettings, ServiceSection, home_dir, load_config
from memgpt_agent.config import AgentSettings
from memgpt_loader.config import LoaderSettings
from memgpt_memory.config import MemorySettings
from pydantic import Field, SecretStr


class Settings(ServiceSection):
    port: int = Field(default=50052, ge=0, le=65535, description="Port to listen on; 0 for any free one.")
    key: SecretStr = SecretStr("")
    extensions: tuple[str, ...] = (".txt",)


def _load(tmp_path: Path, text: str = "", **environ: str) -> tuple[Settings, Path]:
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    config = load_config("memory", Settings, environ={"MEMGPT_HOME": str(tmp_path), **environ})
    assert config.path == file
    return config.service, file


def _error(tmp_path: Path, text: str = "", **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text, **environ)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(tmp_path / "config.toml"), "FILE")


def test_environment_beats_file_beats_default(tmp_path: Path) -> None:
    assert _load(tmp_path)[0].port == 50052
    assert _load(tmp_path, "[memory]\nport = 1")[0].port == 1
    assert _load(tmp_path, "[memory]\nport = 1", MEMGPT_MEMORY_PORT="2")[0].port == 2


def test_no_file_is_no_error_unless_it_was_named(tmp_path: Path) -> None:
    config = load_config("memory", Settings, environ={"MEMGPT_HOME": str(tmp_path / "none")})
    assert config.path is None
    assert config.service == Settings()
    with pytest.raises(ConfigError, match="file not found"):
        load_config("memory", Settings, environ={"MEMGPT_CONFIG": str(tmp_path / "none.toml")})
    with pytest.raises(ConfigError, match="file not found"):
        load_config("memory", Settings, path=tmp_path / "none.toml", environ={})


def test_one_file_serves_every_service(tmp_path: Path) -> None:
    text = '[memory]\nport = 1\n[agent]\nanything = "x"\n[loader]\n[client]\n[server]\nlog_level = "debug"\n'
    (tmp_path / "config.toml").write_text(text)
    config = load_config("memory", Settings, environ={"MEMGPT_HOME": str(tmp_path)})
    assert (config.service.port, config.server.log_level) == (1, "debug")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[memory]\nprot = 1", 'FILE: unknown key "prot" in [memory]; did you mean "port"?'),
        (
            "[memory]\nqqq = 1",
            'FILE: unknown key "qqq" in [memory]; known are: host, port, metrics_port, key, extensions',
        ),
        ("[memroy]\n", 'FILE: unknown section [memroy]; did you mean "memory"?'),
        ("[server]\nlog_levle = 1", 'FILE: unknown key "log_levle" in [server]; did you mean "log_level"?'),
        ("memory = 1", "FILE: memory must be a section, [memory], not a value"),
        (
            "[memory]\nport = 70000",
            "FILE: memory.port: input should be less than or equal to 65535 (Port to listen on; 0 for any free one)",
        ),
        (
            "[server]\nlog_level = 'loud'",
            "FILE: server.log_level: input should be 'debug', 'info', 'warning' or 'error'"
            " (Minimum level of logged events)",
        ),
        (
            "[server]\ntls_cert = 'c.pem'",
            "FILE: [server]: tls_cert and tls_key belong together; set both, or neither for plaintext",
        ),
    ],
)
def test_mistakes_in_the_file_name_key_and_fix(tmp_path: Path, text: str, message: str) -> None:
    assert _error(tmp_path, text) == message


def test_file_that_is_no_toml(tmp_path: Path) -> None:
    assert _error(tmp_path, "[memory").startswith("FILE is not valid TOML: ")
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_config("memory", Settings, environ={"MEMGPT_HOME": str(tmp_path)})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config("memory", Settings, path=tmp_path, environ={})


def test_mistakes_in_the_environment_name_the_variable(tmp_path: Path) -> None:
    assert _error(tmp_path, MEMGPT_MEMORY_PORT="many").startswith("environment: MEMGPT_MEMORY_PORT: input should be")
    assert _error(tmp_path, MEMGPT_SERVER_LOG_LEVLE="info") == (
        'environment: unknown variable MEMGPT_SERVER_LOG_LEVLE; did you mean "MEMGPT_SERVER_LOG_LEVEL"?'
    )


def test_all_problems_of_a_section_are_told_at_once(tmp_path: Path) -> None:
    message = _error(tmp_path, "[memory]\nport = -1\nmetrics_port = 99999")
    assert "memory.port" in message
    assert "memory.metrics_port" in message


def test_variables_of_other_sections_and_of_kubernetes_are_left_alone(tmp_path: Path) -> None:
    settings, _ = _load(
        tmp_path,
        MEMGPT_AGENT_ANYTHING="x",
        MEMGPT_MEMORY_SERVICE_HOST="10.0.0.7",
        MEMGPT_MEMORY_SERVICE_PORT="50052",
        MEMGPT_MEMORY_SERVICE_PORT_GRPC="50052",
        MEMGPT_MEMORY_PORT="tcp://10.0.0.7:50052",
        MEMGPT_MEMORY_PORT_50052_TCP="tcp://10.0.0.7:50052",
        MEMGPT_MEMORY_PORT_50052_TCP_ADDR="10.0.0.7",
    )
    assert settings == Settings()


@pytest.mark.parametrize("service", ["METRICS", "CANARY", "GRPC_V2"])
def test_kubernetes_services_with_longer_names_are_left_alone(tmp_path: Path, service: str) -> None:
    links = {
        f"MEMGPT_{section}_{service}_{key}": value
        for section in ("MEMORY", "SERVER")
        for key, value in {
            "SERVICE_HOST": "10.0.0.7",
            "SERVICE_PORT_HTTP": "9464",
            "PORT": "tcp://10.0.0.7:9464",
            "PORT_9464_TCP": "tcp://10.0.0.7:9464",
            "PORT_9464_UDP_PROTO": "udp",
        }.items()
    }
    assert _load(tmp_path, **links)[0] == Settings()


SECTIONS: dict[str, Any] = {
    "agent": AgentSettings,
    "client": ClientSettings,
    "loader": LoaderSettings,
    "memory": MemorySettings,
    "server": ServerSettings,
}


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("address", ["10.0.0.7", "[fd00::7]"])
def test_a_kubernetes_service_may_be_named_like_any_setting(tmp_path: Path, section: str, address: str) -> None:
    reader = "memory" if section == "server" else section
    plain = load_config(reader, SECTIONS[reader], environ={"MEMGPT_HOME": str(tmp_path)})
    for setting in ("", *SECTIONS[section].model_fields):
        name = f"MEMGPT_{section}_{setting}".upper().rstrip("_")
        links = {
            f"{name}_SERVICE_HOST": address.strip("[]"),
            f"{name}_SERVICE_PORT": "50051",
            f"{name}_SERVICE_PORT_GRPC": "50051",
            f"{name}_PORT": f"tcp://{address}:50051",
            f"{name}_PORT_50051_TCP": f"tcp://{address}:50051",
            f"{name}_PORT_50051_TCP_PROTO": "tcp",
            f"{name}_PORT_50051_TCP_PORT": "50051",
            f"{name}_PORT_50051_TCP_ADDR": address.strip("[]"),
        }
        assert load_config(reader, SECTIONS[reader], environ={"MEMGPT_HOME": str(tmp_path), **links}) == plain, name


@pytest.mark.parametrize("address", ["::1:50052", "fd00::7:50052"])
def test_an_address_of_ipv6_needs_brackets(tmp_path: Path, address: str) -> None:
    def load(address: str) -> str:
        environ = {"MEMGPT_HOME": str(tmp_path), "MEMGPT_AGENT_MEMORY_ADDRESS": address}
        return load_config("agent", AgentSettings, environ=environ).service.memory_address

    host = address.removesuffix(":50052")
    with pytest.raises(ConfigError, match=re.escape(f'such as "[{host}]:50052"')):
        load(address)
    with pytest.raises(ConfigError, match=re.escape(f'such as "[{host}]:50051"')):
        load(host)
    for fine in (f"[{host}]:50052", "memory:50052", "dns:///memory:50052", "10.0.0.7:50052", "ipv6:[::1]:50052"):
        assert load(fine) == fine


def test_a_port_that_is_no_service_link_is_still_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MEMGPT_MEMORY_METRICS_PORT"):
        _load(tmp_path, MEMGPT_MEMORY_METRICS_PORT="http://10.0.0.7:9464")


def test_lists_in_the_environment_are_separated_by_commas(tmp_path: Path) -> None:
    assert _load(tmp_path, MEMGPT_MEMORY_EXTENSIONS=".md, .pdf,")[0].extensions == (".md", ".pdf")


def test_secret_is_in_no_representation_and_no_error(tmp_path: Path) -> None:
    settings, _ = _load(tmp_path, '[memory]\nkey = "hush-hush"')
    assert settings.key.get_secret_value() == "hush-hush"
    assert "hush" not in repr(settings)
    assert "hush" not in _error(tmp_path, '[memory]\nkey = ["hush-hush"]')


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings, _ = _load(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


def test_home(tmp_path: Path) -> None:
    assert home_dir({"MEMGPT_HOME": str(tmp_path)}) == tmp_path
    assert home_dir({}) == Path.home() / ".memgpt"
