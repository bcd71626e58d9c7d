"""Everything that may keep hull from ending, combined at random: a server that stops, readers that do not read, blocked
signals, a start that hangs, signals and the time-out at any moment. Each round is told by its seed:

    HULL_STORM_ROUNDS=500 HULL_STORM_SEED=1 python3 -m unittest -v storm_test        (in tests/e2e; HULL names the program)
"""

import os
import random
import signal
import subprocess
import time
import unittest

from ending_test import EndingTest, block_all_signals
from support import CRASHED, ERROR, FORCED, LIMIT, OK, TIMEOUT

ROUNDS = int(os.environ.get("HULL_STORM_ROUNDS", "8"))
SEED = int(os.environ.get("HULL_STORM_SEED", str(int(time.time()))))
AGENDAS = ("facts", "rng,bytes=1M", "serial.flood,bytes=16M", "smp,ms=300;facts", "serial.echo,seconds=600")
DISK_AGENDAS = ("bench.blk,op=read,ms=600000,depth=16", "bench.blk,op=write,ms=600000,depth=16", "blk.fill;blk.flush;blk.verify", "blk.random,writes=100000")


class Storm(EndingTest):
    def disk_options(self, dice):
        """Options for a disk, and what to do with its server in the middle of the run."""
        kind = dice.choice(("none", "qcow2", "raw", "server", "server", "silent"))
        if kind in ("qcow2", "raw"):
            disk = (self.qcow2 if kind == "qcow2" else self.raw)(f"disk.{kind}", 64 << 20)
            return kind, ("--disk", disk.argument()), None
        if kind == "server":
            path, stop = self.stopped_server(self.raw(size=64 << 20))
            return kind, ("--disk", f"nbd+unix:///?socket={path}"), stop
        if kind == "silent":
            return kind, ("--disk", f"nbd+unix:///?socket={self.silent_server()}"), None
        return kind, (), None

    def one_round(self, seed):
        dice = random.Random(seed)
        kind, disk, stop_server = self.disk_options(dice)
        agenda = dice.choice(AGENDAS if kind == "none" else DISK_AGENDAS)
        full_pipe, blocked = dice.random() < 0.4, dice.random() < 0.3
        timeout = dice.choice((1, 2, 3))
        options = [*disk, "--timeout", str(timeout), "--grace", str(dice.choice((0, 1, 600))), "--vcpus", str(dice.choice((1, 2, 4)))]
        reading, writing = os.pipe()
        process = self.start_guest(agenda, *options, end=dice.choice(("hang", "auto", "halt", "triple-fault")), stdout=writing,
                                   stderr=subprocess.STDOUT, preexec_fn=block_all_signals if blocked else None)
        process.stderr = None
        os.close(writing)
        os.set_blocking(reading, False)
        stop_at, begin = dice.uniform(0.05, timeout), time.monotonic()
        signals = sorted((dice.uniform(0.05, timeout + 1), dice.choice((signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCONT)))
                         for _ in range(dice.choice((0, 0, 1, 2, 20))))
        while process.poll() is None and time.monotonic() < begin + LIMIT:
            passed = time.monotonic() - begin
            if stop_server and passed > stop_at:
                stop_server()
                stop_server = None
            while signals and passed > signals[0][0]:
                process.send_signal(signals.pop(0)[1])
            if not full_pipe:
                try:
                    while os.read(reading, 65536):
                        pass
                except BlockingIOError:
                    pass
            time.sleep(0.005)
        os.close(reading)
        self.assertIsNotNone(process.poll(), f"hull is still there after {LIMIT} s")
        # ERROR: a disk whose server has gone cannot be closed. Before hull hears signals it dies of them.
        early = (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)
        self.assertIn(process.returncode, (OK, ERROR, FORCED, TIMEOUT, CRASHED, *early))
        self.assertFalse(self.pid_file("web").exists())
        for image in self.directory.glob("*.qcow2"):
            self.check_for_corruption(image)

    def check_for_corruption(self, image):
        """Leaks are what a power failure leaves; errors are not."""
        result = subprocess.run(["qemu-img", "check", "-f", "qcow2", image], capture_output=True, text=True, check=False)
        self.assertIn(result.returncode, (0, 3), result.stdout + result.stderr)

    def test_storm(self):
        for seed in range(SEED, SEED + ROUNDS):
            with self.subTest(seed=seed):
                try:
                    self.one_round(seed)
                finally:
                    self.doCleanups()
                    self.setUp()


if __name__ == "__main__":
    unittest.main()
