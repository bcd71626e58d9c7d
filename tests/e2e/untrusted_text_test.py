"""Names out of images do not reach a terminal's control functions."""

import json
import unittest

from support import OK, HullTest, qemu_img

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


if __name__ == "__main__":
    unittest.main()
