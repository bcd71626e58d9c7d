#include "config/domain_reader.h"

#include <gtest/gtest.h>

#include "config/validate.h"
#include "config/values.h"
#include "tests/support/domain_document.h"

namespace hull::config {
namespace {

using hull::testing::domain_document;
using hull::testing::lines;
using hull::testing::read_document;

TEST(ReadDomain, MinimalDocumentIsAcceptedWithoutAWarning) {
  const DomainReading reading = read_document(
      "<domain type='kvm'><name>a</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>"
      "<os><type>hvm</type><kernel>/k</kernel>"
      "<cmdline>console=ttyS0 root=/dev/vda</cmdline></os>"
      "<devices><disk type='file'><driver type='qcow2'/><source file='/d.qcow2'/>"
      "<target dev='vda' bus='virtio'/></disk>"
      "<interface type='ethernet'><model type='virtio'/></interface>"
      "<console type='pty'/></devices></domain>");

  EXPECT_EQ(lines(reading.warnings), "");
  EXPECT_EQ(lines(reading.refusals), "");
  EXPECT_EQ(reading.config.name, "a");
  EXPECT_EQ(reading.config.memory_bytes, 256ULL << 20);
  EXPECT_EQ(reading.config.vcpus, 1U);
  EXPECT_EQ(reading.config.boot.kernel, "/k");
  EXPECT_EQ(reading.config.boot.cmdline, "console=ttyS0 root=/dev/vda");
  ASSERT_EQ(reading.config.disks.size(), 1U);
  EXPECT_EQ(reading.config.disks[0].format, DiskFormat::kQcow2);
  EXPECT_EQ(reading.config.disks[0].file, "/d.qcow2");
  EXPECT_FALSE(reading.config.disks[0].backing.has_value());
  ASSERT_EQ(reading.config.networks.size(), 1U);
  EXPECT_EQ(reading.config.networks[0].kind, NetworkKind::kTap);
  EXPECT_NE(reading.config.networks[0].mac, MacAddress{});
  EXPECT_EQ(reading.config.console->kind, ConsoleKind::kPty);
  EXPECT_EQ(reading.config.uuid.size(), 36U);
}

TEST(ReadDomain, OtherRootIsRefused) {
  const auto reading = read_domain("<network/>", "n.xml", {});
  ASSERT_FALSE(reading);
  EXPECT_EQ(reading.error().message(), "n.xml:1:1: <network> is not a <domain>");
  EXPECT_EQ(reading.error().kind(), ErrorKind::kInvalidConfig);
}

TEST(ReadDomain, AllRefusalsAreCollectedInTheOrderOfTheDocument) {
  const DomainReading reading = read_document(domain_document(
      "<tpm model='tpm-crb'/>\n<hostdev/>\n<disk device='lun'><source file='/x'/></disk>"));
  EXPECT_EQ(lines(reading.refusals),
            "/domain/devices/tpm: refused: guest may depend on it to unlock disks "
            "(skip with --ignore=tpm)\n"
            "/domain/devices/hostdev: refused: host devices cannot be passed through "
            "(skip with --ignore=hostdev)\n"
            "/domain/devices/disk/@device='lun': refused: this kind of disk is not supported; "
            "skipping leaves it out (skip with --ignore=disk/@device)");
  EXPECT_FALSE(reading.accepted());
  EXPECT_EQ(reading.refusal("d.xml").kind(), ErrorKind::kInvalidConfig);
  EXPECT_NE(reading.refusal("d.xml").message().find("\nd.xml:2:1: /domain/devices/hostdev: "),
            std::string::npos);
}

TEST(ReadDomain, IgnoreTurnsARefusalIntoAWarning) {
  for (const char* named : {"tpm", "/domain/devices/tpm", "devices/tpm"}) {
    const DomainReading reading = read_document(domain_document("<tpm/>"), {.ignore = {named}});
    EXPECT_TRUE(reading.accepted()) << named;
    EXPECT_EQ(lines(reading.warnings),
              "/domain/devices/tpm: ignored as --ignore says: guest may depend on it to unlock "
              "disks");
  }
}

TEST(ReadDomain, IgnoreWithIndexMeansOneElement) {
  const std::string document = domain_document(
      "<disk device='lun'><source file='/x'/></disk><disk device='lun'><source file='/y'/></disk>");
  const auto refusals = [&](std::string named) {
    return read_document(document, {.ignore = {std::move(named)}}).refusals.size();
  };
  EXPECT_EQ(refusals("/domain/devices/disk[2]"), 1U);
  EXPECT_EQ(refusals("disk[1]/@device"), 1U);
  EXPECT_EQ(refusals("disk/@device"), 0U);
  EXPECT_EQ(refusals("disk[3]"), 2U);
  EXPECT_EQ(refusals("disk[x]"), 2U);
  EXPECT_EQ(refusals("/domain/devices/disk/@device"), 0U);
  EXPECT_EQ(refusals("isk/@device"), 2U);
  EXPECT_EQ(refusals("/domain/dev"), 2U);
}

TEST(ReadDomain, TheOnlyOneIsTheFirst) {
  for (const char* named : {"tpm[1]", "/domain[1]/devices/tpm[1]"})
    EXPECT_TRUE(read_document(domain_document("<tpm/>"), {.ignore = {named}}).accepted()) << named;
}

TEST(ReadDomain, IgnoringEverythingIsNotPossible) {
  for (const char* named : {"/domain", "/domain/devices", "devices", "/", ""})
    EXPECT_FALSE(read_document(domain_document("<tpm/>"), {.ignore = {named}}).accepted()) << named;
}

TEST(ReadDomain, UselessIgnoreIsMentioned) {
  const DomainReading reading = read_document(domain_document(""), {.ignore = {"tmp"}});
  EXPECT_EQ(lines(reading.warnings), "--ignore=tmp: nothing by that name is refused");
}

TEST(ReadDomain, FinalRefusalCannotBeIgnored) {
  const DomainReading reading = read_document(
      domain_document("<disk><driver type='vmdk'/><source file='/x'/><target dev='vda'/></disk>"),
      {.ignore = {"disk"}});
  EXPECT_EQ(lines(reading.refusals),
            "/domain/devices/disk/driver/@type='vmdk': refused: image format is not supported");
}

TEST(ReadDomain, StrictRefusesWhatWouldBeAWarning) {
  const DomainReading reading =
      read_document(domain_document("<graphics type='vnc' passwd='secret'/>"), {.strict = true});
  EXPECT_EQ(lines(reading.refusals),
            "/domain/devices/graphics: refused by --strict: graphics, video and input devices are "
            "left out (headless: use the serial console) (skip with --ignore=graphics)");
  EXPECT_EQ(lines(reading.warnings), "");
}

TEST(ReadDomain, StrictLeavesWhatIsIgnoredByName) {
  const std::string document = domain_document("<graphics type='vnc'/><video/><sound/>\n<dsik/>");
  EXPECT_EQ(
      lines(read_document(document, {.strict = true, .ignore = {"graphics", "dsik"}}).refusals),
      "/domain/devices/video: refused by --strict: graphics, video and input devices are left "
      "out (headless: use the serial console) (skip with --ignore=video)");
  const DomainReading reading =
      read_document(document, {.strict = true, .ignore = {"graphics", "video", "dsik"}});
  EXPECT_TRUE(reading.accepted()) << lines(reading.refusals);
  EXPECT_EQ(reading.warnings.size(), 3U) << lines(reading.warnings);
  EXPECT_NE(lines(read_document(document, {.strict = true, .ignore = {"grafics"}}).refusals)
                .find("refused by --strict: --ignore=grafics: nothing by that name is refused"),
            std::string::npos);
}

TEST(ReadDomain, RemediesOfRefusalsWork) {
  const std::string document = domain_document(
      "<tpm/><disk device='lun'><source file='/x'/><target dev='vda'/>"
      "<readonly xmlns='http://x/y'/></disk><filesystem/><graphics type='vnc'/><dsik/>",
      "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'/>");
  ReadOptions options{.strict = true};
  const DomainReading first = read_document(document, options);
  ASSERT_EQ(first.refusals.size(), 7U) << lines(first.refusals);
  constexpr std::string_view kRemedy = "skip with --ignore=";
  for (const Finding& refusal : first.refusals) {
    ASSERT_TRUE(refusal.remedy.starts_with(kRemedy)) << refusal.text();
    options.ignore.push_back(refusal.remedy.substr(kRemedy.size()));
  }
  const DomainReading second = read_document(document, options);
  EXPECT_TRUE(second.accepted()) << lines(second.refusals);
  EXPECT_EQ(second.warnings.size(), first.refusals.size());
}

TEST(ReadDomain, HeadlessIsSaidOnce) {
  const DomainReading reading = read_document(
      domain_document("<input type='mouse'/><graphics type='spice'/><video/><video/>"));
  EXPECT_EQ(reading.warnings.size(), 1U);
}

TEST(ReadDomain, UnknownElementAndAttributeAreNeverSilent) {
  const DomainReading reading = read_document(
      domain_document("<gadget/>\n<rng modle='x'><backend model='random'/></rng>", "\n<bogus/>"));
  EXPECT_EQ(lines(reading.warnings),
            "/domain/bogus: unknown element, ignored\n"
            "/domain/devices/gadget: unknown element, ignored\n"
            "/domain/devices/rng/@modle: unknown attribute, ignored");
  EXPECT_TRUE(reading.accepted());
}

TEST(ReadDomain, UnknownChildOfADiskIsRefused) {
  const DomainReading reading = read_document(domain_document(
      "<disk><source file='/x'/><target dev='vda' bus='virtio'/><readonlly/></disk>"));
  EXPECT_EQ(lines(reading.refusals),
            "/domain/devices/disk/readonlly: refused: unknown element: a slip of the pen here may "
            "cost data or isolation (skip with --ignore=disk/readonlly)");
}

TEST(ReadDomain, SlipThatWouldLoseADiskIsRefused) {
  for (const char* name : {"disc", "dsik", "dis", "diskk"}) {
    const DomainReading reading =
        read_document(domain_document(fmt::format("<{} type='file'/>", name)));
    EXPECT_EQ(lines(reading.refusals),
              fmt::format("/domain/devices/{0}: refused: unknown element, is <disk> meant?: a slip "
                          "of the pen here may cost data or isolation (skip with --ignore={0})",
                          name));
  }
  EXPECT_TRUE(read_document(domain_document("<interfce/>")).refusals.size() == 1);
  EXPECT_TRUE(read_document(domain_document("<dock/>")).accepted());
}

TEST(ReadDomain, QemuCommandlineIsFoundByItsNamespace) {
  const std::string document =
      "<domain type='kvm' xmlns:z='http://libvirt.org/schemas/domain/qemu/1.0'><name>a</name>"
      "<memory>262144</memory><os><type>hvm</type><kernel>/k</kernel></os>"
      "<z:commandline><z:arg value='-secret'/></z:commandline></domain>";
  EXPECT_EQ(lines(read_document(document).refusals),
            "/domain/qemu:commandline: refused: raw QEMU arguments mean nothing to hull "
            "(skip with --ignore=qemu:commandline)");
  EXPECT_TRUE(read_document(document, {.ignore = {"qemu:commandline"}}).accepted());
}

TEST(ReadDomain, ForeignNamespaceIsNotMistakenForOurs) {
  const DomainReading reading = read_document(domain_document("", "<o:tpm xmlns:o='urn:o'/>"));
  EXPECT_EQ(lines(reading.warnings), "/domain/o:tpm: unknown element, ignored");
}

TEST(ReadDomain, MetadataMayHoldAnything) {
  const DomainReading reading = read_document(
      domain_document("", "<metadata><x:y xmlns:x='urn:x'><z a='b'/></x:y></metadata>"));
  EXPECT_EQ(lines(reading.warnings), "");
}

TEST(ReadDomain, RepeatedElementIsRefused) {
  const DomainReading reading = read_document(domain_document("", "<memory>1</memory>"));
  EXPECT_EQ(lines(reading.refusals), "/domain/memory[2]: is given more than once");
}

TEST(ReadDomain, HostileDocumentHasABoundedList) {
  std::string devices;
  for (int i = 0; i < 3000; ++i) devices += "<unknown/>";
  const DomainReading reading = read_document(domain_document(devices));
  EXPECT_EQ(reading.warnings.size(), Findings::kMaxFindings);
  EXPECT_EQ(lines(reading.refusals),
            "and 2000 more warnings: hull starts nothing that it cannot explain in 1000 lines");
}

TEST(ReadDomain, ManyFindingsHideNone) {
  std::string devices;
  for (int i = 0; i < 250; ++i) devices += "<unknown/>";
  devices += "<disk><source file='/d'/><target dev='vda'/><iotune/></disk>";
  const DomainReading reading = read_document(domain_document(devices));
  EXPECT_EQ(reading.warnings.size(), 251U);
  EXPECT_NE(lines(reading.warnings).find("I/O limits are not applied"), std::string::npos);
}

TEST(ReadDomain, ControlCharactersOfValuesAreNotEchoed) {
  const DomainReading reading = read_document(
      domain_document("<interface type='ethernet'><model type='e&#10;&#x7f;x'/></interface>"));
  EXPECT_EQ(lines(reading.warnings),
            "/domain/devices/interface/model/@type='e\\x0a\\x7fx': presented as virtio-net");
}

TEST(ReadDomain, ForgedLinesStayInTheirLine) {
  const DomainReading reading =
      read_document(domain_document("<interface type='ethernet'><model type='virtio'/><mac "
                                    "address='x&#10;error: forged&#x202e;'/>"
                                    "</interface>"));
  EXPECT_EQ(lines(reading.refusals).find('\n'), std::string::npos);
  EXPECT_EQ(lines(reading.refusals).find("\xe2\x80\xae"), std::string::npos);
}

TEST(ReadDomain, BadNamesAreRefused) {
  const DomainReading reading = read_document(
      "<domain type='kvm'><name>../../etc/passwd</name><memory>262144</memory>"
      "<os><type>hvm</type><kernel>/k</kernel></os></domain>");
  EXPECT_EQ(lines(reading.refusals), "/domain/name: '../../etc/passwd' cannot contain '/'");
}

TEST(ReadDomain, MissingPartsAreNamed) {
  const DomainReading reading = read_document("<domain/>");
  EXPECT_EQ(lines(reading.refusals),
            "/domain: has no type (type='kvm')\n"
            "/domain: name: a domain needs a name\n"
            "/domain: memory: no size given\n"
            "/domain: kernel: none given (<os><kernel>, or --kernel FILE)");
}

TEST(ReadDomain, ProblemsHaveTheirPlace) {
  const DomainReading reading = read_document(
      domain_document("\n<disk><source file='/d'/><target dev='vdb'/></disk>\n"
                      "<disk><source file='e'/><target dev='vda'/></disk>\n<serial type='file'/>"));
  ASSERT_EQ(reading.refusals.size(), 2U);
  EXPECT_EQ(reading.refusals[0].text_in("d.xml"),
            "d.xml:3:1: /domain/devices/disk[2]: disk vda: file: 'e' is not an absolute path");
  EXPECT_EQ(reading.refusals[1].text_in("d.xml"),
            "d.xml:4:1: /domain/devices/serial: console: no path given");
}

TEST(ReadDomain, BootPartMayBeReplaced) {
  const std::string document =
      "<domain type='kvm'><name>a</name><memory unit='MiB'>256</memory><os><type>hvm</type>"
      "<kernel>\n  /k\n</kernel><initrd>/i</initrd><cmdline>c</cmdline></os></domain>";
  const auto boot = [&](BootOverride wanted) {
    const BootConfig read = read_document(document, {.boot = std::move(wanted)}).config.boot;
    return fmt::format("{} {} {}", read.kernel, read.initrd, read.cmdline);
  };
  EXPECT_EQ(boot({}), "/k /i c");
  EXPECT_EQ(boot({.kernel = "/n", .initrd = {}, .cmdline = {}}), "/n  ");
  EXPECT_EQ(boot({.kernel = "/n", .initrd = "/j", .cmdline = "d"}), "/n /j d");
  EXPECT_EQ(boot({.kernel = {}, .initrd = {}, .cmdline = "d"}), "/k /i d");
}

TEST(ReadDomain, SameNameAndDocumentKeepTheirMacAddresses) {
  const std::string document =
      domain_document("<interface type='ethernet'><model type='virtio'/></interface>");
  EXPECT_EQ(read_document(document).config.networks[0].mac,
            read_document(document).config.networks[0].mac);
}

}  // namespace
}  // namespace hull::config
