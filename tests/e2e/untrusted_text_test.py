"""Names out of images, documents and arguments reach neither a terminal's control functions nor lines of their own."""

import json
import unittest

from support import ERROR, OK, REFUSED, HullTest, domain_xml, qemu_img

EVIL = "evil\x1b]0;pwned\x07\u202egnp.exe\x9b"


class UntrustedText(HullTest):
    def expect_plain(self, text):
        bad = [c for c in text if (ord(c) < 0x20 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c == "\u202e"]
        self.assertEqual(bad, [], text)

    def overlay_of_evil(self):
        path = self.directory / "overlay.qcow2"
        qemu_img("create", "-q", "-f", "qcow2", "-u", "-b", EVIL, "-F", "raw", path, "1M")
        return path

    def test_info(self):
        path = self.overlay_of_evil()
        result = self.hull("img", "info", path)
        self.assertEqual(result.code, OK, result)
        self.expect_plain(result.out)
        self.assertIn(r"backing file: evil\x1b]0;pwned\x07\xe2\x80\xaegnp.exe\xc2\x9b", result.out)

    def test_json_has_the_name_itself(self):
        result = self.hull("img", "info", "--output=json", self.overlay_of_evil())
        self.assertEqual(json.loads(result.out)["backing-filename"], EVIL)

    def test_errors(self):
        result = self.hull("img", "check", self.directory / f"{EVIL}\nhull img: all is well")
        self.assertEqual(result.code, ERROR, result)
        self.expect_plain(result.err)
        self.assertEqual(len(result.err.splitlines()), 1, result)
        result = self.hull("run", "--kernel", f"/none/{EVIL}\nerror: b")
        self.expect_plain(result.err)
        errors = [line for line in result.err.splitlines() if not line.startswith("warning: ")]
        self.assertEqual(len(errors), 1, result)  # a warning may come before it, about the host

    def test_document(self):
        """A newline in a value makes no line of its own among the findings."""
        device = "<disk type='file' device='disk'><driver name='qemu' type='raw\n&#10;error: all is well'/><source file='/none'/><target dev='vda' bus='virtio'/></disk>"
        result = self.run_xml(domain_xml(devices=device))
        self.assertEqual(result.code, REFUSED, result)
        self.expect_plain(result.err)
        self.assertNotIn("\nerror: all is well", result.err)


if __name__ == "__main__":
    unittest.main()
