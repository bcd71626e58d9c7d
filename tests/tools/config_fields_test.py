"""Every field of a configuration is read by somebody who builds the machine: what is not was a promise without a keeper."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def fields(header):
    """(struct, field) of all structs in config/domain.h."""
    for struct, body in re.findall(r"^struct (\w+) \{\n(.*?)^\};", header, re.MULTILINE | re.DOTALL):
        body = re.sub(r"//.*|enum class [^;]*;", "", body)
        for declaration in body.split(";"):
            name = re.search(r"(\w+)\s*(?:=.*|\{.*)?$", declaration.strip(), re.DOTALL)
            if name:
                yield struct, name.group(1)


class ConfigFields(unittest.TestCase):
    def test_each_is_read_where_machines_are_built(self):
        header = (ROOT / "config/domain.h").read_text(encoding="utf-8")
        # The parts that turn a configuration into a machine, and what is made up for it.
        readers = [*(ROOT / "vmm").rglob("*.cc"), *(ROOT / "vmm").rglob("*.h"), *(ROOT / "tools/hull").glob("run*.cc"),
                   *(ROOT / "tools/hull/runtime").glob("*.cc"), ROOT / "config/generated.cc", ROOT / "config/boot_order.cc"]
        code = "\n".join(re.sub(r"//.*", "", p.read_text(encoding="utf-8")) for p in readers)
        found = list(fields(header))
        self.assertGreater(len(found), 40)
        unread = [f"{struct}::{field}" for struct, field in found
                  # Read, not set: 'x.field' that is no target of an assignment.
                  if not re.search(rf"(?:\.|->){field}\b(?!\s*=[^=])", code)]
        self.assertEqual(unread, [], "nobody reads these: honour them, or warn of what sets them")

    def test_a_field_that_nobody_reads_is_found(self):
        self.assertEqual(list(fields("struct A {\n  enum class E : uint8_t { kOne };\n  int a = 1;  // why\n  std::vector<B> list{};\n  bool c;\n};\n")),
                         [("A", "a"), ("A", "list"), ("A", "c")])


if __name__ == "__main__":
    unittest.main()
