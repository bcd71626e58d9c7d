#include <gtest/gtest.h>

#include "config/validate.h"
#include "tests/support/domain_document.h"

namespace hull::config {
namespace {

using hull::testing::domain_document;
using hull::testing::lines;
using hull::testing::read_document;

// A document whose memory is described by `memory`.
DomainReading read_memory(std::string_view memory) {
  return read_document("<domain type='kvm'><name>a</name>" + std::string(memory) +
                       "<os><type>hvm</type><kernel>/k</kernel></os></domain>");
}

DomainReading read_general(std::string_view elements) {
  return read_document(domain_document("", elements));
}

TEST(ReadMemory, DefaultUnitIsKiB) {
  EXPECT_EQ(read_memory("<memory> 219136 </memory>").config.memory_bytes, 219136ULL * 1024);
  EXPECT_EQ(read_memory("<memory unit='G'>1</memory>").config.memory_bytes, 1ULL << 30);
  EXPECT_EQ(read_memory("<memory unit='mib'>4</memory>").config.memory_bytes, 4ULL << 20);
}

TEST(ReadMemory, SizeIsRoundedUp) {
  EXPECT_EQ(read_memory("<memory unit='MB'>100</memory>").config.memory_bytes, 100'003'840U);
  EXPECT_EQ(read_memory("<memory unit='b'>4194305</memory>").config.memory_bytes, 4198400U);
}

TEST(ReadMemory, NonsenseIsRefusedOnce) {
  for (const char* memory :
       {"<memory>-1</memory>", "<memory>1.5</memory>", "<memory>x</memory>", "<memory/>",
        "<memory>99999999999999999999</memory>", "<memory unit='EiB'>16</memory>",
        "<memory unit='bananas'>1</memory>", "<memory>18014398509481983</memory>",
        "<memory>1</memory>", "<memory>0</memory>", ""})
    EXPECT_EQ(read_memory(memory).refusals.size(), 1U) << memory;
}

TEST(ReadMemory, CurrentMemoryIsComparedWithMemory) {
  EXPECT_EQ(
      lines(read_memory("<memory>262144</memory><currentMemory unit='MiB'>256</currentMemory>")
                .warnings),
      "");
  EXPECT_EQ(
      lines(read_memory("<memory>262144</memory><currentMemory>131072</currentMemory>").warnings),
      "/domain/currentMemory: the guest has all of <memory> (no balloon)");
  // libvirt takes all of <memory> then.
  const DomainReading more =
      read_memory("<memory>262144</memory><currentMemory>262145</currentMemory>");
  EXPECT_EQ(lines(more.warnings) + lines(more.refusals), "");
}

TEST(ReadMemory, BackingAndDumpAreHonoured) {
  const DomainReading reading = read_memory(
      "<memory dumpCore='off'>262144</memory><memoryBacking><locked/><nosharepages/>"
      "<hugepages><page size='2' unit='M'/></hugepages></memoryBacking>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  EXPECT_FALSE(reading.config.dump_guest_core);
  EXPECT_TRUE(reading.config.memory_locked);
  EXPECT_TRUE(reading.config.memory_hugepages);
}

TEST(ReadMemory, OtherHugePagesAreRefused) {
  EXPECT_FALSE(read_memory("<memory>262144</memory><memoryBacking><hugepages>"
                           "<page size='1' unit='G'/></hugepages></memoryBacking>")
                   .accepted());
}

TEST(ReadMemory, OneNumaCellStandsForMemory) {
  const DomainReading reading = read_memory(
      "<vcpu>2</vcpu><cpu mode='host-passthrough'><numa>"
      "<cell id='0' cpus='0-1' memory='256' unit='MiB'/></numa></cpu>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  EXPECT_EQ(reading.config.memory_bytes, 256ULL << 20);
  EXPECT_FALSE(read_memory("<cpu><numa><cell memory='131072'/><cell memory='131072'/></numa></cpu>")
                   .accepted());
}

TEST(ReadVcpus, CurrentIsOnlineAndTextIsMaximum) {
  const DomainReading reading = read_general("<vcpu placement='static' current='2'>4</vcpu>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  EXPECT_EQ(reading.config.vcpus, 4U);
  EXPECT_EQ(reading.config.vcpus_online, 2U);
}

TEST(ReadVcpus, NonsenseIsRefused) {
  for (const char* vcpu : {"<vcpu>0</vcpu>", "<vcpu>-1</vcpu>", "<vcpu>99999999999</vcpu>",
                           "<vcpu current='3'>2</vcpu>", "<vcpu>two</vcpu>"})
    EXPECT_EQ(read_general(vcpu).refusals.size(), 1U) << vcpu;
}

TEST(ReadIdentity, UuidIsMadeCanonicalOrRefused) {
  EXPECT_EQ(read_general("<uuid>C7A5FDBDEDAF9455926AD65C16DB1809</uuid>").config.uuid,
            "c7a5fdbd-edaf-9455-926a-d65c16db1809");
  EXPECT_EQ(lines(read_general("<uuid>nope</uuid>").refusals),
            "/domain/uuid: 'nope' is not a UUID");
}

TEST(ReadSysinfo, OtherUuidIsRefused) {
  const std::string sysinfo =
      "<sysinfo type='smbios'><system><entry name='uuid'>c7a5fdbd-edaf-9455-926a-d65c16db1800"
      "</entry></system></sysinfo>";
  EXPECT_EQ(
      lines(read_general("<uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>" + sysinfo).refusals),
      "/domain/sysinfo/system/entry: differs from <uuid>");
}

TEST(ReadSysinfo, IgnitionIsRefusedAndOtherEntriesWarn) {
  EXPECT_FALSE(read_general("<sysinfo type='fwcfg'><entry name='opt/com.coreos/config' "
                            "file='/i.ign'/></sysinfo>")
                   .accepted());
  const DomainReading reading =
      read_general("<sysinfo type='fwcfg'><entry name='opt/x'>v</entry></sysinfo>");
  EXPECT_EQ(lines(reading.warnings), "/domain/sysinfo: ignored (no fw_cfg device)");
}

TEST(ReadOs, BuiltinGuestIsAKernel) {
  const DomainReading reading = read_document(
      "<domain type='kvm'><name>a</name><memory>262144</memory>"
      "<os><type>hvm</type><kernel>hull:guest</kernel></os></domain>");
  EXPECT_TRUE(reading.accepted()) << lines(reading.refusals);
  EXPECT_EQ(reading.config.boot.kind, BootKind::kBuiltinGuest);
}

TEST(ReadOs, SecureBootAndForeignMachinesAreRefused) {
  for (const char* os :
       {"<os firmware='efi'><type>hvm</type><kernel>/k</kernel><firmware>"
        "<feature enabled='yes' name='secure-boot'/></firmware></os>",
        "<os><type>hvm</type><kernel>/k</kernel><loader secure='yes'>/l</loader></os>",
        "<os><type arch='aarch64'>hvm</type><kernel>/k</kernel></os>",
        "<os><type>xen</type><kernel>/k</kernel></os>", "<os><kernel>/k</kernel></os>",
        "<os><type>hvm</type><kernel>k</kernel></os>",
        "<os><type>exe</type><init>/sbin/init</init><kernel>/k</kernel></os>"})
    EXPECT_EQ(read_document("<domain type='kvm'><name>a</name><memory>262144</memory>" +
                            std::string(os) + "</domain>")
                  .accepted(),
              false)
        << os;
}

TEST(ReadOs, SecureBootSwitchedOffIsNotRefused) {
  const DomainReading reading = read_document(
      "<domain type='kvm'><name>a</name><memory>262144</memory><os firmware='efi'>"
      "<type>hvm</type><kernel>/k</kernel><firmware>"
      "<feature enabled='no' name='secure-boot'/></firmware></os></domain>");
  EXPECT_EQ(lines(reading.warnings),
            "/domain/os/@firmware='efi': no UEFI: the kernel of <kernel> is started directly");
  EXPECT_TRUE(reading.accepted());
}

TEST(ReadLifecycle, ActionsAreHonoured) {
  const DomainReading reading = read_general(
      "<on_poweroff>preserve</on_poweroff><on_reboot>destroy</on_reboot>"
      "<on_crash>restart</on_crash>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  EXPECT_EQ(reading.config.on_poweroff, LifecycleAction::kPreserve);
  EXPECT_EQ(reading.config.on_reboot, LifecycleAction::kDestroy);
  EXPECT_EQ(reading.config.on_crash, LifecycleAction::kRestart);
}

TEST(ReadLifecycle, CoreDumpIsLeftOutAloudAndRenameRefused) {
  const DomainReading reading = read_general("<on_crash>coredump-destroy</on_crash>");
  EXPECT_EQ(lines(reading.warnings),
            "/domain/on_crash='coredump-destroy': destroyed without a core dump");
  EXPECT_FALSE(read_general("<on_reboot>rename-restart</on_reboot>").accepted());
}

TEST(ReadClock, OnlyAnotherTimeThanUtcWarns) {
  EXPECT_EQ(
      lines(read_general("<clock offset='utc'><timer name='hpet' present='no'/></clock>").warnings),
      "");
  EXPECT_EQ(lines(read_general("<clock offset='variable' adjustment='0' basis='utc'/>").warnings),
            "");
  EXPECT_EQ(read_general("<clock offset='timezone' timezone='Europe/Paris'/>").warnings.size(), 1U);
  EXPECT_EQ(lines(read_general("<clock><timer name='kvmclock' present='no'/></clock>").warnings),
            "/domain/clock/timer: kvm-clock is offered all the same");
}

TEST(ReadClock, StartIsUtcLocalTimeOrAMoment) {
  using Base = ClockConfig::Base;
  const auto clock = [](const std::string& attributes) {
    const DomainReading reading = read_general("<clock " + attributes + "/>");
    EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
    return std::pair(reading.config.clock.base, reading.config.clock.seconds);
  };
  EXPECT_EQ(clock("offset='utc'"), std::pair(Base::kUtc, int64_t{0}));
  EXPECT_EQ(clock("offset='utc' adjustment='-60'"), std::pair(Base::kUtc, int64_t{-60}));
  EXPECT_EQ(clock("offset='localtime' adjustment='reset'"),
            std::pair(Base::kLocaltime, int64_t{0}));
  EXPECT_EQ(clock("offset='variable' adjustment='3600'"), std::pair(Base::kUtc, int64_t{3600}));
  EXPECT_EQ(clock("offset='variable' basis='localtime' adjustment='5'"),
            std::pair(Base::kLocaltime, int64_t{5}));
  EXPECT_EQ(clock("offset='absolute' start='86400'"), std::pair(Base::kAbsolute, int64_t{86400}));
  for (const char* wrong : {"<clock offset='variable' adjustment='soon'/>",
                            "<clock offset='variable' adjustment='99999999999'/>",
                            "<clock offset='absolute' start='1e3'/>"})
    EXPECT_FALSE(read_general(wrong).accepted()) << wrong;
}

TEST(ReadCpu, CountersAreShownIfAskedFor) {
  EXPECT_FALSE(read_general("").config.pmu);
  EXPECT_FALSE(read_general("<features><pmu state='off'/></features>").config.pmu);
  EXPECT_TRUE(read_general("<features><pmu state='on'/></features>").config.pmu);
  EXPECT_TRUE(read_general("<features><pmu/></features>").config.pmu);
}

TEST(ReadCpu, RequiredFeaturesAreCollected) {
  const DomainReading reading = read_general(
      "<cpu mode='host-model'><feature policy='require' name='avx2'/><feature name='aes'/>"
      "<feature policy='force' name='vmx'/><feature policy='optional' name='warp'/>"
      "<feature policy='disable' name='vmx-ept'/></cpu>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  EXPECT_EQ(reading.config.required_cpu_features, (std::vector<std::string>{"avx2", "aes", "vmx"}));
  EXPECT_EQ(reading.config.disabled_cpu_features, std::vector<std::string>{"vmx-ept"});
}

TEST(ReadCpu, DisabledFeaturesAreCollected) {
  const DomainReading reading = read_general(
      "<cpu mode='host-passthrough'><feature policy='disable' name='svm'/>"
      "<feature policy='optional' name='vmx'/></cpu>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  EXPECT_EQ(reading.config.disabled_cpu_features, std::vector<std::string>{"svm"});
  EXPECT_TRUE(reading.config.required_cpu_features.empty());
}

TEST(ReadCpu, ModelIsReplacedAloudOrRefused) {
  EXPECT_EQ(
      lines(
          read_general("<cpu match='exact'><model fallback='allow'>qemu64</model></cpu>").warnings),
      "/domain/cpu/model: the guest gets the host's CPU instead (not 'qemu64')");
  for (const char* cpu : {"<cpu><model fallback='forbid'>qemu64</model></cpu>",
                          "<cpu mode='custom' check='full'><model>qemu64</model></cpu>",
                          "<cpu match='strict'><model>qemu64</model></cpu>",
                          "<cpu mode='host-model'><feature policy='disable' name='warp'/></cpu>",
                          "<cpu mode='host-model'><feature policy='require' name='warp'/></cpu>",
                          "<cpu mode='host-model'><feature policy='forbid' name='vmx'/></cpu>",
                          "<cpu mode='host-model'><feature policy='disable' name='../x'/></cpu>"})
    EXPECT_FALSE(read_general(cpu).accepted()) << cpu;
}

TEST(ReadCpu, TopologyMustMatchVcpus) {
  EXPECT_EQ(lines(read_general("<vcpu>4</vcpu><cpu mode='maximum'>"
                               "<topology sockets='1' dies='1' cores='4' threads='1'/></cpu>")
                      .warnings),
            "");
  EXPECT_EQ(lines(read_general("<vcpu>4</vcpu><cpu mode='maximum'>"
                               "<topology sockets='2' cores='1' threads='2'/></cpu>")
                      .warnings),
            "/domain/cpu/topology: vCPUs are presented as cores of one socket");
  EXPECT_EQ(lines(read_general("<vcpu>4</vcpu><cpu mode='maximum'>"
                               "<topology sockets='3' cores='1' threads='1'/></cpu>")
                      .refusals),
            "/domain/cpu/topology: describes 3 vCPUs, <vcpu> says 4");
}

TEST(ReadSecurity, StaticLabelIsRefusedAndOthersSaidOnce) {
  EXPECT_EQ(read_general("<seclabel type='dynamic' model='selinux'><label>x</label></seclabel>"
                         "<seclabel type='none' model='dac'/>")
                .warnings.size(),
            1U);
  EXPECT_FALSE(read_general("<seclabel type='static' model='dac'><label>+1:+1</label></seclabel>")
                   .accepted());
  EXPECT_FALSE(read_general("<launchSecurity type='sev'/>").accepted());
  EXPECT_FALSE(read_general("<seclabel type='none'><lable/></seclabel>").accepted());
}

}  // namespace
}  // namespace hull::config
