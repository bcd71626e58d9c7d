"""Of runs without a name nothing is left on the host: no file and no directory, however they end."""

import os
import pathlib
import signal
import subprocess
import unittest

from support import CRASHED, ERROR, HULL, LIMIT, OK, TIMEOUT, HullTest

PLACES = ("/tmp", "/var/log", "/var/lib", "/var/cache", "/run")  # mount(8) itself leaves a trace in the last


class Leftovers(HullTest):
    """Where a user's files would be (HOME and the XDG directories), and, for root, the system's."""

    def setUp(self):
        super().setUp()
        self.home = self.directory / "home"
        for name in ("in", "out"):
            (self.directory / name).mkdir()
        (self.directory / "in/file").write_text("in")
        self.home.mkdir()
        self.disk = self.qcow2("d.qcow2")

    def everything(self):
        return sorted(str(path) for path in self.directory.rglob("*"))

    def session(self, *words, limit=LIMIT, kill_at=None):
        """As somebody who is not root: root is not, in a user namespace. Returns the exit code."""
        process = subprocess.Popen(["unshare", "--user", HULL, "run", *map(str, words)], cwd=self.home, stdin=subprocess.DEVNULL,
                                   env={"PATH": os.environ["PATH"], "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home / "run"), "TMPDIR": str(self.home)},
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        if kill_at:
            self.wait_for_line(process, kill_at)
            process.kill()
        process.wait(limit)
        return process.returncode

    def guest(self, agenda, *options, end=None):
        return [str(word) for word in self.guest_arguments(agenda, [self.disk], *options, end=end)[1:]]

    def test_of_a_users_run(self):
        before = self.everything()
        for words, code in ((self.guest("facts"), OK),
                            (self.guest("blk.fill", "--ephemeral"), OK),
                            (self.guest("", end="triple-fault"), CRASHED),
                            (self.guest("serial.echo,seconds=600", "--timeout", "1"), TIMEOUT),
                            (self.guest("facts", "--disk", "none.qcow2"), ERROR),
                            (self.guest("facts", "--in", self.directory / "in", "--status-from", "disk"), 10)):
            with self.subTest(words=words):
                self.assertEqual(self.session(*words), code)
                self.assertEqual(self.everything(), before)

    def test_of_a_run_that_is_killed(self):
        before = self.everything()
        words = self.guest("facts;serial.echo,seconds=600", "--ephemeral", "--in", self.directory / "in", "--out", self.directory / "out")
        self.assertEqual(self.session(*words, kill_at="hull-guest: ok facts"), -signal.SIGKILL)
        self.assertEqual(self.everything(), before)

    @unittest.skipUnless(os.geteuid() == 0, "only root has files in the system's directories")
    def test_of_roots_run(self):
        script = "".join(f"mount -t tmpfs tmpfs {place}; " for place in PLACES) + '"$@" >/dev/null; echo $?; ' + f"find {' '.join(PLACES)} -mindepth 1"
        program = pathlib.Path(HULL).resolve()
        self.assertFalse(str(program).startswith("/tmp"), "it would be hidden")
        result = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", program, "run", "--kernel", "hull:guest", "--append", "hull.do=facts"],
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=True)
        self.assertEqual(result.stdout, "0\n", result.stderr)


if __name__ == "__main__":
    unittest.main()
