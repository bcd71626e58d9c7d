#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/support/domain_document.h"
#include "tests/support/temporary_directory.h"

namespace hull::config {
namespace {

using hull::testing::domain_document;
using hull::testing::lines;
using hull::testing::read_document;

// A document with one virtio disk that has `inside` besides its source and target.
DomainReading read_disk(std::string_view inside) {
  return read_document(
      domain_document("<disk type='file' device='disk'><source file='/d'/>"
                      "<target dev='vda' bus='virtio'/>" +
                      std::string(inside) + "</disk>"));
}

TEST(ReadDisks, AbsentFormatIsRaw) {
  const DomainReading reading = read_disk("");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  EXPECT_EQ(reading.config.disks[0].format, DiskFormat::kRaw);
  EXPECT_EQ(reading.config.disks[0].cache, CacheMode::kWriteback);
  EXPECT_EQ(reading.config.disks[0].discard, DiscardMode::kIgnore);
  EXPECT_FALSE(reading.config.disks[0].read_only);
}

TEST(ReadDisks, DriverAttributesAreHonoured) {
  const DomainReading reading = read_disk(
      "<driver name='qemu' type='qcow2' cache='none' io='native' discard='unmap' "
      "detect_zeroes='unmap' queues='1' queue_size='512' error_policy='report'/>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  const DiskConfig& disk = reading.config.disks[0];
  EXPECT_EQ(disk.format, DiskFormat::kQcow2);
  EXPECT_EQ(disk.cache, CacheMode::kNone);
  EXPECT_EQ(disk.discard, DiscardMode::kUnmap);
  EXPECT_EQ(disk.detect_zeroes, DetectZeroes::kUnmap);
  EXPECT_EQ(disk.queue_size, 512U);
}

TEST(ReadDisks, MetadataCacheIsInBytesUnlessSaid) {
  const auto read = [](const std::string& size) {
    const DomainReading reading =
        read_disk("<driver type='qcow2'><metadata_cache>" + size + "</metadata_cache></driver>");
    EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
    return reading.config.disks[0].metadata_cache_bytes;
  };
  EXPECT_EQ(read("<max_size>65536</max_size>"), 65536U);
  EXPECT_EQ(read("<max_size unit='MiB'>32</max_size>"), uint64_t{32} << 20);
}

TEST(ReadDisks, FlagsSerialBootAndBlockSizesAreHonoured) {
  const DomainReading reading = read_disk(
      "<readonly/><transient/><serial> abc </serial><boot order='2'/>"
      "<blockio logical_block_size='4096'/>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  const DiskConfig& disk = reading.config.disks[0];
  EXPECT_TRUE(disk.read_only);
  EXPECT_TRUE(disk.transient);
  EXPECT_EQ(disk.serial, "abc");
  EXPECT_EQ(disk.logical_block_size, 4096U);
  EXPECT_EQ(disk.physical_block_size, 4096U);
}

TEST(ReadDisks, UnsafeCacheIsHonouredAloud) {
  const DomainReading reading = read_disk("<driver cache='unsafe'/>");
  EXPECT_EQ(lines(reading.warnings),
            "/domain/devices/disk/driver/@cache='unsafe': the guest's flushes are not obeyed: a "
            "crash of the host loses data");
  EXPECT_EQ(reading.config.disks[0].cache, CacheMode::kUnsafe);
}

TEST(ReadDisks, SeveralQueuesBecomeOneAloud) {
  EXPECT_EQ(lines(read_disk("<driver queues='4'/>").warnings),
            "/domain/devices/disk/driver/@queues='4': presented with one queue");
}

TEST(ReadDisks, SilentDataLossIsRefused) {
  for (const char* inside :
       {"<driver error_policy='ignore'/>",
        "<driver rerror_policy='ignore'/>",
        "<driver cache='wb'/>",
        "<encryption format='luks'/>",
        "<auth username='u'/>",
        "<driver type='vmdk'/>",
        "<driver type='dir'/>",
        "<iotune><group_name>g</group_name></iotune>",
        "<driver iothread='1'/>",
        "<driver queues='0'/>",
        "<driver queues='99999999999999999999'/>",
        "<driver queue_size='100'/>",
        "<driver queue_size='2'/>",
        "<backingStore type='network'/>",
        "<target dev='vdb'/>",
        "<source file='/other'/>",
        "<driver><metadata_cache><max_size unit='KiB'>x</max_size></metadata_cache></driver>",
        "<driver><metadata_cache><max_size>1024</max_size></metadata_cache></driver>",
        "<shareable/><driver type='qcow2'/>",
        "<boot order='-1'/>"})
    EXPECT_FALSE(read_disk(inside).accepted()) << inside;
}

TEST(ReadDisks, WhatIsOnlySpeedOrPlacementIsSilent) {
  const DomainReading reading = read_disk(
      "<driver io='threads' ioeventfd='on' event_idx='on' packed='off'/><alias name='x'/>"
      "<address type='pci'/><wwn>5000c50015ea71ad</wwn><vendor>V</vendor>"
      "<geometry cyls='1' heads='1' secs='1'/><mirror/>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
}

TEST(ReadDisks, DisksAreOrderedByTargetVirtioFirst) {
  const DomainReading reading =
      read_document(domain_document("<disk><source file='/1'/><target dev='hdb'/></disk>"
                                    "<disk><source file='/2'/><target dev='vdaa'/></disk>"
                                    "<disk><source file='/3'/><target dev='vdb'/></disk>"
                                    "<disk><source file='/4'/><target dev='hda'/></disk>"));
  std::string order;
  for (const DiskConfig& disk : reading.config.disks) order += disk.target + " ";
  EXPECT_EQ(order, "vdb vdaa hda hdb ");
  EXPECT_EQ(lines(reading.warnings),
            "/domain/devices/disk[1]/target/@dev='hdb': presented as virtio-blk (guest sees "
            "/dev/vdd)\n"
            "/domain/devices/disk[4]/target/@dev='hda': presented as virtio-blk (guest sees "
            "/dev/vdc)");
}

TEST(ReadDisks, CdromIsAReadOnlyVirtioDisk) {
  const DomainReading reading = read_document(
      domain_document("<disk><source file='/d'/><target dev='vda' bus='virtio'/></disk>"
                      "<disk type='file' device='cdrom'><source file='/seed.iso'/>"
                      "<target dev='sda' bus='sata'/></disk>"));
  EXPECT_EQ(lines(reading.warnings),
            "/domain/devices/disk[2]/target/@bus='sata': presented as virtio-blk, read-only (guest "
            "sees /dev/vdb)");
  ASSERT_EQ(reading.config.disks.size(), 2U);
  EXPECT_TRUE(reading.config.disks[1].read_only);
}

TEST(ReadDisks, EmptyDrivesAreLeftOutSilently) {
  const DomainReading reading = read_document(domain_document(
      "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
      "<disk type='file' device='cdrom'><source file=''/><target dev='sdb' bus='sata'/></disk>"
      "<disk type='file' device='floppy'><target dev='fda' bus='fdc'/></disk>"));
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  EXPECT_TRUE(reading.config.disks.empty());
}

TEST(ReadDisks, FloppyWithMediaIsLeftOutAloud) {
  const DomainReading reading = read_document(domain_document(
      "<disk device='floppy'><source file='/f'/><target dev='fda' bus='fdc'/></disk>"));
  EXPECT_EQ(lines(reading.warnings),
            "/domain/devices/disk/@device='floppy': left out (no floppy drive)");
  EXPECT_TRUE(reading.config.disks.empty());
}

TEST(ReadDisks, DiskWithoutAnImageIsRefused) {
  EXPECT_EQ(lines(read_document(domain_document("<disk><target dev='vda'/></disk>")).refusals),
            "/domain/devices/disk: disk vda: file: no path given");
  EXPECT_EQ(lines(read_document(domain_document("<disk type='block'><source file='/d'/>"
                                                "<target dev='vda'/></disk>"))
                      .refusals),
            "/domain/devices/disk: disk vda: file: no path given");
  EXPECT_EQ(
      lines(read_document(domain_document("<disk><source file='d'/><target dev='vda'/></disk>"))
                .refusals),
      "/domain/devices/disk: disk vda: file: 'd' is not an absolute path");
  EXPECT_EQ(lines(read_document(domain_document("<disk><source file='/d'/></disk>")).refusals),
            "/domain/devices/disk: has no <target dev=…>");
}

TEST(ReadDisks, BlockDeviceIsTakenFromDev) {
  const DomainReading reading = read_document(domain_document(
      "<disk type='block'><source dev='/dev/x'/><target dev='vda' bus='virtio'/></disk>"));
  EXPECT_EQ(reading.config.disks[0].file, "/dev/x");
}

TEST(ReadDisks, IgnoredKindsAreLeftOut) {
  const DomainReading reading = read_document(
      domain_document(
          "<disk type='network'><source protocol='rbd' name='x'><host name='h'/></source>"
          "<target dev='vda' bus='virtio'/></disk>"),
      {.strict = false, .ignore = {"disk"}});
  EXPECT_TRUE(reading.accepted()) << lines(reading.refusals);
  EXPECT_TRUE(reading.config.disks.empty());
}

std::string nbd_file(std::string_view source) {
  const DomainReading reading = read_document(domain_document(
      fmt::format("<disk type='network'>{}<target dev='vda' bus='virtio'/></disk>", source)));
  return reading.accepted() ? reading.config.disks.at(0).file : "refused";
}

TEST(ReadDisks, NetworkDisksOfNbdServersAreUrls) {
  EXPECT_EQ(
      nbd_file("<source protocol='nbd' name='a b'><host name='10.0.0.1' port='99'/></source>"),
      "nbd://10.0.0.1:99/a%20b");
  EXPECT_EQ(nbd_file("<source protocol='nbd'><host name='::1'/></source>"), "nbd://[::1]/");
  EXPECT_EQ(nbd_file("<source protocol='nbd' name='x' tls='no' startupPolicy='optional'>"
                     "<host transport='unix' socket='/run/a?b'/></source>"),
            "nbd+unix:///x?socket=/run/a%3Fb");
}

TEST(ReadDisks, OtherNetworkDisksAreRefused) {
  for (const char* source :
       {"<source protocol='rbd' name='x'><host name='h'/></source>", "<source name='x'/>", "",
        "<source protocol='nbd' name='x'/>",
        "<source protocol='nbd' tls='yes'><host name='127.0.0.1'/></source>",
        "<source protocol='nbd'><host transport='rdma' name='127.0.0.1'/></source>",
        "<source protocol='nbd'><host name='127.0.0.1' port='0'/></source>",
        "<driver type='qcow2'/><source protocol='nbd'><host name='127.0.0.1'/></source>"})
    EXPECT_EQ(nbd_file(source), "refused") << source;
}

TEST(ReadDisks, BackingStoreMayBeAnNbdServer) {
  const DomainReading reading = read_disk(
      "<driver type='qcow2'/><backingStore type='network'><format type='raw'/>"
      "<source protocol='nbd' name='base'><host transport='unix' socket='/s'/></source>"
      "<backingStore/></backingStore>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  EXPECT_EQ(reading.config.disks[0].backing->at(0).file, "nbd+unix:///base?socket=/s");
  EXPECT_FALSE(read_disk("<driver type='qcow2'/><backingStore type='network'><format type='raw'/>"
                         "<source protocol='iscsi' name='base'><host name='h'/></source>"
                         "<backingStore/></backingStore>")
                   .accepted());
}

TEST(ReadDisks, BackingStoreGivesTheExactChain) {
  const DomainReading reading = read_disk(
      "<driver type='qcow2'/><backingStore type='file'><format type='qcow2'/>"
      "<source file='/b1'/><backingStore type='block'><format type='raw'/><source dev='/dev/b2'/>"
      "<backingStore/></backingStore></backingStore>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  const auto& backing = *reading.config.disks[0].backing;
  ASSERT_EQ(backing.size(), 2U);
  EXPECT_EQ(backing[0].file, "/b1");
  EXPECT_EQ(backing[0].format, DiskFormat::kQcow2);
  EXPECT_EQ(backing[1].file, "/dev/b2");
  EXPECT_EQ(backing[1].format, DiskFormat::kRaw);
}

TEST(ReadDisks, EmptyBackingStoreEndsTheChain) {
  const DomainReading reading = read_disk("<driver type='qcow2'/><backingStore/>");
  ASSERT_TRUE(reading.config.disks[0].backing.has_value());
  EXPECT_TRUE(reading.config.disks[0].backing->empty());
}

TEST(ReadDisks, OpenOrGuessedChainIsRefused) {
  EXPECT_EQ(lines(read_disk("<driver type='qcow2'/><backingStore type='file'>"
                            "<format type='qcow2'/><source file='/b'/></backingStore>")
                      .refusals),
            "/domain/devices/disk/backingStore: has no <backingStore/> that ends the chain");
  EXPECT_EQ(lines(read_disk("<driver type='qcow2'/><backingStore type='file'>"
                            "<source file='/b'/><backingStore/></backingStore>")
                      .refusals),
            "/domain/devices/disk/backingStore: has no <format type=…>: the format is never "
            "guessed");
}

TEST(ReadDisks, OptionalDiskIsDroppedOnlyIfItsImageIsAbsent) {
  const hull::testing::TemporaryDirectory directory;
  const auto read = [](const std::string& file) {
    return read_document(domain_document("<disk><source file='" + file +
                                         "' startupPolicy='optional'/>"
                                         "<target dev='vda' bus='virtio'/></disk>"));
  };
  const DomainReading absent = read(directory / "none");
  EXPECT_TRUE(absent.config.disks.empty());
  EXPECT_EQ(absent.warnings.size(), 1U);
  EXPECT_EQ(read(directory.path()).config.disks.size(), 1U);
}

TEST(ReadDisks, KnownIothreadIsAccepted) {
  const std::string disk =
      "<disk><driver iothread='2'/><source file='/d'/><target dev='vda' bus='virtio'/></disk>";
  EXPECT_EQ(lines(read_document(domain_document(disk, "<iothreads>2</iothreads>")).refusals), "");
  EXPECT_EQ(lines(read_document(domain_document(disk, "<iothreads>1</iothreads>")).refusals),
            "/domain/devices/disk/driver/@iothread: there is no I/O thread 2");
  const auto refusals = [](int id, const std::string& threads) {
    const std::string thread = fmt::format(
        "<disk><driver iothread='{}'/><source file='/d'/><target dev='vda' bus='virtio'/></disk>",
        id);
    const auto reading = read_document(domain_document(thread, threads));
    EXPECT_EQ(reading.config.disks.at(0).iothread, static_cast<unsigned>(id));
    return lines(reading.refusals);
  };
  // Those that are named, and the lowest numbers that are left.
  const std::string ids = "<iothreadids><iothread id='2'/><iothread id='5'/></iothreadids>";
  for (const int there : {2, 5}) EXPECT_EQ(refusals(there, ids), "");
  for (const int missing : {1, 3, 4, 6}) EXPECT_NE(refusals(missing, ids), "") << missing;
  for (const int there : {1, 2, 3, 5})
    EXPECT_EQ(refusals(there, "<iothreads>4</iothreads>" + ids), "");
  for (const int missing : {4, 6})
    EXPECT_NE(refusals(missing, "<iothreads>4</iothreads>" + ids), "");
}

}  // namespace
}  // namespace hull::config
