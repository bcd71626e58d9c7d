"""hull always ends: whatever stalls, a signal or the time-out ends it with the documented code, the PID file goes, the
terminal is as it was. Deadlines here are generous; they prove an end and not a speed.
"""

import os
import pty
import resource
import select
import signal
import socket
import subprocess
import termios
import threading
import time
import unittest
from pathlib import Path

from support import CRASHED, FORCED, HULL, LIMIT, OK, TIMEOUT, Disk, HullTest

ENDS = "hull-guest: end"


def block_all_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))


class EndingTest(HullTest):
    def expect_end(self, process, code, limit=LIMIT):
        """It ends with this code and leaves no PID file. Returns what it said."""
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            self.fail(f"hull is still there after {limit} s")
        said = process.stderr.read().decode() if process.stderr else ""
        self.assertEqual(process.returncode, code, said)
        self.assertFalse(list(self.state.glob("run/qemu/*.pid")), "a PID file is left")
        return said

    def start_guest(self, agenda, *options, disks=(), end="hang", **more):
        return self.start(*self.guest_arguments(agenda, disks, "--name", "web", *options, end=end), **more)

    def silent_server(self):
        """The path of a socket that accepts and never says a word."""
        path = self.directory / "silent.sock"
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(str(path))
        listener.listen(8)
        return path

    def stopped_server(self, disk):
        """An NBD server, and the way to stop it."""
        path = self.directory / "nbd.sock"
        server = subprocess.Popen([HULL, "nbd", "-t", "-k", str(path), "-f", disk.format, str(disk.path)])
        self.addCleanup(lambda: (server.send_signal(signal.SIGCONT), server.kill(), server.wait()))
        self.wait_for(path.exists, "the NBD server")
        return path, lambda: server.send_signal(signal.SIGSTOP)


class StalledDisk(EndingTest):
    """Requests are in flight and will never be answered."""

    def start_stalled(self, *options):
        path, stop = self.stopped_server(self.raw(size=16 << 20))
        process = self.start_guest("blk.info;bench.blk,op=read,ms=600000", "--disk", f"nbd+unix:///?socket={path}", *options)
        self.wait_for_line(process, "blk.info")
        time.sleep(0.5)
        stop()
        return process

    def test_time_out(self):
        self.expect_end(self.start_stalled("--timeout", "4"), TIMEOUT)

    def test_sigterm_and_grace(self):
        process = self.start_stalled("--grace", "1")
        process.terminate()
        self.expect_end(process, FORCED)

    def test_second_signal(self):
        process = self.start_stalled("--grace", "600")
        process.terminate()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        self.expect_end(process, FORCED)

    def test_guest_that_switches_itself_off(self):
        path, stop = self.stopped_server(self.raw(size=16 << 20))
        process = self.start_guest("blk.info;serial.echo,seconds=2", "--disk", f"nbd+unix:///?socket={path}", "--timeout", "20", end="auto")
        self.wait_for_line(process, "blk.info")
        stop()
        process.wait(LIMIT)
        self.assertIn(process.returncode, (OK, TIMEOUT, 1))


class Preserved(EndingTest):
    """A machine that is kept as its guest left it: stopped, until somebody ends it."""

    def start_preserved(self, *options):
        process = self.start_guest("facts", "--on-crash", "preserve", *options, disks=[self.qcow2()], end="triple-fault", stderr=subprocess.PIPE)
        line = process.stderr.readline()
        while line and b"kept as on_crash" not in line:
            line = process.stderr.readline()
        self.assertIn(b"a signal ends it", line)
        self.assertIsNone(process.poll())
        return process

    def processor_ticks(self, process):
        return sum(map(int, Path(f"/proc/{process.pid}/stat").read_text("ascii").split()[13:15]))

    def test_it_uses_no_processor_and_one_signal_ends_it(self):
        process = self.start_preserved("--vcpus", "2")
        before = self.processor_ticks(process)
        time.sleep(0.5)
        self.assertLess(self.processor_ticks(process) - before, 10)
        process.terminate()
        self.expect_end(process, CRASHED, 9)

    def test_time_out(self):
        self.expect_end(self.start_preserved("--timeout", "2"), CRASHED)


class StartUp(EndingTest):
    """What is called off while the machine is opened and built."""

    def start_with_silent_disk(self, *options, **more):
        process = self.start_guest("facts", "--disk", f"nbd+unix:///?socket={self.silent_server()}", *options, **more)
        time.sleep(0.3)
        return process

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(signal=number):
                (self.directory / "silent.sock").unlink(missing_ok=True)
                process = self.start_with_silent_disk()
                process.send_signal(number)
                self.expect_end(process, FORCED, 9)

    def test_time_out_counts_from_the_start(self):
        process = self.start_with_silent_disk("--timeout", "1")
        said = self.expect_end(process, TIMEOUT, 9)
        self.assertIn("time-out: switched off after 1 s (--timeout)", said)

    def test_nothing_is_published_before_there_is_a_machine(self):
        process = self.start_with_silent_disk()
        self.assertEqual(self.pid_file("web").read_text(), "")
        self.assertFalse(self.log_file("web").exists())
        process.terminate()
        self.expect_end(process, FORCED)

    def test_document_that_does_not_come(self):
        fifo = self.directory / "fifo.xml"
        os.mkfifo(fifo)
        for arguments, stop, code in ((("--timeout", "1"), lambda p: None, TIMEOUT), ((), lambda p: p.terminate(), FORCED)):
            with self.subTest(code=code):
                process = self.start("run", fifo, *arguments)
                time.sleep(0.3)
                stop(process)
                self.expect_end(process, code)

    def test_key_derivation(self):
        key, image = self.directory / "key", self.directory / "luks.qcow2"
        key.write_bytes(b"secret")
        made = self.hull("img", "create", "-q", "-f", "qcow2", "--object", f"secret,id=s,file={key}", "-o",
                         "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=6000", image, "4M")
        self.assertEqual(made.code, OK, made)
        disk = Disk(image, "qcow2", **{"encrypt.key-secret": "s"})
        process = self.start_guest("facts", "--secret", f"s=file:{key}", "--timeout", "1", disks=[disk])
        self.expect_end(process, TIMEOUT)

    def test_machine_that_cannot_be_built_is_not_published(self):
        result = self.hull("run", "--kernel", "/etc/passwd", "--name", "web")
        self.assertNotEqual(result.code, OK)
        self.assertFalse(self.log_file("web").exists())


class Signals(EndingTest):
    def start_deaf(self, *options, **more):
        process = self.start_guest("facts", *options, **more)
        self.wait_for_line(process, ENDS)
        return process

    def test_two_at_once_are_one_wish(self):
        for second in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(second=second):
                process = self.start_deaf("--grace", "2")
                begin = time.monotonic()
                process.terminate()
                time.sleep(0.002)
                process.send_signal(second)
                self.expect_end(process, FORCED)
                self.assertGreater(time.monotonic() - begin, 1.9, "there was no grace")

    def test_timeout_program(self):
        process = subprocess.run(["timeout", "2", *self.command(*self.guest_arguments("serial.flood,bytes=4M", (), "--grace", "1", end="hang"))],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=LIMIT, check=False)
        self.assertEqual(process.returncode, TIMEOUT, "timeout's own code")
        self.assertIn("did not switch itself off within 1 seconds", process.stderr.decode())

    def test_storm_until_the_end(self):
        for _ in range(5):
            process = self.start_deaf("--grace", "600")
            while process.poll() is None:
                process.terminate()
                time.sleep(0.0005)
            self.expect_end(process, FORCED)

    def test_storm_from_the_start(self):
        for delay in range(0, 60, 6):
            process = self.start_guest("facts", "--grace", "1")
            time.sleep(delay / 1000 + 0.02)
            while process.poll() is None:
                process.terminate()
                time.sleep(0.001)
            # Before hull hears signals it dies of them like any program, and has left nothing yet.
            self.assertIn(process.returncode, (FORCED, -signal.SIGTERM))
            self.assertFalse(self.pid_file("web").exists())

    def test_caller_that_blocks_everything(self):
        process = self.start_guest("facts", "--vcpus", "2", preexec_fn=block_all_signals, end="auto")
        self.expect_end(process, OK)
        process = self.start_deaf("--vcpus", "2", "--timeout", "2", preexec_fn=block_all_signals)
        self.expect_end(process, TIMEOUT)
        process = self.start_deaf("--vcpus", "2", "--grace", "1", preexec_fn=block_all_signals)
        process.terminate()
        self.expect_end(process, FORCED)

    def test_ignored_hangup_stays_ignored(self):
        process = self.start_deaf("--grace", "0", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
        self.assertIsNone(process.poll())
        process.terminate()
        self.expect_end(process, FORCED)

    def test_cpu_limit(self):
        process = self.start_deaf("--grace", "600", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (2, 60)))
        self.expect_end(process, FORCED)


class Readers(EndingTest):
    """Nobody reads what hull and the guest write."""

    def test_full_pipe_for_both_outputs(self):
        for options, stop, code in ((("--timeout", "3"), lambda p: None, TIMEOUT), (("--grace", "1"), lambda p: p.terminate(), FORCED)):
            with self.subTest(code=code):
                reading, writing = os.pipe()
                process = self.start_guest("serial.flood,bytes=64M", *options, stdout=writing, stderr=subprocess.STDOUT)
                os.close(writing)
                time.sleep(2)
                stop(process)
                process.stderr = None
                self.expect_end(process, code)
                os.close(reading)

    def test_pipe_that_was_full_before(self):
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, b"x" * 4096)
        except BlockingIOError:
            pass
        os.set_blocking(writing, True)
        process = self.start_guest("facts", "--timeout", "3", stdout=writing, stderr=subprocess.STDOUT)
        os.close(writing)
        process.stderr = None
        self.expect_end(process, TIMEOUT)
        os.close(reading)


class Logs(EndingTest):
    def test_log_that_cannot_be_written_does_not_hide_the_end(self):
        state = self.directory / "small"
        state.mkdir(exist_ok=True)
        # Once the guest runs, all that is left of the file system is taken.
        script = (f"mount -t tmpfs -o size=64k none {state} || exit 99\n"
                  f'"$@" --root {state} --name web </dev/null & hull=$!\n'
                  f"until [ -s {state}/run/qemu/web.pid ]; do sleep 0.05; done\n"
                  f"truncate -s 4096 {state}/log/qemu/web.log\n"
                  f"dd if=/dev/zero of={state}/fill bs=4k 2>/dev/null\n"
                  f"wait $hull")
        unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
        for end, code in (("auto", OK), ("triple-fault", CRASHED)):
            with self.subTest(end=end):
                result = subprocess.run([*unshare, "sh", "-c", script, "sh", HULL, "run", "--kernel", "hull:guest", "--memory", "64M", "--append",
                                         f"hull.do=serial.echo,seconds=3 hull.end={end}"],
                                        capture_output=True, text=True, timeout=LIMIT, check=False)
                self.assertEqual(result.returncode, code, result.stderr)
                self.assertIn("web.log", result.stderr)


class JobControl(EndingTest):
    """On a terminal, with a shell that stops, continues and moves jobs."""

    def start_on_terminal(self, *options):
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)

        def lead_session():
            os.setsid()
            os.close(os.open(os.ttyname(0), os.O_RDWR))  # becomes the controlling terminal

        process = self.start_guest("facts;serial.echo,seconds=600", "--grace", "0", *options, stdin=theirs, stdout=theirs,
                                   preexec_fn=lead_session, end="auto")
        return process, ours, theirs

    def is_raw(self, terminal):
        return not termios.tcgetattr(terminal)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def test_raw_again_after_continue(self):
        process, _, terminal = self.start_on_terminal()
        self.wait_for(lambda: self.is_raw(terminal), "raw mode")
        process.send_signal(signal.SIGSTOP)
        cooked = termios.tcgetattr(terminal)
        cooked[3] |= termios.ICANON | termios.ECHO | termios.ISIG
        termios.tcsetattr(terminal, termios.TCSANOW, cooked)
        self.assertFalse(self.is_raw(terminal))
        process.send_signal(signal.SIGCONT)
        self.wait_for(lambda: self.is_raw(terminal), "raw mode after SIGCONT")
        process.terminate()
        self.expect_end(process, FORCED)
        self.assertFalse(self.is_raw(terminal))

    def test_terminal_is_restored_by_force(self):
        path, stop = self.stopped_server(self.raw(size=16 << 20))
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        before = termios.tcgetattr(theirs)
        process = self.start_guest("blk.info;bench.blk,op=read,ms=600000", "--disk", f"nbd+unix:///?socket={path}", "--timeout", "4",
                                   stdin=theirs, stdout=theirs)
        text = b""
        while b"blk.info" not in text:
            self.assertTrue(select.select([ours], [], [], 60)[0], text)
            text += os.read(ours, 4096)
        stop()
        drain = threading.Thread(target=self.read_all, args=(ours,), daemon=True)
        drain.start()
        self.expect_end(process, TIMEOUT)
        self.assertEqual(termios.tcgetattr(theirs), before)

    @staticmethod
    def read_all(fd):
        try:
            while os.read(fd, 4096):
                pass
        except OSError:
            pass


if __name__ == "__main__":
    unittest.main()
