"""A FIFO that nobody has opened at the other end holds nothing up, whatever file's place it takes."""

import json
import os
import socket
import subprocess
import threading
import unittest

from support import BUSY, ERROR, OK, REFUSED, TIMEOUT, HullTest, domain_xml

GUEST = ("--kernel", "hull:guest", "--append", "hull.do=facts")
HANGING = ("--kernel", "hull:guest", "--append", "hull.end=hang", "--timeout", "2")


class Fifos(HullTest):
    def fifo(self):
        path = self.directory / "fifo"
        if not path.exists():
            os.mkfifo(path)
        return path

    def test_every_file_that_a_run_names(self):
        """It is an error at once, or the time-out ends the wait."""
        fifo = self.fifo()
        for words in ((fifo,), ("--kernel", fifo), ("--kernel", "hull:guest", "--initrd", fifo), ("--bios", fifo, "--disk", self.raw().argument()),
                      (*GUEST, "--disk", fifo), (*GUEST, "--disk", f"{fifo},format=qcow2"), ("--hda", fifo), ("--cdrom", fifo),
                      (*GUEST, "--console", f"file:{fifo}"), (*GUEST, "--console", f"unix:{fifo}"), (*GUEST, "--events", f"unix:{fifo}"),
                      (*GUEST, "--secret", f"s=file:{fifo}"), (*GUEST, "--dump-dtb", fifo), (*GUEST, "--in", fifo), (*GUEST, "--out", fifo),
                      (*GUEST, "--root", fifo, "--name", "web"), (*GUEST, "--net", f"tap,ifname={fifo}")):
            with self.subTest(words=words):
                result = self.hull("run", *words, "--timeout", "2")
                self.assertNotEqual(result.code, OK, result)
                self.expect_error(result, result.code)

    def test_log_and_pid_file(self):
        for place, code, told in ((self.log_file("web"), ERROR, "nobody reads"), (self.pid_file("web"), REFUSED, "not a regular file")):
            with self.subTest(place=place):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.unlink(missing_ok=True)
                os.mkfifo(place)
                self.expect_error(self.hull("run", *GUEST, "--name", "web"), code, told)
                place.unlink()

    def test_record_that_nobody_reads(self):
        """A guest that ended well, but not for the one who wanted to know; otherwise the guest's end counts."""
        self.expect_error(self.hull("run", *GUEST, "--result", self.fifo()), ERROR, "--result", "nobody reads")
        self.expect_error(self.hull("run", *HANGING, "--result", self.fifo()), TIMEOUT, "nobody reads")

    def test_record_for_a_reader_that_comes_later(self):
        process = self.start("run", "--kernel", "hull:guest", "--append", "hull.do=facts;serial.echo,seconds=600", "--result", self.fifo(), "--grace", "0")
        self.wait_for_line(process, "hull-guest: ok facts")
        with open(os.open(self.fifo(), os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8") as reader:
            process.terminate()
            process.communicate()
            self.assertEqual(json.loads(reader.read())["reason"], "forced")

    def test_document_from_a_writer_that_comes_later(self):
        document = domain_xml(cmdline="hull.do=facts")
        process = self.start("run", self.fifo())
        threading.Timer(0.5, lambda: self.fifo().write_text(document)).start()
        out, err = process.communicate()
        self.assertEqual((process.returncode, b"hull-guest: ok facts" in out), (OK, True), err)

    def test_document_from_a_writer_that_waits(self):
        writer = subprocess.Popen(["sh", "-c", f"cat >'{self.fifo()}'"], stdin=subprocess.PIPE)
        writer.stdin.write(domain_xml(cmdline="hull.do=facts").encode())
        writer.stdin.close()
        self.expect_success(self.hull("run", self.fifo()))
        self.assertEqual(writer.wait(), 0)

    def test_listener_that_takes_nobody_in(self):
        path = self.directory / "events.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(0)
            try:
                while True:
                    one = socket.socket(socket.AF_UNIX)
                    one.setblocking(False)
                    self.addCleanup(one.close)
                    one.connect(str(path))
            except BlockingIOError:
                pass
            self.expect_error(self.hull("run", *GUEST, "--events", f"unix:{path}"), BUSY, "--events")


if __name__ == "__main__":
    unittest.main()
