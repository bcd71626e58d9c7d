// What a document's names mean: elements where nobody expects them, and names of other namespaces.
#include <gtest/gtest.h>

#include "tests/support/domain_document.h"

namespace hull::config {
namespace {

using hull::testing::domain_document;
using hull::testing::lines;
using hull::testing::read_document;

TEST(Names, UnexpectedChildrenAreUnknownElements) {
  const std::pair<const char*, const char*> documents[] = {
      {"<memoryBacking><hugepages><pages size='1' unit='G'/></hugepages></memoryBacking>",
       "/domain/memoryBacking/hugepages/pages: unknown element, ignored"},
      {"<clock offset='utc'><timers name='kvmclock' present='no'/></clock>",
       "/domain/clock/timers: unknown element, ignored"},
      {"<clock offset='utc'><x name='tsc' frequency='1'/></clock>",
       "/domain/clock/x: unknown element, ignored"},
      {"<os><type>hvm</type><kernel>/k</kernel><firmware>"
       "<x name='secure-boot' enabled='yes'/></firmware></os>",
       "/domain/os/firmware/x: unknown element, ignored"},
      {"<cpu mode='host-passthrough'><x name='svm' policy='disable'/></cpu>",
       "/domain/cpu/x: unknown element, ignored"},
      {"<cpu mode='host-passthrough'><numa><x memory='1'/></numa></cpu>",
       "/domain/cpu/numa/x: unknown element, ignored"},
  };
  for (const auto& [elements, said] : documents) {
    const bool has_os = std::string_view(elements).starts_with("<os>");
    const DomainReading reading = read_document(
        "<domain type='kvm'><name>a</name><memory>262144</memory>" + std::string(elements) +
        (has_os ? "" : "<os><type>hvm</type><kernel>/k</kernel></os>") + "</domain>");
    EXPECT_EQ(lines(reading.warnings), said);
    EXPECT_TRUE(reading.accepted()) << lines(reading.refusals);
  }
}

// Each means something without its namespace.
constexpr const char* kInADisk[] = {"<readonly/>",  "<transient/>",           "<shareable/>",
                                    "<serial/>",    "<driver type='qcow2'/>", "<backingStore/>",
                                    "<encryption/>"};

std::string with_namespace(std::string_view element) {
  const size_t end = element.find_first_of(" /");
  return fmt::format("{} xmlns='urn:x'{}", element.substr(0, end), element.substr(end));
}

TEST(Names, ForeignNamespaceInADiskIsRefused) {
  for (const char* element : kInADisk) {
    const DomainReading reading = read_document(domain_document(fmt::format(
        "<disk><source file='/d'/><target dev='vda'/>{}</disk>", with_namespace(element))));
    ASSERT_EQ(reading.refusals.size(), 1U) << element;
    EXPECT_TRUE(reading.refusals[0].text().starts_with("/domain/devices/disk/{urn:x}"))
        << reading.refusals[0].text();
  }
}

TEST(Names, ForeignNamespaceElsewhereIsUnknown) {
  for (const char* element : {"<vcpu/>", "<on_reboot/>", "<clock/>", "<cpu/>", "<seclabel/>"}) {
    const DomainReading reading = read_document(domain_document("", with_namespace(element)));
    ASSERT_EQ(reading.warnings.size(), 1U) << element;
    EXPECT_NE(reading.warnings[0].message.find("unknown element"), std::string::npos);
  }
  for (const char* device : {"<disk type='file'/>", "<interface type='ethernet'/>", "<rng/>"}) {
    const DomainReading reading = read_document(domain_document(with_namespace(device)));
    EXPECT_EQ(reading.warnings.size(), 1U) << device;
  }
}

TEST(Names, QemuIsANamespaceAndNotAPrefix) {
  const DomainReading reading =
      read_document(domain_document("", "<qemu:commandline xmlns:qemu='urn:x'/>"));
  EXPECT_EQ(lines(reading.warnings), "/domain/qemu:commandline: unknown element, ignored");
}

TEST(Names, RootInANamespaceIsNoDomain) {
  const auto reading = read_domain("<domain xmlns='http://x' type='kvm'/>", "d.xml", {});
  ASSERT_FALSE(reading);
  EXPECT_EQ(reading.error().message(),
            "d.xml:1:1: <{http://x}domain> is not a <domain> of libvirt's (which has no "
            "namespace)");
}

TEST(Names, UndeclaredPrefixIsNamed) {
  const auto reading = read_domain(
      "<domain type='kvm'><name>a</name>\n<qemu:commandline><qemu:arg/></qemu:commandline>"
      "</domain>",
      "d.xml", {});
  ASSERT_FALSE(reading);
  EXPECT_EQ(reading.error().message(),
            "d.xml:2:1: the prefix 'qemu' is not declared "
            "(xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0')");
  const auto attribute =
      read_domain("<domain xmlns:a='urn:a' a:x='b:c d:e' z:y='1'/>", "d.xml", {});
  ASSERT_FALSE(attribute);
  EXPECT_NE(attribute.error().message().find("prefix 'z'"), std::string::npos)
      << attribute.error().message();
}

}  // namespace
}  // namespace hull::config
