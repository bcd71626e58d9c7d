"""kill -9 in the middle of guest writes: the image opens, has no error but leaks, and every write that a flush
acknowledged is there. HULL_KILL_ROUNDS says how often (default 12)."""

import os
import random
import re
import subprocess
import time
import unittest

from support import MIB, HullTest, random_write_sector, seed_of

ROUNDS = int(os.environ.get("HULL_KILL_ROUNDS", "12"))
SIZE = 8 * MIB
SECTORS = SIZE // 512


class KilledWhileWriting(HullTest):
    def run_and_kill(self, disk, first, delay):
        """Starts numbered writes from `first`, kills hull after its first acknowledgement; returns the last acknowledged number."""
        process = self.start(*self.guest_arguments(f"blk.random,first={first},writes=1000000,flush=16", [disk]), stderr=subprocess.DEVNULL)
        seen = self.wait_for_line(process, "acked=")
        time.sleep(delay)
        process.kill()
        seen += process.stdout.read().decode(errors="replace")
        process.wait()
        return max(int(n) for n in re.findall(r"acked=(\d+)\b(?=.*\n)", seen))

    def check_image(self, disk):
        """The kernel ends a killed process's I/O, and with it the locks, some time after the process."""
        until = time.monotonic() + 60
        while True:
            check = subprocess.run(["qemu-img", "check", "-f", "qcow2", disk.path], capture_output=True, text=True, check=False)
            if " lock" not in check.stderr or time.monotonic() > until:
                break
            time.sleep(0.02)
        self.assertIn(check.returncode, (0, 3), check.stdout + check.stderr)  # 3: leaked clusters alone

    def check_acknowledged(self, disk, acked):
        """Each place holds the last acknowledged write to it, or a later one."""
        data = disk.contents()
        last = {}
        for n in range(1, acked + 1):
            last[random_write_sector(n, 0, SECTORS)] = n
        for sector, n in last.items():
            for s in range(sector, sector + 8):
                seed = seed_of(s, data[s * 512 : (s + 1) * 512])
                self.assertIsNotNone(seed, f"sector {s} is torn")
                self.assertGreaterEqual(seed, n, f"sector {s} has lost write {n}")
                self.assertEqual(random_write_sector(seed, 0, SECTORS), sector, f"sector {s} holds a write of another place")

    def check_rounds(self, make_disk):
        dice = random.Random(1)
        disk, acked = make_disk(), 0
        for round_number in range(ROUNDS):
            with self.subTest(round=round_number):
                acked = self.run_and_kill(disk, acked + 1, dice.uniform(0, 0.3))
                if disk.format == "qcow2":
                    self.check_image(disk)
                self.check_acknowledged(disk, acked)
        self.expect_success(self.run_guest("blk.fill,count=64;blk.verify,count=64", [disk]))

    def test_qcow2(self):
        self.check_rounds(lambda: self.qcow2(size=SIZE))

    def test_qcow2_of_small_clusters(self):
        self.check_rounds(lambda: self.qcow2(size=SIZE, creation="cluster_size=4096"))

    def test_overlay(self):
        self.check_rounds(lambda: self.overlay(SECTORS, size=SIZE)[0])

    def test_raw(self):
        self.check_rounds(lambda: self.raw(size=SIZE))


if __name__ == "__main__":
    unittest.main()
