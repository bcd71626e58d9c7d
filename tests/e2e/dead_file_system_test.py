"""hull ends in time although the file system below a disk does not answer any more. Needs root."""

import signal
import time

from dead_file_system import DeadFileSystem
from ending_test import EndingTest
from support import FORCED, MIB, TIMEOUT

SIZE = 1024 * MIB  # more than is read before it dies


class DeadFileSystemTest(EndingTest):
    def setUp(self):
        super().setUp()
        place = self.directory / "network"
        place.mkdir()
        self.system = DeadFileSystem(place, SIZE)
        self.addCleanup(self.system.unmount)
        self.disk = str(place / "disk")

    def start_stalled(self, *options, disk=""):
        process = self.start_guest("blk.info;bench.blk,op=read,pattern=seq,size=65536,depth=8,ms=600000", "--disk", self.disk + disk, *options)
        self.wait_for_line(process, "bench.blk begin")
        self.system.die()
        return process

    def test_time_out(self):
        self.expect_end(self.start_stalled("--timeout", "3"), TIMEOUT, 12)

    def test_time_out_without_the_page_cache(self):
        self.expect_end(self.start_stalled("--timeout", "3", disk=",cache=none"), TIMEOUT, 12)

    def test_sigterm_and_grace(self):
        process = self.start_stalled("--grace", "1")
        process.terminate()
        self.expect_end(process, FORCED, 10)

    def test_second_signal(self):
        process = self.start_stalled("--grace", "600")
        process.terminate()
        time.sleep(1)  # sooner it would be the same wish
        process.send_signal(signal.SIGINT)
        self.expect_end(process, FORCED, 10)

    def test_opening_is_called_off(self):
        self.system.die()
        process = self.start_guest("facts", "--disk", self.disk, "--timeout", "2")
        self.expect_end(process, TIMEOUT, 10)
