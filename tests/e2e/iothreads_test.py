"""Disks are served by the I/O threads that the document or the command line gives them."""

import re
import unittest
from pathlib import Path

from support import FORCED, REFUSED, USAGE, HullTest, domain_xml

WORK = "blk.fill;blk.fill,dev=1;blk.flush;blk.flush,dev=1;blk.verify;blk.verify,dev=1"
CMDLINE = f"hull.do={WORK} hull.end=hang"


class IoThreads(HullTest):
    def threads(self, process):
        """The I/O threads of a hull whose guest has done its work, and done it right."""
        self.wait_for_line(process, "end by=hang failed=0")
        names = {path.read_text("utf-8").strip() for path in Path(f"/proc/{process.pid}/task").glob("*/comm")}
        process.terminate()
        self.assertEqual(process.wait(60), FORCED)
        return {name for name in names if name == "block" or re.fullmatch(r"io\d+", name)}

    def document(self, elements):
        disks = [self.raw("a.raw").xml("vda"), self.qcow2("b.qcow2").xml("vdb")]
        devices = "".join(xml.replace("<driver ", f"<driver iothread='{number}' ") for xml, number in zip(disks, (2, 5)))
        path = self.directory / "domain.xml"
        path.write_text(domain_xml(cmdline=CMDLINE, devices=devices, elements=elements), "utf-8")
        return path

    def test_document(self):
        path = self.document("<iothreads>2</iothreads><iothreadids><iothread id='2'/><iothread id='5'/></iothreadids>")
        process = self.start("run", path, "--console", "stdio", "--grace", "0")
        self.assertEqual(self.threads(process), {"block", "io2", "io5"})

    def test_thread_that_is_not_there_is_refused(self):
        result = self.hull("run", self.document("<iothreads>2</iothreads>"))
        self.expect_error(result, REFUSED, "there is no I/O thread 5")

    def test_options(self):
        disks = [self.raw("a.raw"), self.qcow2("b.qcow2")]
        process = self.start(*self.guest_arguments(WORK, disks, "--iothreads", "2", "--grace", "0", end="hang"))
        self.assertEqual(self.threads(process), {"block", "io1", "io2"})
        result = self.hull(*self.guest_arguments("facts", disks, "--iothreads", "17"))
        self.expect_error(result, USAGE, "at most 16")


if __name__ == "__main__":
    unittest.main()
