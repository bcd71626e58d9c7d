"""hull doctor: what it says to whom, and that nothing is left behind whatever ends it."""

import json
import os
import signal
import subprocess
import unittest

from support import HOST, LIMIT, OK, HullTest

# As somebody who may use /dev/kvm and /dev/net/tun, and nothing else that is root's.
UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--reuid=65534", "--clear-groups"]


class Doctor(HullTest):
    def setUp(self):
        super().setUp()
        self.scratch = self.directory / "tmp"
        self.scratch.mkdir(mode=0o777)
        self.scratch.chmod(0o777)
        self.directory.chmod(0o755)
        self.environment = {**os.environ, "TMPDIR": str(self.scratch)}

    def test_says_what_the_host_can_do(self):
        result = self.hull("doctor", "--json", env=self.environment)
        self.assertEqual(result.code, OK, result)
        document = json.loads(result.out)
        self.assertTrue(document["trial"]["passed"])
        for check in document["checks"]:
            self.assertEqual(set(check), {"name", "status", "finding", "remedy"})
            self.assertIn(check["status"], ("ok", "note", "FAIL"))
        self.assertEqual(list(self.scratch.iterdir()), [])

    def test_leaves_nothing_when_it_is_told_to_end(self):
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(signal=one.name):
                process = self.start("doctor", env=self.environment)
                self.wait_for(lambda: list(self.scratch.iterdir()) or process.poll() is not None, "the trial to begin")
                process.send_signal(one)
                process.communicate()
                self.assertEqual(list(self.scratch.iterdir()), [])

    def test_leaves_nothing_when_it_has_to_be_left_by_force(self):
        """Steps of its start that take five seconds each (strace delays them): the trial does not hear that it shall end."""
        strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=eventfd2", "-e", "inject=eventfd2:delay_enter=5000000:when=5+"]
        process = subprocess.Popen([*strace, *self.command("doctor")], env=self.environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.kill)
        self.wait_for(lambda: any((path / "root").exists() for path in self.scratch.iterdir()), "the trial's machine")
        hull = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()[0]
        os.kill(int(hull), signal.SIGTERM)
        process.wait(LIMIT)
        self.assertEqual(list(self.scratch.iterdir()), [])

    def test_tells_who_may_not_make_taps(self):
        result = self.hull("doctor", "--json", prefix=UNPRIVILEGED if os.geteuid() == 0 else (), env=self.environment)
        self.assertIn(result.code, (OK, HOST), result)
        tun = next(check for check in json.loads(result.out)["checks"] if check["name"] == "tun")
        self.assertNotEqual(tun["finding"], "taps for virtio-net")
        self.assertTrue(tun["remedy"])


if __name__ == "__main__":
    unittest.main()
