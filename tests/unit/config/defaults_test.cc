// Absent attributes mean what libvirt's defaults mean, and trifles that libvirt takes are no reason
// to refuse a document.
#include <gtest/gtest.h>

#include "config/values.h"
#include "tests/support/domain_document.h"

namespace hull::config {
namespace {

using hull::testing::domain_document;
using hull::testing::lines;
using hull::testing::read_document;

DomainReading read_general(std::string_view elements) {
  return read_document(domain_document("", elements));
}

DomainReading read_its_devices(std::string_view devices) {
  return read_document(domain_document(devices));
}

TEST(Defaults, NumaPlacementIsStrict) {
  for (const char* memory :
       {"<memory nodeset='0'/>", "<memory placement='auto'/>",
        "<memory mode='strict' nodeset='0'/>",
        "<memory mode='preferred' nodeset='0'/><memnode cellid='0' nodeset='0'/>"})
    EXPECT_EQ(read_general(fmt::format("<numatune>{}</numatune>", memory)).refusals.size(), 1U)
        << memory;
  const DomainReading reading =
      read_general("<numatune><memory mode='preferred' nodeset='0'/></numatune>");
  EXPECT_EQ(lines(reading.warnings), "/domain/numatune/memory: NUMA placement is not applied");
}

TEST(Defaults, InterfaceIsOfTypeUser) {
  const DomainReading reading = read_its_devices("<interface><model type='virtio'/></interface>");
  EXPECT_EQ(lines(reading.refusals), "");
  ASSERT_EQ(reading.config.networks.size(), 1U);
  EXPECT_EQ(reading.config.networks[0].kind, NetworkKind::kUser);
}

TEST(Defaults, SocketConnects) {
  EXPECT_NE(lines(read_its_devices("<serial type='unix'><source path='/s'/></serial>").refusals)
                .find("does not connect"),
            std::string::npos);
}

TEST(Defaults, UnitMayBeEmpty) {
  const DomainReading reading = read_document(
      "<domain type='kvm'><name>a</name><memory unit=''>+262144</memory>"
      "<os><type>hvm</type><kernel>/k</kernel></os></domain>");
  EXPECT_EQ(lines(reading.refusals), "");
  EXPECT_EQ(reading.config.memory_bytes, 256ULL << 20);
}

TEST(Trifles, LongSerialIsShortenedAloud) {
  const DomainReading reading = read_its_devices(
      "<disk><source file='/d'/><target dev='vda'/>"
      "<serial>27101aac-10ec-468a-aaf5-694c663b2c33</serial></disk>");
  EXPECT_EQ(lines(reading.warnings),
            "/domain/devices/disk/serial: virtio has room for 20 bytes (the guest sees "
            "'27101aac-10ec-468a-a')");
  EXPECT_EQ(reading.config.disks.at(0).serial, "27101aac-10ec-468a-a");
}

TEST(Trifles, TwoInterfacesMayHaveOneAddress) {
  const std::string interface =
      "<interface type='ethernet'><mac address='52:54:0:1:2:3'/><model type='virtio'/></interface>";
  const DomainReading reading = read_its_devices(interface + interface + interface);
  EXPECT_TRUE(reading.accepted());
  EXPECT_EQ(reading.warnings.size(), 2U) << lines(reading.warnings);
  EXPECT_EQ(format_mac(reading.config.networks.at(2).mac), "52:54:00:01:02:03");
}

TEST(Trifles, OtherNamesOfUtf8AreTaken) {
  for (const char* encoding : {"UTF-8", "utf8", "US-ASCII"})
    EXPECT_TRUE(read_domain(fmt::format("<?xml version='1.0' encoding='{}'?><domain/>", encoding),
                            "d.xml", {}))
        << encoding;
  EXPECT_FALSE(read_domain("<?xml version='1.0' encoding='latin1'?><domain/>", "d.xml", {}));
}

TEST(Drives, NetworkCdromIsPresentedAndFloppyMentioned) {
  const auto read = [](std::string_view device) {
    return read_its_devices(
        fmt::format("<disk type='network' device='{}'><source protocol='nbd' "
                    "name='x'><host name='127.0.0.1'/></source>"
                    "<target dev='sda' bus='sata'/></disk>",
                    device));
  };
  const DomainReading cdrom = read("cdrom");
  ASSERT_EQ(cdrom.config.disks.size(), 1U);
  EXPECT_TRUE(cdrom.config.disks[0].read_only);
  EXPECT_EQ(cdrom.config.disks[0].file, "nbd://127.0.0.1/x");
  EXPECT_EQ(lines(read("floppy").warnings),
            "/domain/devices/disk/@device='floppy': left out (no floppy drive)");
}

TEST(Drives, FileIsNoUrl) {
  EXPECT_NE(lines(read_its_devices("<disk type='file'><source file='nbd://10.0.0.1/x'/>"
                                   "<target dev='vda'/></disk>")
                      .refusals)
                .find("/domain/devices/disk/source/@file: is not an absolute path"),
            std::string::npos);
}

TEST(Drives, BootOrdersMayNotRepeat) {
  EXPECT_NE(
      lines(read_its_devices("<disk><source file='/d'/><target dev='vda'/><boot order='1'/></disk>"
                             "<disk><source file='/e'/><target dev='vdb'/><boot order='1'/></disk>")
                .refusals)
          .find("1 is used twice"),
      std::string::npos);
}

TEST(Serial, AnotherPortThanTheFirstIsSaid) {
  EXPECT_EQ(lines(read_its_devices("<serial type='pty'><target port='1'/></serial>").warnings),
            "/domain/devices/serial/target/@port='1': presented as the first serial port, ttyS0");
  EXPECT_EQ(
      lines(read_its_devices("<serial type='pty'><target type='pci-serial' port='0'/></serial>")
                .warnings),
      "/domain/devices/serial/target/@type='pci-serial': presented as the ISA serial port ttyS0");
}

TEST(Rng, AnotherSourceIsSaid) {
  EXPECT_EQ(
      lines(read_its_devices("<rng model='virtio'><backend model='random'>/dev/hwrng</backend>"
                             "</rng>")
                .warnings),
      "/domain/devices/rng/backend: read from the host kernel's generator instead "
      "(/dev/hwrng)");
}

TEST(Numa, CellsAreChecked) {
  for (const char* cell :
       {"<cell id='0' cpus='0'/>", "<cell id='5' cpus='0' memory='262144'/>",
        "<cell id='0' cpus='0-99' memory='262144'/>", "<cell id='0' cpus='x' memory='262144'/>"})
    EXPECT_EQ(read_general(fmt::format("<cpu mode='maximum'><numa>{}</numa></cpu>", cell))
                  .refusals.size(),
              1U)
        << cell;
}

TEST(Numbers, SayWhatIsWrongWithThem) {
  const std::pair<const char*, const char*> sizes[] = {
      {"64.5", "'64.5' is not a whole number"},
      {"-1", "'-1' is negative"},
      {"99999999999999999999", "'99999999999999999999' is too large"},
      {"18446744073709551615", "18446744073709551615 KiB is more than can be counted in bytes"},
      {"1023", "1047552 bytes are less than the minimum of 2 MiB"},
  };
  for (const auto& [size, said] : sizes)
    EXPECT_EQ(lines(read_document(fmt::format("<domain type='kvm'><name>a</name><memory>{}</memory>"
                                              "<os><type>hvm</type><kernel>/k</kernel></os>"
                                              "</domain>",
                                              size))
                        .refusals),
              fmt::format("/domain/memory: {}", said));
}

}  // namespace
}  // namespace hull::config
