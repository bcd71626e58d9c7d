#include <gtest/gtest.h>

#include "config/values.h"
#include "tests/support/domain_document.h"

namespace hull::config {
namespace {

using hull::testing::domain_document;
using hull::testing::lines;
using hull::testing::read_document;

DomainReading read_devices(std::string_view devices) {
  return read_document(domain_document(devices));
}

TEST(ReadInterfaces, TapIsHonoured) {
  const DomainReading reading = read_devices(
      "<interface type='ethernet'><mac address='52:54:00:01:02:03'/>"
      "<target dev='tap0' managed='no'/><model type='virtio'/><mtu size='9000'/>"
      "<link state='down'/></interface>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  const NetworkConfig& network = reading.config.networks[0];
  EXPECT_EQ(network.kind, NetworkKind::kTap);
  EXPECT_EQ(format_mac(network.mac), "52:54:00:01:02:03");
  EXPECT_EQ(network.ifname, "tap0");
  EXPECT_FALSE(network.managed);
  EXPECT_EQ(network.mtu, 9000);
  EXPECT_FALSE(network.link_up);
}

TEST(ReadInterfaces, BridgeIsHonouredAndItsGeneratedTapNameDropped) {
  const DomainReading reading = read_devices(
      "<interface type='bridge'><source bridge='br0'/><target dev='vnet3'/>"
      "<model type='virtio'/></interface>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  EXPECT_EQ(reading.config.networks[0].kind, NetworkKind::kBridge);
  EXPECT_EQ(reading.config.networks[0].bridge, "br0");
  EXPECT_EQ(reading.config.networks[0].ifname, "");
  EXPECT_TRUE(reading.config.networks[0].managed);
}

TEST(ReadInterfaces, OtherModelsBecomeVirtioAloud) {
  const DomainReading reading = read_devices(
      "<interface type='ethernet'/>\n<interface type='ethernet'><model type='e1000'/></interface>");
  EXPECT_EQ(lines(reading.warnings),
            "/domain/devices/interface[1]: presented as virtio-net (libvirt's default model is "
            "rtl8139)\n"
            "/domain/devices/interface[2]/model/@type='e1000': presented as virtio-net");
}

TEST(ReadInterfaces, LossOfIsolationIsRefused) {
  for (const char* inside :
       {"<filterref filter='clean-traffic'/>", "<vlan><tag id='42'/></vlan>",
        "<virtualport type='openvswitch'/>", "<port isolated='yes'/>", "<fitlerref/>"})
    EXPECT_FALSE(read_devices("<interface type='ethernet'><model type='virtio'/>" +
                              std::string(inside) + "</interface>")
                     .accepted())
        << inside;
}

TEST(ReadInterfaces, BadAddressesAndNumbersAreRefused) {
  for (const char* inside :
       {"<mac address='01:00:5e:00:00:01'/>", "<mac address='52:54:00'/>", "<mtu size='0'/>",
        "<mtu size='65536'/>", "<link state='sideways'/>", "<target dev='a/b'/>",
        "<target managed='no'/>",
        "<mac address='52:54:00:00:00:01'/><mac address='52:54:00:00:00:02'/>"})
    EXPECT_FALSE(read_devices("<interface type='ethernet'><model type='virtio'/>" +
                              std::string(inside) + "</interface>")
                     .accepted())
        << inside;
}

TEST(ReadInterfaces, KindsThatHullDoesNotHaveAreRefused) {
  for (const char* type : {"network", "direct", "hostdev", "vdpa", "mcast", "x"})
    EXPECT_FALSE(read_devices("<interface type='" + std::string(type) +
                              "'><model type='virtio'/></interface>")
                     .accepted())
        << type;
}

TEST(ReadInterfaces, IgnoredKindIsConnectedToNothing) {
  const DomainReading reading =
      read_document(domain_document("<interface type='network'><source network='default'/>"
                                    "<model type='virtio'/></interface>"),
                    {.strict = false, .ignore = {"interface/@type"}});
  EXPECT_TRUE(reading.accepted());
  EXPECT_EQ(reading.config.networks[0].kind, NetworkKind::kNull);
}

TEST(ReadInterfaces, SeveralQueuesBecomeOneAloud) {
  const DomainReading reading = read_devices(
      "<interface type='ethernet'><model type='virtio'/><driver name='vhost' "
      "queues='4'/></interface>");
  EXPECT_EQ(lines(reading.warnings),
            "/domain/devices/interface/driver: presented with one queue pair");
}

TEST(ReadConsole, SerialAndConsoleAreOneDevice) {
  const DomainReading reading = read_devices(
      "<serial type='file'><source path='/log' append='on'/><target port='0'/></serial>"
      "<console type='file'><source path='/log'/><target type='serial' port='0'/></console>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  EXPECT_EQ(reading.config.console->kind, ConsoleKind::kFile);
  EXPECT_EQ(reading.config.console->path, "/log");
  EXPECT_TRUE(reading.config.console->append);
}

TEST(ReadConsole, ConsoleAloneIsTheSerialPort) {
  const DomainReading reading = read_devices(
      "<console type='unix'><source mode='bind' path='/s'/><log file='/l' "
      "append='off'/></console>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  EXPECT_EQ(reading.config.console->kind, ConsoleKind::kUnix);
  EXPECT_EQ(reading.config.console->path, "/s");
  EXPECT_EQ(reading.config.console->log_file, "/l");
  EXPECT_FALSE(reading.config.console->log_append);
}

TEST(ReadConsole, NoneLeavesTheChoiceOpen) {
  EXPECT_FALSE(read_devices("").config.console.has_value());
}

TEST(ReadConsole, OldPtyPathIsNotUsed) {
  const DomainReading reading =
      read_devices("<console type='pty' tty='/dev/pts/3'><source path='/dev/pts/3'/></console>");
  EXPECT_EQ(reading.config.console->path, "");
}

TEST(ReadConsole, VirtioConsoleIsPresentedAsSerialPort) {
  const DomainReading reading =
      read_devices("<console type='pty'><target type='virtio' port='0'/></console>");
  EXPECT_EQ(lines(reading.warnings),
            "/domain/devices/console: presented as the serial port ttyS0 (no virtio console)");
}

TEST(ReadConsole, SecondPortIsLeftOutAloud) {
  const DomainReading reading = read_devices(
      "<serial type='pty'/><serial type='tcp'><source mode='bind' tls='yes'/></serial>"
      "<console type='pty'/><console type='pty'><target type='virtio'/></console>");
  EXPECT_EQ(lines(reading.warnings),
            "/domain/devices/serial[2]: left out (there is one serial port)\n"
            "/domain/devices/console[2]: left out (there is one serial port)");
  EXPECT_TRUE(reading.accepted());
}

TEST(ReadConsole, WhatCannotBeOfferedIsRefused) {
  for (const char* device :
       {"<serial type='unix'/>", "<serial type='unix'><source mode='connect' path='/s'/></serial>",
        "<serial type='dev'><source path='/dev/ttyS0'/></serial>", "<serial type='pipe'/>",
        "<serial type='tcp'><source mode='bind' host='h' service='1' tls='yes'/></serial>",
        "<serial type='file'><source path='relative'/></serial>",
        "<serial type='pty'><log append='on'/></serial>"})
    EXPECT_FALSE(read_devices(device).accepted()) << device;
}

TEST(ReadChannels, AgentIsMentionedAndSpiceIsNot) {
  const DomainReading reading = read_devices(
      "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\n"
      "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>\n"
      "<channel type='unix'><source mode='bind' path='/c'/><target name='x'/></channel>");
  EXPECT_EQ(lines(reading.warnings),
            "/domain/devices/channel[1]: left out (no guest agent channel: shutdown presses the "
            "power button)\n"
            "/domain/devices/channel[3]: left out (no channels to the guest)");
}

TEST(ReadSmallDevices, RngIsHonoured) {
  const DomainReading reading = read_devices(
      "<rng model='virtio'><backend model='random'>/dev/random</backend>"
      "<rate bytes='1024' period='2000'/></rng>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  EXPECT_EQ(reading.config.rng->rate_bytes, 1024U);
  EXPECT_EQ(reading.config.rng->rate_period_ms, 2000U);
}

TEST(ReadSmallDevices, RngFromADaemonIsReadFromTheKernelAloud) {
  const DomainReading reading =
      read_devices("<rng model='virtio'><backend model='egd' type='udp'/></rng>");
  EXPECT_EQ(reading.warnings.size(), 1U);
}

TEST(ReadSmallDevices, PanicDeviceIsHonoured) {
  EXPECT_TRUE(read_devices("<panic model='isa'/>").config.panic_device);
  EXPECT_FALSE(read_devices("").config.panic_device);
}

TEST(ReadSmallDevices, ModelDecidesOnBalloonAndWatchdog) {
  EXPECT_EQ(lines(read_devices("<memballoon model='none'/><watchdog model='itco'/>").warnings), "");
  EXPECT_EQ(
      read_devices("<memballoon model='virtio'/><watchdog model='i6300esb'/>").warnings.size(), 2U);
}

TEST(ReadSmallDevices, WhatTheGuestMayDependOnIsRefused) {
  for (const char* device : {"tpm", "hostdev", "shmem", "lease", "memory", "filesystem", "vsock"})
    EXPECT_FALSE(read_devices("<" + std::string(device) + "/>").accepted()) << device;
}

}  // namespace
}  // namespace hull::config
