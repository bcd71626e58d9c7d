"""A Debian of debootstrap's, as docs/guest-images.md says: to the login prompt, and a job in a copy of it.

Runs where /dev/kvm can carry a stock kernel (tests/nested/run). $HULL_DEBIAN_GUEST is what tools/dev/debian-guest made
of docs/examples/debian-image; the commands are the page's own.
"""

import faulthandler
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from support import HULL, OK, ROOT, HullTest, sha256  # noqa: E402

GUEST = pathlib.Path(os.environ["HULL_DEBIAN_GUEST"])
LIMIT = 220  # seconds: an emulated machine on a busy host
NOBODY = 65534


class DebianTest(HullTest):
    def setUp(self):
        super().setUp()
        faulthandler.dump_traceback_later(LIMIT + 5, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)
        programs = self.directory / "bin"
        programs.mkdir()
        (programs / "hull").symlink_to(HULL)
        self.guest = self.directory / "guest"
        self.guest.mkdir()
        for name in ("disk.qcow2", "vmlinuz", "initrd.img"):
            (self.guest / name).symlink_to(GUEST / name)
        self.before = sha256(self.guest / "disk.qcow2")
        self.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(self.directory)}

    def commands(self):
        """The three of the page, "from nothing to a login prompt"."""
        page = (ROOT / "docs/guest-images.md").read_text()
        block = re.search(r"Three commands from nothing to a login prompt:\n\n((?:    .*\n)+)", page).group(1)
        lines = [re.sub(r"\s# .*", "", line).strip() for line in block.replace("\\\n", "").splitlines()]
        self.assertEqual([line.split()[0] for line in lines], ["docs/examples/debian-image", "hull", "hull"])
        return lines


class Login(DebianTest):
    def wait_for(self, terminal, word):
        end = time.monotonic() + LIMIT
        while word not in self.seen:
            self.assertLess(time.monotonic(), end, f"never said {word!r}:\n{self.seen[-3000:]}")
            if select.select([terminal], [], [], 1)[0]:
                self.seen += os.read(terminal, 65536).decode(errors="replace")
        self.seen = self.seen[self.seen.index(word) + len(word):]

    def test_three_commands_to_a_login_prompt(self):
        _, create, run = self.commands()  # the first has been done
        subprocess.run(create, shell=True, cwd=self.directory, env=self.environment, check=True, stdout=subprocess.DEVNULL)
        self.seen = ""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.directory)
            os.execvpe("sh", ["sh", "-c", f"exec {run}"], self.environment)
        try:
            self.wait_for(terminal, "Ctrl-]")
            self.wait_for(terminal, "guest login: ")
            os.write(terminal, b"root\r")
            self.wait_for(terminal, "root@guest:~# ")
            os.write(terminal, b"echo $((6*7))-processors-$(nproc)\r")
            self.wait_for(terminal, "42-processors-2")
            os.write(terminal, b"poweroff\r")
            self.wait_for(terminal, "Power down")
            _, status = os.waitpid(pid, 0)
            pid = 0
        finally:
            if pid:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
            os.close(terminal)
        self.assertEqual(os.waitstatus_to_exitcode(status), OK)
        self.assertEqual(sha256(self.guest / "disk.qcow2"), self.before)


class Job(DebianTest):
    MAKEFILE = "CC = tcc\nprogram: program.c\n\t$(CC) -o $@ $<\ntest: program\n\tmkdir -p artefacts\n\t./program | tee artefacts/output\n"

    def test_make_test_in_a_throw_away_machine(self):
        """Without root, in one command line and a script of at most ten lines."""
        script = (ROOT / "docs/examples/make-test").read_text()
        self.assertLessEqual(len([line for line in script.splitlines() if not line.startswith("#")]), 10)
        source = self.directory / "source"
        source.mkdir()
        (source / "program.c").write_text('#include <stdio.h>\nint main(void) { puts("made in there"); return 0; }\n')
        (source / "Makefile").write_text(self.MAKEFILE)
        home = self.directory / "home"
        home.mkdir()
        user = {}
        if os.environ.get("NESTED"):  # the machine is thrown away: its rights may be changed
            user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            os.chmod("/dev/kvm", 0o666)
            for path in (*GUEST.parents, *pathlib.Path(HULL).parents):
                path.chmod(path.stat().st_mode | 0o011)
            for path in (self.directory, home):
                os.chown(path, NOBODY, NOBODY)
        environment = {**self.environment, "HOME": str(home), "TMPDIR": str(home), "XDG_RUNTIME_DIR": str(home)}
        script = ROOT / "docs/examples/make-test"
        results = self.directory / "results"
        result = subprocess.run([script, source, results], cwd=self.directory, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False, **user)
        self.assertEqual((result.returncode, result.stderr.strip()), (OK, ""))
        self.assertEqual((results / "status").read_text(), "0\n")
        self.assertIn("tcc -o program program.c", (results / "log").read_text())
        self.assertEqual((results / "artefacts/output").read_text(), "made in there\n")
        self.assertEqual(sorted(p.name for p in results.iterdir()), ["artefacts", "log", "status"])
        self.assertEqual([p for p in home.rglob("*") if not p.is_dir()], [])
        self.assertEqual(sorted(p.name for p in source.iterdir()), ["Makefile", "program.c"])
        self.assertEqual(sha256(self.guest / "disk.qcow2"), self.before)


if __name__ == "__main__":
    unittest.main()
