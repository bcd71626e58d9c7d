// What is wrong once is said once: what the reader has refused, and what stands in for it, is no
// second problem.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/domain_document.h"

namespace hull::config {
namespace {

using hull::testing::domain_document;
using hull::testing::lines;
using hull::testing::read_document;

std::string refusals(std::string_view document) {
  const std::string said = lines(read_document(document).refusals);
  EXPECT_EQ(std::ranges::count(said, '\n'), 0) << document << "\n" << said;
  return said;
}

std::string of_devices(std::string_view devices) { return refusals(domain_document(devices)); }

std::string of_disk(std::string_view type, std::string_view inside) {
  return of_devices(fmt::format("<disk type='{}'>{}<target dev='vda'/></disk>", type, inside));
}

constexpr std::string_view kNoUrl = "is not an absolute path (an NBD server needs type='network')";

TEST(OneMistake, UrlInPlaceOfAFile) {
  EXPECT_EQ(of_disk("file", "<source file='nbd://10.0.0.1/x'/>"),
            fmt::format("/domain/devices/disk/source/@file: {}", kNoUrl));
  EXPECT_EQ(of_disk("file", "<driver type='qcow2'/><source file='nbd://10.0.0.1/x'/>"),
            fmt::format("/domain/devices/disk/source/@file: {}", kNoUrl));
  EXPECT_EQ(of_disk("file", "<source file='nbd://10.0.0.1/x' startupPolicy='optional'/>"),
            fmt::format("/domain/devices/disk/source/@file: {}", kNoUrl));
  EXPECT_EQ(of_disk("block", "<source dev='nbd+unix:///x?socket=/s'/>"),
            fmt::format("/domain/devices/disk/source/@dev: {}", kNoUrl));
  EXPECT_EQ(of_disk("file",
                    "<driver type='qcow2'/><source file='/d'/><backingStore type='file'>"
                    "<format type='raw'/><source file='nbd://h/x'/></backingStore>"),
            fmt::format("/domain/devices/disk/backingStore/source/@file: {}", kNoUrl));
}

TEST(OneMistake, ServerThatIsNotNamed) {
  EXPECT_EQ(of_disk("network", "<source protocol='nbd' name='x'/>"),
            "/domain/devices/disk/source: has no <host>");
  EXPECT_EQ(of_disk("network", "<source protocol='nbd'><host name='h' port='0'/></source>"),
            "/domain/devices/disk/source/host/@port: 0 is not in 1 to 65535");
}

TEST(OneMistake, SourceThatIsMissing) {
  EXPECT_EQ(of_disk("file", ""), "/domain/devices/disk: disk vda: file: no path given");
  EXPECT_EQ(of_disk("file", "<source/>"), "/domain/devices/disk: disk vda: file: no path given");
  EXPECT_EQ(of_disk("file",
                    "<driver type='qcow2'/><source file='/d'/><backingStore type='file'>"
                    "<format type='raw'/></backingStore>"),
            "/domain/devices/disk: disk vda: backing file: no path given");
}

TEST(OneMistake, NumbersAndWords) {
  for (const std::string_view devices :
       {"<disk><driver queue_size='3'/><source file='/d'/><target dev='vda'/></disk>",
        "<disk><driver queue_size='many'/><source file='/d'/><target dev='vda'/></disk>",
        "<disk><driver iothread='1'/><source file='/d'/><target dev='vda'/></disk>",
        "<disk><driver type='bogus'/><source file='/d'/><target dev='vda'/></disk>",
        "<disk><blockio logical_block_size='3'/><source file='/d'/><target dev='vda'/></disk>",
        "<disk><source file='/d'/><target dev='nonsense'/></disk>",
        "<disk><source file='/d'/><target dev='vda1'/></disk>", "<disk><source file='/d'/></disk>",
        "<interface type='ethernet'><model type='virtio'/><mac address='x'/></interface>",
        "<interface type='ethernet'><model type='virtio'/><mtu size='1'/></interface>",
        "<interface type='bridge'><model type='virtio'/></interface>",
        "<interface type='bridge'><model type='virtio'/><source bridge='a/b'/></interface>",
        "<rng model='virtio'><backend model='random'/><rate bytes='x'/></rng>",
        "<serial type='file'/>", "<serial type='file'><source path='c'/></serial>",
        "<serial type='unix'><source mode='bind'/></serial>"})
    EXPECT_NE(of_devices(devices), "") << devices;
  for (const std::string_view general :
       {"<vcpu>0</vcpu>", "<vcpu>x</vcpu>", "<vcpu current='3'>2</vcpu>", "<uuid>x</uuid>",
        "<on_crash>x</on_crash>",
        "<memoryBacking><hugepages><page size='x'/></hugepages></memoryBacking>"})
    EXPECT_NE(refusals(domain_document("", general)), "") << general;
  for (const std::string_view memory : {"0", "x", "-1", "1", "99999999999999999999"})
    EXPECT_NE(refusals(fmt::format("<domain type='kvm'><name>a</name><memory>{}</memory><os>"
                                   "<type>hvm</type><kernel>/k</kernel></os></domain>",
                                   memory)),
              "")
        << memory;
}

}  // namespace
}  // namespace hull::config
