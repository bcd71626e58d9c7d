"""Completion, as it is typed into each of the three shells."""

import os
import pathlib
import pty
import re
import select
import subprocess
import time
import unittest

from support import HULL, LIMIT, ROOT, HullTest

SCRIPTS = ROOT / "tools/completion"
BEGIN_OF_LINE, END_OF_LINE = "\x01", "\x05"

# What is typed, and what stands there after the tab key. The directory has disk.qcow2, a folder and nothing else.
CASES = (
    ("hull doc", "hull doctor "),
    ("hull help im", "hull help img "),
    ("hull img conv", "hull img convert "),
    ("hull-img conv", "hull-img convert "),
    ("hull-img info --backing", "hull-img info --backing-chain "),
    ("hull run --ker", "hull run --kernel "),
    ("hull run di", "hull run disk.qcow2 "),
    ("hull run --kernel di", "hull run --kernel disk.qcow2 "),
    ("hull run --kernel=di", "hull run --kernel=disk.qcow2 "),
    ("hull run --kernel hu", "hull run --kernel hull:guest "),
    ("hull run --layout lib", "hull run --layout libvirt "),
    ("hull run --layout=lib", "hull run --layout=libvirt "),
    ("hull run --console fi", "hull run --console file:"),
    ("hull run --console file:di", "hull run --console file:disk.qcow2 "),
    ("hull run --root folder --name def", "hull run --root folder --name defined "),
    ("hull run --root=folder --name=run", "hull run --root=folder --name=running "),
    ("hull run --root fo", "hull run --root folder/"),
    ("hull run --disk di", "hull run --disk disk.qcow2 "),
    ("hull run --disk disk.qcow2,fo", "hull run --disk disk.qcow2,format="),
    ("hull run --disk disk.qcow2,format=q", "hull run --disk disk.qcow2,format=qcow2 "),
    ("hull run --name x --disk disk.qcow2,readonly=of", "hull run --name x --disk disk.qcow2,readonly=off "),
    ("hull img dd if=di", "hull img dd if=disk.qcow2 "),
    ("hull img info -f raw di", "hull img info -f raw disk.qcow2 "),
)


class Typist:
    """An interactive shell on a terminal of its own."""

    def __init__(self, command, environment, directory):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            os.execvpe(command[0], command, environment)
        self.seen = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait_for(self, pattern):
        end = time.monotonic() + LIMIT
        while not (found := re.search(pattern, self.seen)):
            if time.monotonic() > end:
                raise AssertionError(f"the shell never said {pattern!r}:\n{self.seen[-2000:]}")
            if select.select([self.fd], [], [], 1)[0]:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
        self.seen = self.seen[found.end():]
        return found

    def close(self):
        os.close(self.fd)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


class Completion(HullTest):
    def setUp(self):
        super().setUp()
        self.programs = self.directory / "bin"
        self.programs.mkdir()
        for name in ("hull", "hull-img"):
            (self.programs / name).symlink_to(pathlib.Path(HULL).resolve())
        self.work = self.directory / "work"
        (self.work / "folder").mkdir(parents=True)
        (self.work / "disk.qcow2").write_bytes(b"")
        for name in ("etc/qemu/defined.xml", "etc/qemu/-strange.xml", "run/qemu/running.pid"):
            path = self.work / "folder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        self.environment = {"PATH": f"{self.programs}:{os.environ['PATH']}", "HOME": str(self.directory), "TERM": "dumb", "LC_ALL": "C.UTF-8"}

    def typist(self, *command):
        typist = Typist(command, self.environment, self.work)
        self.addCleanup(typist.close)
        return typist

    def check(self, typist, taken_back="(?!)"):
        """Types each case and has the shell say what stands in its line then."""
        for typed, expected in CASES:
            with self.subTest(typed):
                # The line becomes the word of an echo; the quotes of that command are not those of its output.
                typist.type(f"{typed}\t{BEGIN_OF_LINE}echo 'line='\"{END_OF_LINE}\"'=end'\r")
                self.assertEqual(typist.wait_for(r"\nline=(.*)=end").group(1), re.sub(taken_back, "", expected))

    def test_names_are_those_of_the_standard_directories(self):
        files = {".config/hull/qemu/mine.xml": "mine", ".cache/hull/qemu/run/job.pid": "job", ".config/libvirt/qemu/theirs.xml": None}
        for name in files:
            path = self.directory / "home" / name
            path.parent.mkdir(parents=True)
            path.write_text("")
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
        self.directory.chmod(0o755)
        program = self.directory / "hull"  # where others may read it
        program.write_bytes(pathlib.Path(HULL).read_bytes())
        program.chmod(0o755)
        for options, expected in (([], {"mine", "job"}), (["--layout", "libvirt"], {"theirs"})):
            result = subprocess.run([*user, program, "complete", "--", "run", *options, "--name", ""], env={"HOME": str(self.directory / "home"), "PATH": os.environ["PATH"]},
                                    capture_output=True, text=True, check=True, timeout=LIMIT)
            self.assertEqual(set(result.stdout.split()), expected)

    def test_bash(self):
        typist = self.typist("bash", "--norc", "--noprofile", "-i")
        typist.type(f"bind 'set enable-bracketed-paste off'; source {SCRIPTS}/hull.bash; PS1='$ '; echo 'rea''dy'\r")
        typist.wait_for("ready")
        self.check(typist)

    def test_zsh(self):
        functions = self.directory / "functions"
        functions.mkdir()
        (functions / "_hull").symlink_to(SCRIPTS / "hull.zsh")
        typist = self.typist("zsh", "-f", "-i")
        typist.type(f"unset zle_bracketed_paste; bindkey -e; PS1='$ '; fpath=({functions} $fpath); autoload -Uz compinit; compinit -D -u; echo 'rea''dy'\r")
        typist.wait_for("ready")
        self.check(typist, taken_back="[ /]$")  # zsh does that when one goes on elsewhere in the line

    def test_fish(self):
        for typed, expected in CASES:
            with self.subTest(typed):
                result = subprocess.run(["fish", "--no-config", "-c", f"source {SCRIPTS}/hull.fish; complete -C {typed!r}"], cwd=self.work, text=True,
                                        env={**self.environment, "XDG_CONFIG_HOME": str(self.directory)}, capture_output=True, check=False, timeout=LIMIT)
                offered = [line.split("\t")[0] for line in result.stdout.splitlines()]
                before, _, word = expected.rstrip().rpartition(" ")
                self.assertTrue(typed.startswith(before))
                self.assertEqual(offered, [word], result.stderr)


if __name__ == "__main__":
    unittest.main()
