"""The serial console: stdio, file, pty, unix socket and null, and a terminal or pipe that goes away."""

import contextlib
import fcntl
import os
import pty
import re
import select
import socket
import subprocess
import termios
import time
import unittest

from support import OK, USAGE, HullTest

# More than a pipe holds; every byte is an exit, so that more would only take longer.
LINES = 1536
FLOOD = f"serial.flood,bytes={LINES * 64}"


def flood_is_whole(text):
    """Whether all the numbered lines of serial.flood are there, in order."""
    numbers = [int(n) for n in re.findall(r"flood (\d{16})", text)]
    return len(numbers) == LINES and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


class Console(HullTest):
    def converse(self, read, write):
        """Uses the guest's echo service. `read` waits a moment for output. What the guest says while nobody listens is
        dropped, so that its greeting may have gone; and what is said to it before it listens may be."""
        text, until = b"", time.monotonic() + 60
        while b"hello there" not in text and time.monotonic() < until:
            write(b"hello there\n")
            text += read()
        self.assertIn(b"hello there", text)

    def test_stdio_carries_every_byte(self):
        result = self.run_guest(FLOOD)
        self.expect_success(result)
        self.assertTrue(flood_is_whole(result.out), result)

    def test_slow_reader_loses_nothing(self):
        process = self.start(*self.guest_arguments(FLOOD))
        fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, 4096)
        time.sleep(2)
        text = b""
        while piece := os.read(process.stdout.fileno(), 512):
            text += piece
            time.sleep(0.001)
        self.assertEqual(process.wait(60), OK)
        self.assertTrue(flood_is_whole(text.decode()))

    def test_file(self):
        path = self.directory / "console.txt"
        result = self.run_guest(FLOOD, (), "--console", f"file:{path}")
        self.assertEqual((result.code, result.out), (OK, ""), result)
        self.assertTrue(flood_is_whole(path.read_text()))

    def test_null(self):
        result = self.run_guest(FLOOD, (), "--console", "null")
        self.assertEqual((result.code, result.out), (OK, ""), result)

    def test_standard_input_reaches_the_guest(self):
        process = self.start(*self.guest_arguments("serial.echo"), stdin=subprocess.PIPE)
        self.wait_for_line(process, "serial.echo ready")
        process.stdin.write(b"hello there\nquit\n")
        process.stdin.flush()
        self.wait_for_line(process, "hello there")
        self.assertEqual(process.wait(60), OK)

    def test_pty(self):
        process = self.start(*self.guest_arguments("serial.echo", (), "--console", "pty"))
        name = None
        for line in process.stderr:
            if found := re.search(rb"/dev/pts/\d+", line):
                name = found[0].decode()
                break
        self.assertIsNotNone(name, "hull names no pty")
        terminal = os.open(name, os.O_RDWR | os.O_NOCTTY)
        self.addCleanup(os.close, terminal)
        self.converse(lambda: os.read(terminal, 4096) if select.select([terminal], [], [], 0.5)[0] else b"",
                      lambda words: os.write(terminal, words))
        os.write(terminal, b"quit\n")
        self.assertEqual(process.wait(60), OK)

    def test_unix_socket(self):
        path = self.directory / "console.sock"
        process = self.start(*self.guest_arguments("serial.echo", (), "--console", f"unix:{path}"))
        self.wait_for(path.exists, "the socket")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(0.5)
            client.connect(str(path))

            def receive():
                with contextlib.suppress(TimeoutError):
                    return client.recv(4096)
                return b""

            self.converse(receive, client.sendall)
            client.sendall(b"quit\n")
        self.assertEqual(process.wait(60), OK)
        self.assertFalse(path.exists(), "the socket is left behind")

    def test_unknown_kind_is_a_usage_error(self):
        self.expect_error(self.run_guest("facts", (), "--console", "printer"), USAGE, "printer")


class Terminal(HullTest):
    """A terminal must be as it was, however hull ends."""

    def run_on_terminal(self, end, stop):
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        before, flags = termios.tcgetattr(theirs), os.get_blocking(theirs)
        process = self.start(*self.guest_arguments("facts", (), "--grace", "1", end=end), stdin=theirs, stdout=theirs)
        text = b""
        while b"hull-guest: end" not in text:
            self.assertTrue(select.select([ours], [], [], 60)[0], text)
            text += os.read(ours, 4096)
        stop(process, ours)
        process.wait(60)
        self.assertEqual(termios.tcgetattr(theirs), before, "the terminal is not as it was")
        self.assertEqual(os.get_blocking(theirs), flags)
        os.close(theirs)
        return process.returncode

    def test_after_power_off(self):
        self.run_on_terminal("auto", lambda process, _: process.wait(60))

    def test_after_a_crash(self):
        self.run_on_terminal("triple-fault", lambda process, _: process.wait(60))

    def test_after_sigterm(self):
        self.run_on_terminal("hang", lambda process, _: process.terminate())

    def test_escape_key_ends_the_session(self):
        self.run_on_terminal("hang", lambda _, terminal: os.write(terminal, b"\x1d\x1d"))


class BrokenOutput(HullTest):
    def test_closed_standard_output(self):
        process = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *self.command(*self.guest_arguments(FLOOD))],
                                 stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120, check=False)
        self.assertEqual(process.returncode, OK, process.stderr)

    def test_full_standard_output(self):
        with open("/dev/full", "wb") as full:
            process = self.start(*self.guest_arguments(FLOOD), stdout=full)
            _, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, OK)
        self.assertLess(len(err), 4000)

    def test_reader_that_goes_away(self):
        process = self.start(*self.guest_arguments(FLOOD))
        os.read(process.stdout.fileno(), 100)
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, OK)
        self.assertLess(len(err), 4000)

    def test_all_three_closed(self):
        process = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *self.command(*self.guest_arguments("facts"))],
                                 timeout=120, check=False)
        self.assertEqual(process.returncode, OK)


if __name__ == "__main__":
    unittest.main()
