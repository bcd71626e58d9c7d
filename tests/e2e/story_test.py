"""What a run says about itself: to the person at its terminal, and to programs (--result, --events)."""

import json
import os
import pty
import select
import signal
import socket
import threading
import time
import unittest

from support import CRASHED, DEBUG_EXIT_BASE, FORCED, LIMIT, OK, RESET, TIMEOUT, USAGE, HullTest, domain_xml

ECHO = "hull.do=serial.echo,seconds=600"


class Terminal(HullTest):
    """hull with a terminal on all three descriptors."""

    def on_terminal(self, *arguments):
        outer, inner = pty.openpty()
        self.addCleanup(os.close, outer)
        process = self.start(*arguments, stdin=inner, stdout=inner, stderr=inner)
        os.close(inner)
        self.terminal, self.seen = outer, ""
        return process

    def read_until(self, text, process=None):
        end = time.monotonic() + LIMIT
        while text not in self.seen:
            if time.monotonic() > end:
                self.fail(f"waited in vain for {text!r}:\n{self.seen}")
            if select.select([self.terminal], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.terminal, 65536).decode(errors="replace").replace("\r\n", "\n")
                except OSError:  # nobody has it open any more
                    self.assertIn(text, self.seen)
        return self.seen

    def test_start_says_where_things_are_and_what_ends_it(self):
        process = self.on_terminal("run", "--kernel", "hull:guest", "--name", "story", "--append", ECHO)
        self.read_until("info: story: started")
        self.read_until(str(self.log_file("story")))
        self.read_until("Ctrl-] presses the power button")
        self.read_until("hull-guest: start")
        os.write(self.terminal, b"\x1d")
        self.read_until("info: story: the power button is pressed")
        time.sleep(1)  # later, so that it is another wish
        os.write(self.terminal, b"\x1d")
        self.assertEqual(process.wait(LIMIT), FORCED)

    def test_quiet_and_pipes_say_nothing(self):
        process = self.on_terminal("run", "--kernel", "hull:guest", "--name", "story", "--quiet", "--append", "hull.do=facts")
        self.read_until("end by=auto")
        self.assertEqual(process.wait(LIMIT), OK)
        self.assertNotIn("info: ", self.seen)
        self.assertEqual(self.run_guest("facts").err, "")

    def test_panic_and_silence(self):
        process = self.on_terminal("run", "--kernel", "hull:guest", "--append", ECHO)
        self.read_until("hull-guest: start")
        os.write(self.terminal, b"Kernel panic - not syncing: VFS\n")
        self.read_until("kernel has panicked")
        self.assertNotIn("printed nothing", self.seen)
        process.kill()
        process.wait()

    def test_many_resets_are_noticed(self):
        process = self.on_terminal("run", "--kernel", "hull:guest", "--append", "hull.end=reset", "--on-reboot", "restart")
        self.read_until("has reset itself 3 times; --no-reboot")
        process.kill()
        process.wait()


class Resets(HullTest):
    def test_reset_ends_a_run_that_options_describe(self):
        for way in ("reset", "i8042"):
            for options in ((), ("--no-reboot",), ("--on-reboot", "destroy")):
                with self.subTest(way=way, options=options):
                    result = self.run_guest("", (), *options, end=way)
                    self.expect_error(result, RESET, "reset itself", "--on-reboot restart")
                    self.assertEqual(result.out.count("hull-guest: start"), 1, result)

    def test_document_decides_unless_an_option_does(self):
        result = self.run_xml(domain_xml(cmdline="hull.end=reset"), "--timeout", "4")
        self.assertEqual(result.code, TIMEOUT, result)
        result = self.run_xml(domain_xml(cmdline="hull.end=reset"), "--no-reboot")
        self.assertEqual(result.code, RESET, result)

    def test_crash_may_start_again(self):
        result = self.run_guest("", (), "--on-crash", "restart", "--timeout", "4", end="triple-fault")
        self.assertEqual(result.code, TIMEOUT, result)
        self.assertGreaterEqual(result.out.count("hull-guest: start"), 2, result)
        self.assertEqual(self.run_guest("", (), "--on-crash", "destroy", end="triple-fault").code, CRASHED)

    def test_contradictions(self):
        self.expect_error(self.run_guest("", (), "--no-reboot", "--on-reboot", "restart"), USAGE, "--no-reboot")
        self.expect_error(self.run_guest("", (), "--on-reboot", "dance"), USAGE, "--on-reboot")


class TransientDisks(HullTest):
    def test_one_disk_is_kept_and_the_other_is_not(self):
        kept, thrown_away = self.raw("kept.raw"), self.raw("thrown.raw", transient="on")
        self.expect_success(self.run_guest("blk.fill,dev=0,count=8;blk.fill,dev=1,count=8;blk.verify,dev=1,count=8", [kept, thrown_away]))
        self.assertNotEqual(kept.path.read_bytes()[:4096], bytes(4096))
        self.assertEqual(thrown_away.path.read_bytes(), bytes(4 << 20))

    def test_disk_may_be_excepted_from_ephemeral(self):
        kept, thrown_away = self.raw("kept.raw", transient="off"), self.raw("thrown.raw")
        self.expect_success(self.run_guest("blk.fill,dev=0,count=8;blk.fill,dev=1,count=8", [kept, thrown_away], "--ephemeral"))
        self.assertNotEqual(kept.path.read_bytes()[:4096], bytes(4096))
        self.assertEqual(thrown_away.path.read_bytes(), bytes(4 << 20))


class Results(HullTest):
    def record(self, *arguments):
        path = self.directory / "result.json"
        result = self.run_guest("", (), "--name", "job", "--result", str(path), *arguments[1:], end=arguments[0])
        record = json.loads(path.read_text())
        self.assertEqual(record["exit_code"], result.code, result)
        self.assertEqual((record["version"], record["domain"]), (1, "job"))
        self.assertRegex(record["started"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertGreaterEqual(record["ended"], record["started"])
        return record

    def test_record_is_written_also_when_hull_is_left_by_force(self):
        """The main thread hangs in a file that nobody ever opens at the other end."""
        secret, path = self.directory / "secret", self.directory / "result.json"
        os.mkfifo(secret)
        reader, writer = os.pipe()
        result = self.hull(*self.guest_arguments("", (), "--name", "job", "--secret", f"s=file:{secret}", "--timeout", "1", "--result", str(path), "--events", f"fd:{writer}"),
                           pass_fds=(writer,))
        os.close(writer)
        self.assertEqual((result.code, "left as it was" in result.err), (TIMEOUT, True), result)
        record = json.loads(path.read_text())
        self.assertEqual((record["domain"], record["reason"], record["exit_code"]), ("job", "timeout", TIMEOUT))
        with os.fdopen(reader) as events:
            last = json.loads(events.read().splitlines()[-1])
        self.assertEqual((last["event"], last["reason"]), ("ended", "timeout"))

    def test_each_end_has_its_reason(self):
        for end, reason, code, options in (("poweroff", "power-off", OK, ()), ("reset", "reset", RESET, ()), ("triple-fault", "crash", CRASHED, ()),
                                           ("panic", "panic", CRASHED, ()), ("hang", "timeout", TIMEOUT, ("--timeout", "1")),
                                           ("exit,code=7", "debug-exit", DEBUG_EXIT_BASE + 7, ("--debug-exit",))):
            with self.subTest(end=end):
                record = self.record(end, *options)
                self.assertEqual((record["reason"], record["exit_code"]), (reason, code), record)
                self.assertEqual(record.get("guest_status"), 7 if reason == "debug-exit" else None)

    def test_what_never_ran_has_a_record_too(self):
        path = self.directory / "result.json"
        result = self.hull("run", "--kernel", "/nonexistent", "--result", str(path))
        record = json.loads(path.read_text())
        self.assertEqual((record["reason"], record["exit_code"]), ("error", result.code))
        self.assertIn("/nonexistent", record["detail"])

    def test_descriptor(self):
        inner, outer = os.pipe()
        result = self.hull(*self.guest_arguments("", (), "--result", f"fd:{outer}", end="poweroff"), pass_fds=(outer,))
        os.close(outer)
        with os.fdopen(inner) as pipe:
            self.assertEqual(json.loads(pipe.read())["exit_code"], result.code)

    def test_places_that_do_not_work(self):
        for where in ("fd:", "fd:x", "fd:99", "fd:-1", "fd:1,2"):
            with self.subTest(where=where):
                self.expect_error(self.run_guest("", (), "--result", where), USAGE, "--result")
        self.assertNotEqual(self.run_guest("", (), "--result", str(self.directory)).code, OK)


class Events(HullTest):
    def test_events_of_a_run(self):
        path = self.directory / "events.sock"
        lines = []
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()

            def listen():
                with listener.accept()[0] as connection, connection.makefile() as stream:
                    lines.extend(stream)

            thread = threading.Thread(target=listen)
            thread.start()
            process = self.start("run", "--kernel", "hull:guest", "--name", "web", "--append", ECHO, "--events", f"unix:{path}", "--grace", "1")
            self.wait_for_line(process, "hull-guest: start")
            process.send_signal(signal.SIGTERM)
            process.communicate()
            thread.join()
        events = [json.loads(line) for line in lines]
        self.assertEqual([event["event"] for event in events], ["started", "power-button", "ended"])
        self.assertEqual({(event["version"], event["domain"]) for event in events}, {(1, "web")})
        self.assertEqual(events[0]["pid"], process.pid)
        self.assertEqual((events[-1]["exit_code"], events[-1]["reason"]), (process.returncode, "forced"))

    def events_of(self, *words):
        inner, outer = os.pipe()
        self.hull(*words, "--events", f"fd:{outer}", pass_fds=(outer,))
        os.close(outer)
        with os.fdopen(inner) as pipe:
            return [json.loads(line) for line in pipe]

    def test_errors_of_a_disk_are_events(self):
        # The table of its clusters does not begin at a cluster: damage that is found when it is read.
        disk = self.qcow2(creation="preallocation=metadata")
        with disk.path.open("r+b") as file:
            file.seek(40)
            table = int.from_bytes(file.read(8), "big")
            file.seek(table)
            file.write(((1 << 63) | 0x50200).to_bytes(8, "big"))
        events = self.events_of(*self.guest_arguments("blk.sum,count=8;blk.sum,count=8", [disk], "--name", "web"))
        self.assertEqual([event["event"] for event in events], ["started", "io-error", "io-error", "ended"])
        self.assertEqual((events[1]["domain"], events[1]["disk"]), ("web", "vda"))
        self.assertIn("L1 entry", events[1]["detail"])

    def test_networks_are_told(self):
        mac = "52:54:00:12:34:56"
        events = self.events_of(*self.guest_arguments("facts", (), "--net", f"null,mac={mac}"))
        self.assertEqual(events[0]["networks"], [{"mac": mac}])

    def test_resets_are_events(self):
        inner, outer = os.pipe()
        self.hull(*self.guest_arguments("reboot,times=2", [self.raw()], "--on-reboot", "restart", "--events", f"fd:{outer}"), pass_fds=(outer,))
        os.close(outer)
        with os.fdopen(inner) as pipe:
            events = [json.loads(line) for line in pipe]
        self.assertEqual([event["event"] for event in events], ["started", "reset", "reset", "ended"])
        self.assertEqual(events[-1]["resets"], 2)

    def test_reader_that_does_not_read_holds_nothing_up(self):
        inner, outer = os.pipe()
        os.set_blocking(outer, False)
        try:
            while True:
                os.write(outer, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(outer, True)
        result = self.hull(*self.guest_arguments("facts", (), "--events", f"fd:{outer}"), pass_fds=(outer,))
        self.expect_success(result)
        os.close(inner)
        os.close(outer)

    def test_places_that_do_not_work(self):
        self.expect_error(self.run_guest("", (), "--events", "file"), USAGE, "--events", "fd:N or unix:PATH")
        self.expect_error(self.run_guest("", (), "--events", "fd:99"), USAGE, "--events")
        self.assertNotEqual(self.run_guest("", (), "--events", f"unix:{self.directory}/none").code, OK)


if __name__ == "__main__":
    unittest.main()
