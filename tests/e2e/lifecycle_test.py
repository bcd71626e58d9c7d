"""One process, one domain: PID file, log, refusal of a second start, signals, what is left behind."""

import os
import signal
import subprocess
import time
import unittest

from support import BUSY, FORCED, OK, TIMEOUT, HullTest, domain_xml, pattern, sha256


class PidFileAndLog(HullTest):
    def start_spinning(self, name="web", *options):
        process = self.start(*self.guest_arguments("facts", (), "--name", name, *options, end="hang"))
        self.wait_for_line(process, "hull-guest: end")
        return process

    def test_pid_file_is_there_while_the_guest_runs(self):
        process = self.start_spinning()
        self.assertEqual(self.pid_file("web").read_text(), str(process.pid))
        self.assertEqual(self.pid_file("web").stat().st_mode & 0o777, 0o644)
        process.terminate()
        process.terminate()
        process.wait(60)
        self.assertFalse(self.pid_file("web").exists())

    def test_log_has_start_and_end(self):
        self.expect_success(self.run_guest("facts", (), "--name", "web"))
        log = self.log_file("web").read_text()
        self.assertRegex(log, r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000: starting up hull version: ")
        self.assertRegex(log, r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+0000: shutting down, reason=shutdown$")

    def test_crash_is_logged_as_crashed(self):
        self.run_guest("", (), "--name", "web", end="triple-fault")
        self.assertIn("shutting down, reason=crashed", self.log_file("web").read_text())

    def test_second_start_of_a_domain_is_busy(self):
        process = self.start_spinning()
        second = self.run_guest("facts", (), "--name", "web")
        self.expect_error(second, BUSY, str(process.pid))
        self.assertIsNone(process.poll(), "the first one has suffered")
        self.assertEqual(self.pid_file("web").read_text(), str(process.pid))

    def test_two_domains_run_side_by_side(self):
        self.start_spinning("one")
        self.expect_success(self.run_guest("facts", (), "--name", "two"))

    def test_sigkill_leaves_nothing_that_blocks(self):
        process = self.start_spinning()
        process.kill()
        process.wait(60)
        self.expect_success(self.run_guest("facts", (), "--name", "web"))


class Images(HullTest):
    def hold(self, disk):
        process = self.start(*self.guest_arguments("blk.info", [disk], end="hang"))
        self.wait_for_line(process, "hull-guest: end")
        return process

    def test_second_writer_is_busy(self):
        for disk in (self.raw(), self.qcow2()):
            with self.subTest(format=disk.format):
                process = self.hold(disk)
                self.expect_error(self.run_guest("blk.info", [disk]), BUSY, disk.path.name)
                process.kill()
                process.wait()

    def test_qemu_and_hull_see_each_others_locks(self):
        disk = self.qcow2()
        process = self.hold(disk)
        result = subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write 0 512", disk.path], capture_output=True, text=True, check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("lock", result.stdout + result.stderr)
        process.kill()
        process.wait()

    def test_base_that_someone_writes_is_busy(self):
        overlay, base = self.overlay(8)
        self.hold(base)
        self.expect_error(self.run_guest("blk.info", [overlay]), BUSY, base.path.name)

    def test_two_overlays_share_a_base(self):
        first, base = self.overlay(8)
        second = self.qcow2("second.qcow2", backing=base)
        self.hold(first)
        self.expect_success(self.run_guest("blk.verify,count=8,seed=100", [second]))

    def test_one_image_twice_in_a_domain_is_refused(self):
        disk = self.raw()
        result = self.run_guest("blk.info", [disk, disk])
        self.assertNotEqual(result.code, OK, result)
        self.expect_sane(result)


class Ephemeral(HullTest):
    def everything(self):
        return sorted(str(p) for p in self.directory.rglob("*") if self.state not in p.parents and p != self.state)

    def test_writes_are_seen_and_then_gone(self):
        disk, base = self.overlay(100)
        raw = self.raw("plain.raw", data=pattern(0, 8, 9))
        before, sums = self.everything(), [sha256(d.path) for d in (disk, base, raw)]
        agenda = "blk.fill,dev=0,count=4000,seed=3;blk.flush,dev=0;blk.verify,dev=0,count=4000,seed=3;blk.fill,dev=1,count=8,seed=4;blk.verify,dev=1,count=8,seed=4"
        self.expect_success(self.run_guest(agenda, [disk, raw], "--ephemeral"))
        self.assertEqual([sha256(d.path) for d in (disk, base, raw)], sums)
        self.assertEqual(self.everything(), before)

    def test_sigkill_leaves_nothing(self):
        disk = self.qcow2()
        before, checksum = self.everything(), sha256(disk.path)
        process = self.start(*self.guest_arguments("blk.fill,seed=3", [disk], "--ephemeral", end="hang"))
        self.wait_for_line(process, "hull-guest: end")
        process.kill()
        process.wait()
        self.assertEqual(self.everything(), before)
        self.assertEqual(sha256(disk.path), checksum)

    def test_read_only_directory_will_do(self):
        disk = self.qcow2()
        os.chmod(disk.path, 0o444)
        self.expect_success(self.run_guest("blk.fill,count=100;blk.verify,count=100", [disk], "--ephemeral"))


class Signals(HullTest):
    def test_sigterm_ends_a_deaf_guest_after_the_grace(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number):
                process = self.start(*self.guest_arguments("facts", (), "--grace", "1", end="hang"))
                self.wait_for_line(process, "hull-guest: end")
                process.send_signal(number)
                self.assertEqual(process.wait(60), FORCED)

    def test_second_sigterm_ends_at_once(self):
        process = self.start(*self.guest_arguments("facts", (), "--grace", "600", end="halt"))
        self.wait_for_line(process, "hull-guest: end")
        process.send_signal(signal.SIGTERM)
        # One that comes before hull has seen the first is none.
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(60), FORCED)

    def test_time_out_under_endless_resets(self):
        for _ in range(5):
            result = self.run_guest("", (), "--on-reboot", "restart", "--timeout", "1", end="i8042")
            self.assertEqual(result.code, TIMEOUT, result)

    def test_signal_storm_does_no_harm(self):
        process = self.start(*self.guest_arguments("blk.fill,count=4000;blk.verify,count=4000", [self.qcow2()]), stdout=subprocess.DEVNULL)
        while process.poll() is None:
            process.send_signal(signal.SIGWINCH)
            process.send_signal(signal.SIGCONT)
            time.sleep(0.001)
        self.assertEqual(process.returncode, OK)

    def test_nothing_is_left_running(self):
        self.expect_success(self.run_xml(domain_xml("gone", cmdline="hull.do=facts")))
        found = subprocess.run(["pgrep", "-f", str(self.state)], capture_output=True, text=True, check=False).stdout
        self.assertEqual(found, "")


if __name__ == "__main__":
    unittest.main()
