"""hull ends in time whatever the readers of its output and the process that started it do."""

import os
import pty
import signal
import subprocess
import unittest

from support import FORCED, OK, REFUSED, TIMEOUT, HullTest, domain_xml


def full(descriptor):
    """The descriptor, with as much in it as fits."""
    os.set_blocking(descriptor, False)
    try:
        while True:
            os.write(descriptor, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(descriptor, True)
    return descriptor


class NobodyReads(HullTest):
    """Standard output and standard error are one pipe, or one terminal, that is full."""

    def full_pipe(self):
        reader, writer = os.pipe()
        for descriptor in (reader, writer):
            self.addCleanup(os.close, descriptor)
        return full(writer)

    def full_terminal(self):
        user, terminal = pty.openpty()
        for descriptor in (user, terminal):
            self.addCleanup(os.close, descriptor)
        return full(terminal)

    def start_stalled(self, agenda, *options, end=None, sink=None):
        sink = self.full_pipe() if sink is None else sink
        return self.start(*self.guest_arguments(agenda, (), "--name", "stall", *options, end=end), stdout=sink, stderr=sink)

    def test_time_out(self):
        process = self.start_stalled("serial.flood,bytes=4M", "--timeout", "2")
        self.assertEqual(process.wait(120), TIMEOUT)

    def test_time_out_on_a_terminal(self):
        process = self.start_stalled("serial.flood,bytes=4M", "--timeout", "2", sink=self.full_terminal())
        self.assertEqual(process.wait(120), TIMEOUT)

    def test_sigterm(self):
        process = self.start_stalled("serial.flood,bytes=4M", "--grace", "1", end="hang")
        self.wait_for(self.pid_file("stall").exists, "the PID file")
        process.terminate()
        self.assertEqual(process.wait(120), FORCED)
        self.assertFalse(self.pid_file("stall").exists())

    def test_hostile_guest_that_makes_hull_speak(self):
        """Its messages come from vCPU threads, while they hold a device's lock."""
        process = self.start(*self.guest_arguments("hostile,device=blk", [self.raw()], "--console", "null", "--timeout", "20", "--debug"),
                             stdout=subprocess.DEVNULL, stderr=self.full_pipe())
        self.assertIn(process.wait(240), (OK, TIMEOUT))

    def test_refusal(self):
        path = self.directory / "domain.xml"
        path.write_text(domain_xml(devices="<hostdev/>" * 100))
        process = self.start("run", path, stdout=subprocess.DEVNULL, stderr=self.full_pipe())
        self.assertEqual(process.wait(120), REFUSED)

    def test_what_was_kept_arrives_at_a_reader_that_comes_late(self):
        reader, writer = os.pipe()
        full(writer)
        process = self.start(*self.guest_arguments("", (), "--timeout", "1", end="hang"), stdout=subprocess.DEVNULL, stderr=writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            text = file.read()
        self.assertEqual(process.wait(120), TIMEOUT)
        self.assertIn(b"error: ", text.lstrip(b"x"))


class Callers(HullTest):
    """What a process inherits from the one that starts it."""

    def test_all_signals_blocked(self):
        def block():
            signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))

        process = self.start(*self.guest_arguments("facts", (), "--vcpus", "2", "--timeout", "3", end="hang"), stdout=subprocess.DEVNULL, preexec_fn=block)
        self.assertEqual(process.wait(120), TIMEOUT)
        result = self.hull(*self.guest_arguments("smp,cpus=2", (), "--vcpus", "2"), preexec_fn=block)
        self.expect_success(result)

    def test_kick_signal_ignored(self):
        def ignore():
            signal.signal(signal.SIGRTMIN, signal.SIG_IGN)

        process = self.start(*self.guest_arguments("facts", (), "--vcpus", "2", "--timeout", "3", end="hang"), stdout=subprocess.DEVNULL, preexec_fn=ignore)
        self.assertEqual(process.wait(120), TIMEOUT)


if __name__ == "__main__":
    unittest.main()
