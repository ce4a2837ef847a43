"""The configuration file written from the answers."""

from __future__ import annotations

import contextlib
import re
import stat
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from memgpt.cli.endpoint_probe import Endpoint
from memgpt.cli.errors import MISUSE, CliError
from memgpt.cli.setup import configure, discovery, doctor, questions
from memgpt.cli.setup.answers import (
    Answers,
    Extras,
    current,
    default_uri,
    document,
    extras,
    read_document,
    write_document,
)
from memgpt.cli.setup.checks import check_key, check_uri, check_url, check_window
from memgpt.cli.setup.configure import (
    complete,
    endpoint_overrides,
    from_flags,
    quick,
    save,
    with_embedding,
    with_extras,
    with_local_transformer,
)
from memgpt.cli.terminal.ui import Ui
from memgpt.config import ConfigError

from tests.support.scripted_llm import call
from tests.support.tiny_transformer import write_transformer


def test_offline_needs_no_more_than_a_place_for_the_store(monkeypatch, tmp_path):
    monkeypatch.setenv("MEMGPT_HOME", str(tmp_path))
    assert document({}, Answers()) == {
        "agent": {"model": "offline"},
        "memory": {"uri": str(tmp_path / "milvus.db"), "embedding": "wordllama"},
    }


def test_the_default_uri_is_in_the_home_folder(monkeypatch):
    monkeypatch.delenv("MEMGPT_HOME", raising=False)
    assert default_uri() == "~/.memgpt/milvus.db"


def test_new_answers_replace_old_ones_and_leave_other_settings():
    old: dict[str, dict[str, object]] = {
        "server": {"log_level": "debug"},
        "agent": {"model": "gpt-4o", "base_url": "https://api.openai.com/v1", "api_key": "sk-old", "max_steps": 7},
    }
    new = document(old, Answers(milvus_uri="http://localhost:19530"))
    assert new["server"] == {"log_level": "debug"}
    assert new["agent"] == {"model": "offline", "max_steps": 7}
    assert new["memory"]["uri"] == "http://localhost:19530"
    assert old["agent"]["api_key"] == "sk-old"


def test_flags_of_an_endpoint():
    answers = from_flags("qwen", "http://localhost:11434/v1", "key", "tools", 8192, "/srv/x.db")
    answers = with_embedding(answers, "embed", "", "key", 768)
    written = document({}, answers)
    assert written["agent"] == {
        "model": "qwen",
        "base_url": "http://localhost:11434/v1",
        "api_key": "key",
        "mode": "tools",
        "context_window": 8192,
    }
    assert written["memory"] == {
        "uri": "/srv/x.db",
        "embedding": "openai",
        "embedding_model": "embed",
        "embedding_dimension": 768,
        "embedding_base_url": "http://localhost:11434/v1",
        "embedding_api_key": "key",
    }


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("m", "", "", "sometimes", 0, ""), "sometimes"),
        (("", "http://localhost/v1", "", "auto", 0, ""), "--model"),
    ],
)
def test_flags_that_do_not_go_together(flags, word):
    with pytest.raises(CliError, match=word) as caught:
        from_flags(*flags)
    assert caught.value.code == MISUSE


@pytest.mark.parametrize("uri", ["~/.memgpt/milvus.db", "/srv/x.db", "http://localhost:19530", "https://u:p@cloud:443"])
def test_uris_that_memory_takes(uri):
    assert check_uri(f" {uri} ") == uri


def test_a_relative_store_is_the_same_in_every_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert check_uri("x.db") == str(tmp_path / "x.db")


@pytest.mark.parametrize(
    "uri", ["milvus", "localhost:19530", "/tmp/dir/", "", "http://", "ftp://h:1", "http://h:x", "http://a b"]
)
def test_uris_that_memory_does_not_take(uri):
    with pytest.raises(CliError):
        check_uri(uri)


@pytest.mark.parametrize("url", ["", "localhost:11434", "ftp://h/v1", "http://h:port/v1", "http://ho st/v1"])
def test_urls_that_are_not_of_an_endpoint(url):
    with pytest.raises(CliError, match="URL"):
        check_url(url)


@pytest.mark.parametrize("key", ["sk-1\nsk-2", "sk 1", "clé"])
def test_keys_that_cannot_be_sent(key):
    with pytest.raises(CliError, match="copy it again"):
        check_key(key)
    assert check_key(" sk-1\n") == "sk-1"


def test_windows():
    assert [check_window(text) for text in ("8192", " 128,000 ", "32_768")] == [8192, 128000, 32768]
    for text in ("", "many", "1023", "99999999999", "-5", "²"):
        with pytest.raises(CliError, match=r"1,024"):
            check_window(text)


def test_what_is_configured_is_what_is_offered():
    answers = from_flags("m", "http://localhost:1/v1", "key", "json_schema", 8192, "/srv/x.db")
    answers = with_embedding(answers, "embed", "http://localhost:2/v1", "key2", 64)
    assert current(document({}, answers)) == answers
    assert current(document({}, Answers(milvus_uri="/x.db"))) == Answers(milvus_uri="/x.db")
    assert current({}) == Answers()


def test_the_file_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "home" / "config.toml"
    write_document(path, {"agent": {"api_key": "sk-1"}})
    write_document(path, {"agent": {"api_key": 'sk-"2"'}})
    assert tomllib.loads(path.read_text()) == {"agent": {"api_key": 'sk-"2"'}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["config.toml"]


def test_the_former_file_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("MEMGPT_HOME", str(tmp_path))
    former = '# My own.\n[agent]\nmodel = "qwen"\nbase_url = "http://localhost:11434/v1"\napi_key = "sk-1"\n'
    (tmp_path / "config.toml").write_text(former)
    save(Ui(), Answers())
    save(Ui(), Answers())  # Nothing changes: nothing is worth keeping.
    assert (tmp_path / "config.toml.old").read_text() == former
    assert "sk-1" not in (tmp_path / "config.toml").read_text()


def test_a_broken_file_is_not_overwritten(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[agent\n")
    with pytest.raises(ConfigError, match="correct it"):
        read_document(path)


def test_no_file_is_an_empty_one(tmp_path):
    assert read_document(tmp_path / "config.toml") == {}


def test_an_endpoint_for_one_run_needs_a_model():
    assert endpoint_overrides("", "m") == {}
    assert endpoint_overrides("http://h/v1", "m") == {
        "MEMGPT_AGENT_BASE_URL": "http://h/v1",
        "MEMGPT_AGENT_MODEL": "m",
    }
    with pytest.raises(CliError, match="--model"):
        endpoint_overrides("http://h/v1", "")


def test_quickstart_is_offline_unless_told_otherwise():
    assert quick(Ui(), "", "", "") == Answers()
    assert quick(Ui(), "http://h/v1", "m", "k") == Answers(model="m", base_url="http://h/v1", api_key="k")
    with pytest.raises(CliError, match="--openai-compatible"):
        quick(Ui(), "", "m", "")


def test_answers_do_not_show_their_keys():
    assert "sk-secret" not in repr(Answers(api_key="sk-secret", embedding_api_key="sk-secret"))


def test_written_keys_are_those_of_the_services(tmp_path):
    """What is written here is read there: a renamed key must not be noticed by users first."""
    from memgpt.config import load_config
    from memgpt_agent.config import AgentSettings
    from memgpt_memory.config import MemorySettings

    answers = from_flags("m", "http://localhost:1/v1", "key", "json_schema", 8192, "x.db")
    answers = with_embedding(answers, "embed", "http://localhost:2/v1", "key2", 64)
    path: Path = tmp_path / "config.toml"
    for content in (document({}, answers), document({}, Answers())):
        write_document(path, content)
        assert load_config("agent", AgentSettings, path=path, environ={})
        assert load_config("memory", MemorySettings, path=path, environ={})


def test_the_mode_that_was_found_is_told_and_not_written_down(scripted_llm, capsys):
    llm = scripted_llm([call("send_message", message="Hi"), call("send_message", message="Hi")])
    answers = Answers(model=llm.model, base_url=llm.base_url)
    assert complete(Ui(), answers).mode == "auto"
    assert complete(Ui(), replace(answers, mode="tools"), test=True).mode == "tools"
    assert "tools now" in capsys.readouterr().out


def test_extra_headers_stay_with_their_endpoint():
    old = {
        "agent": {"model": "m", "base_url": "http://one/v1", "headers": {"x-secret": "s"}, "query": {"v": "1"}},
        "memory": {"embedding_base_url": "http://one/v1", "embedding_headers": {"x-secret": "s"}, "shards": 2},
    }
    same = document(old, Answers(model="n", base_url="http://one/v1"))
    assert same["agent"]["headers"] == {"x-secret": "s"}
    assert extras(same, "agent", "", "http://one/v1") == ({"x-secret": "s"}, {"v": "1"})
    other = document(old, Answers(model="n", base_url="http://two/v1"))
    assert "headers" not in other["agent"]
    assert "query" not in other["agent"]
    assert "embedding_headers" not in other["memory"]
    assert other["memory"]["shards"] == 2
    assert extras(old, "agent", "", "http://two/v1") == ({}, {})


@pytest.mark.parametrize(
    ("url", "asked", "address"),
    [
        ("https://a.openai.azure.com/openai/deployments/d", True, "https://a.openai.azure.com/openai/deployments/d?api-version=2025-01-01"),
        ("https://a.openai.azure.com/openai/deployments/d?api-version=2024-10-21", False, ""),
        ("https://a.openai.azure.com/openai/v1", False, ""),
        ("http://localhost:11434/v1", False, ""),
    ],
)  # fmt: skip
def test_only_azures_deployments_are_asked_for_a_version(url, asked, address):
    heard = []

    class Person:
        def ask(self, question, *, default=""):
            heard.append(question)
            return "2025-01-01"

    assert questions._with_version(cast(Ui, Person()), url) == (address or url)
    assert bool(heard) is asked


def test_a_local_transformer_is_named_by_its_folder(tmp_path, monkeypatch, capsys):
    folder = write_transformer(tmp_path / "tiny", ["tide"])
    answers = with_local_transformer(Answers(), str(folder))
    written = document({"memory": {"embedding_model": "former", "embedding_api_key": "key"}}, answers)
    assert {key: value for key, value in written["memory"].items() if key != "uri"} == {
        "embedding": "onnx",
        "embedding_folder": str(folder),
    }
    assert current(written).embedding_folder == str(folder)
    monkeypatch.chdir(tmp_path)
    assert with_local_transformer(Answers(), "tiny").embedding_folder == str(folder), "a relative path would move"
    assert document(written, Answers())["memory"].get("embedding_folder") is None
    complete(Ui(), answers, test=True)
    told = capsys.readouterr()
    assert re.search(r"embedded a test text in \d+ ms; 16 dimensions", told.out)
    assert not told.err
    (folder / "model.onnx").write_bytes(b"no model")
    complete(Ui(), answers, test=True)
    assert "is not a usable ONNX model" in capsys.readouterr().err
    monkeypatch.setattr(configure, "find_spec", lambda name: None)
    complete(Ui(), answers, test=True)
    assert "memgpt-milvus[onnx]" in capsys.readouterr().err


def test_the_doctor_examines_a_local_transformer(tmp_path, monkeypatch):
    folder = write_transformer(tmp_path / "tiny", ["tide"])
    monkeypatch.setenv("MEMGPT_MEMORY_EMBEDDING", "onnx")
    monkeypatch.setenv("MEMGPT_MEMORY_EMBEDDING_FOLDER", str(folder))

    def finding(*, remote: bool = False):
        return next(doctor._embeddings(remote=remote), None)

    assert finding(remote=True) is None, "it is where Memory runs"
    found = finding()
    assert found.ok
    assert found.told.startswith(f"{folder}, onnxruntime ")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    found = finding()
    assert not found.ok
    assert found.remedy.endswith("-m pip install 'memgpt-milvus[onnx]'`")
    (folder / "tokenizer.json").unlink()
    found = finding()
    assert (found.ok, "has no model" in found.told) == (False, True)
    monkeypatch.setenv("MEMGPT_MEMORY_EMBEDDING_FOLDER", "nowhere")
    assert "is not a folder" in finding().told


@pytest.mark.parametrize("missing", ["model.onnx", "tokenizer.json"])
def test_a_folder_without_a_model_is_refused(tmp_path, missing):
    folder = write_transformer(tmp_path / "tiny", ["tide"])
    (folder / missing).unlink()
    with pytest.raises(CliError, match="has no model"):
        with_local_transformer(Answers(), str(folder))
    with pytest.raises(CliError, match="is not a folder"):
        with_local_transformer(Answers(), str(tmp_path / "nowhere"))


GIVEN = Extras({"X-Team": "a: b"}, {"tag": "x=y"}, 0.0)


def test_extras_that_are_given_replace_those_that_are_configured():
    old = {
        "agent": {"model": "m", "base_url": "http://one/v1", "headers": {"old": "s"}, "temperature": 1.0},
        "memory": {"embedding_base_url": "http://one/v1", "embedding_query": {"old": "s"}},
    }
    answers = Answers(model="m", base_url="http://one/v1", embedding_model="e", embedding_base_url="http://one/v1")
    assert document(old, answers)["agent"]["temperature"] == 1.0
    new = document(old, replace(answers, extras=GIVEN, embedding_extras=replace(GIVEN, temperature=None)))
    assert new["agent"]["headers"] == new["memory"]["embedding_headers"] == {"X-Team": "a: b"}
    assert new["agent"]["query"] == new["memory"]["embedding_query"] == {"tag": "x=y"}
    assert new["agent"]["temperature"] == 0.0
    assert "temperature" not in new["memory"]
    none = document(new, replace(answers, extras=Extras()))["agent"]
    assert not {"headers", "query", "temperature"} & none.keys()


def test_extras_as_flags():
    answers = with_embedding(from_flags("m", "http://one/v1", "", "auto", 0, ""), "e", "", "", 7)
    made = with_extras(answers, ["X-Team: a: b"], ["tag=x=y"], 0.0)
    assert (made.extras, made.embedding_extras) == (GIVEN, replace(GIVEN, temperature=None))
    apart = with_extras(replace(answers, embedding_base_url="http://two/v1"), ["X-Team: a: b"], [], None)
    assert apart.embedding_extras is None
    assert with_extras(answers, [], [], None) is answers


@pytest.mark.parametrize(
    ("headers", "query", "temperature", "words"),
    [
        (["no colon"], [], None, "Name: value"),
        (["bad name: x"], [], None, "Name: value"),
        (["x: "], [], None, "printable"),
        (["x: \n"], [], None, "printable"),
        (["x: é"], [], None, "printable"),
        ([], ["noequals"], None, "name=value"),
        ([], ["=x"], None, "name=value"),
        ([], [], 2.5, "from 0 to 2"),
        ([], [], float("nan"), "from 0 to 2"),
    ],
)
def test_extras_that_cannot_be_sent(headers, query, temperature, words):
    with pytest.raises(CliError, match=words):
        with_extras(Answers(model="m", base_url="http://one/v1"), headers, query, temperature)


class Person:
    """Answers questions from a list of beginnings and answers, each used once; Enter else."""

    def __init__(self, *said: tuple[str, str]) -> None:
        self.said = list(said)

    def ask(self, question: str, *, default: str = "") -> str:
        found = next((pair for pair in self.said if question.startswith(pair[0])), None)
        if found is None:
            return default
        self.said.remove(found)
        return found[1]

    secret = ask

    def select(self, question, choices, default=None):
        values = [getattr(choice, "value", choice) for choice in choices]
        return self.ask(question, default=default if default in values else values[0])

    def busy(self, _text):
        return contextlib.nullcontext()

    def error(self, text):
        raise AssertionError(text)

    warning = note = error


def seen_by_discovery(monkeypatch: pytest.MonkeyPatch) -> list[Endpoint]:
    """Find one model with a window, and no server on this machine; return the endpoints that are asked."""
    seen: list[Endpoint] = []

    def models(endpoint: Endpoint) -> list[str]:
        seen.append(endpoint)
        return ["m"]

    def window(endpoint: Endpoint, _model: str) -> int:
        seen.append(endpoint)
        return 4096

    monkeypatch.setattr(discovery, "local_servers", list)
    monkeypatch.setattr(discovery, "models", models)
    monkeypatch.setattr(discovery, "context_window", window)
    return seen


def test_extras_are_asked_for_and_sent_with_the_first_request(scripted_llm, monkeypatch):
    seen = seen_by_discovery(monkeypatch)
    person = Person(
        ("Select LLM", "openai-compatible"), ("Enter the base URL", "http://one/v1"), ("Send further", "enter"),
        ("Enter a header", "X-Team: a: b"), ("Enter a query", "tag=x=y"), ("Enter the temperature", "0"),
        ("Select embedding", "openai-compatible"), ("Enter the embedding model", "e"),
    )  # fmt: skip
    answers = questions.ask(cast(Ui, person), Answers())
    assert (answers.extras, answers.embedding_extras) == (GIVEN, replace(GIVEN, temperature=None))
    assert [(one.headers, one.query) for one in seen] == [({"X-Team": "a: b"}, {"tag": "x=y"})] * 2
    assert not person.said


def test_extras_that_are_configured_are_kept_and_sent(monkeypatch):
    seen = seen_by_discovery(monkeypatch)
    configured = {"agent": {"model": "m", "base_url": "http://one/v1", "headers": {"X-Team": "a"}}}
    answers = questions.ask(cast(Ui, Person()), current(configured), configured)
    assert answers.extras is None
    assert [one.headers for one in seen] == [{"X-Team": "a"}] * 2
    assert document(configured, answers)["agent"]["headers"] == {"X-Team": "a"}
