#include "config/validate.h"

#include <gtest/gtest.h>

namespace hull::config {
namespace {

DomainConfig valid_config() {
  DomainConfig config;
  config.name = "a";
  config.memory_bytes = 256ULL << 20;
  config.boot.kernel = "/k";
  config.disks.push_back({.target = "vda", .file = "/d", .backing = {}, .serial = {}});
  return config;
}

// The only message, or all of them joined.
std::string problems_of(const DomainConfig& config) {
  std::string joined;
  for (const Problem& problem : validate(config))
    joined += (joined.empty() ? "" : "\n") + problem.message;
  return joined;
}

TEST(Validate, MinimalConfigHasNoProblem) { EXPECT_EQ(problems_of(valid_config()), ""); }

TEST(Validate, AllProblemsAreReportedAtOnce) {
  DomainConfig config = valid_config();
  config.name = "../x";
  config.memory_bytes = 0;
  config.vcpus = 0;
  config.boot.kernel = "k";

  EXPECT_EQ(validate(config).size(), 4U);
}

TEST(CheckDomainName, HostileNamesAreRefused) {
  const std::string long_name(kMaxNameBytes + 1, 'a');
  for (const std::string_view name :
       {std::string_view(""), std::string_view("."), std::string_view(".."),
        std::string_view("../x"), std::string_view("a/b"), std::string_view("-a"),
        std::string_view("a\nb"), std::string_view("a\0b", 3), std::string_view("\xff"),
        std::string_view("\xc0\xaf"), std::string_view("\xed\xa0\x80"),
        std::string_view("a\xe2\x82"), std::string_view(long_name)})
    EXPECT_FALSE(check_domain_name(name)) << name;
}

TEST(CheckDomainName, OrdinaryNamesAreAccepted) {
  const std::string longest(kMaxNameBytes, 'a');
  for (const std::string& name : {std::string("web1"), std::string("42"), std::string("a b"),
                                  std::string("...x"), std::string("gr\xc3\xbcn"), longest})
    EXPECT_TRUE(check_domain_name(name)) << name;
}

TEST(Validate, MemoryBoundsAreChecked) {
  DomainConfig config = valid_config();
  config.memory_bytes = 4096;
  EXPECT_NE(problems_of(config).find("minimum"), std::string::npos);
  config.memory_bytes = kMaxMemoryBytes + 4096;
  EXPECT_NE(problems_of(config).find("maximum"), std::string::npos);
  config.memory_bytes = kMinMemoryBytes + 1;
  EXPECT_NE(problems_of(config).find("multiple"), std::string::npos);
}

TEST(Validate, MoreOnlineThanMaximumVcpusIsRefused) {
  DomainConfig config = valid_config();
  config.vcpus_online = 2;
  EXPECT_EQ(problems_of(config), "vcpu: 2 online of 1 at most");
}

TEST(Validate, DuplicateTargetIsRefused) {
  DomainConfig config = valid_config();
  config.disks.push_back({.target = "vda", .file = "/e", .backing = {}, .serial = {}});
  EXPECT_EQ(problems_of(config), "disk vda: target is used twice");
}

TEST(Validate, SameFileWritableTwiceIsRefused) {
  DomainConfig config = valid_config();
  config.disks.push_back(
      {.target = "vdb", .file = "//./d", .backing = {}, .read_only = true, .serial = {}});
  EXPECT_NE(problems_of(config).find("disks vda and vdb"), std::string::npos);
  config.disks[0].read_only = true;
  EXPECT_EQ(problems_of(config), "");
}

TEST(Validate, PartitionTargetIsRefused) {
  DomainConfig config = valid_config();
  config.disks[0].target = "vda1";
  EXPECT_NE(problems_of(config).find("whole disk"), std::string::npos);
  config.disks[0].target = "../x";
  EXPECT_NE(problems_of(config).find("not a name such as vda"), std::string::npos);
}

TEST(ParseTargetName, LettersCountInBase26) {
  EXPECT_EQ(parse_target_name("vda")->index, 0U);
  EXPECT_EQ(parse_target_name("sdz")->index, 25U);
  EXPECT_EQ(parse_target_name("xvdaa")->index, 26U);
  EXPECT_EQ(parse_target_name("hdab")->prefix, "hd");
  EXPECT_FALSE(parse_target_name("vd"));
  EXPECT_FALSE(parse_target_name("vdzzzzzzzzzzzzzz"));
}

TEST(Validate, ShareableQcow2IsRefused) {
  DomainConfig config = valid_config();
  config.disks[0].shareable = true;
  EXPECT_EQ(problems_of(config), "");
  config.disks[0].format = DiskFormat::kQcow2;
  EXPECT_NE(problems_of(config).find("shareable needs the raw format"), std::string::npos);
}

TEST(Validate, BackingChainRulesAreChecked) {
  DomainConfig config = valid_config();
  config.disks[0].format = DiskFormat::kQcow2;
  config.disks[0].backing = std::vector<BackingLevel>{{.file = "/b"}, {.file = "/c"}};
  EXPECT_NE(problems_of(config).find("in the middle"), std::string::npos);
  (*config.disks[0].backing)[0].format = DiskFormat::kQcow2;
  EXPECT_EQ(problems_of(config), "");
  (*config.disks[0].backing)[1].file = "c";
  EXPECT_NE(problems_of(config).find("absolute"), std::string::npos);
}

TEST(Validate, DiskNumbersAreChecked) {
  DomainConfig config = valid_config();
  config.disks[0].serial = "123456789012345678901";
  config.disks[0].queue_size = 100;
  config.disks[0].logical_block_size = 520;
  config.disks[0].physical_block_size = 256;
  config.disks[0].metadata_cache_bytes = 1024;
  EXPECT_EQ(validate(config).size(), 4U) << "the physical size hangs on the logical one";
  config.disks[0].logical_block_size = 512;
  EXPECT_EQ(validate(config).size(), 4U);
  config.disks[0].physical_block_size = 4096;
  EXPECT_EQ(validate(config).size(), 3U);
}

TEST(Validate, QueueSizesAreThoseOfTheDevice) {
  DomainConfig config = valid_config();
  for (const unsigned size : {2U, 3U, kMaxQueueSize * 2}) {
    config.disks[0].queue_size = size;
    EXPECT_EQ(problems_of(config), fmt::format("disk vda: queue size {} is not a power of two in 4 "
                                               "to 1024",
                                               size));
  }
  for (const unsigned size : {kMinQueueSize, kMaxQueueSize}) {
    config.disks[0].queue_size = size;
    EXPECT_EQ(problems_of(config), "");
  }
}

TEST(Validate, DevicesTogetherHaveALimit) {
  DomainConfig config = valid_config();
  config.networks.resize(kMaxVirtioDevices - 2);
  config.rng.emplace();
  EXPECT_EQ(problems_of(config), "");
  config.networks.emplace_back();
  EXPECT_EQ(problems_of(config), "17 disks, interfaces and random number devices are more than 16");
}

TEST(Validate, OneSlipIsNotSaidForEachPair) {
  DomainConfig config = valid_config();
  while (config.disks.size() < kMaxVirtioDevices) {
    config.disks.push_back(config.disks[0]);
    config.disks.back().target =
        "vd" + std::string(1, static_cast<char>('a' + config.disks.size()));
  }
  const auto problems = validate(config);
  EXPECT_EQ(problems.size(), kMaxVirtioDevices - 1);
  EXPECT_EQ(problems.back().subject, Subject::kDisk);
  EXPECT_EQ(problems.back().index, kMaxVirtioDevices - 1);
}

TEST(Validate, InterfaceRulesAreChecked) {
  DomainConfig config = valid_config();
  config.networks.resize(2);
  config.networks[0].mac = {2, 0, 0, 0, 0, 1};
  config.networks[1].mac = {2, 0, 0, 0, 0, 1};
  config.networks[1].managed = false;
  EXPECT_EQ(problems_of(config), "interface 2: an existing tap (managed='no') must be named");
  config.networks[1].ifname = "a/../../b";
  config.networks[1].mac = {1, 0, 0, 0, 0, 1};
  EXPECT_EQ(
      problems_of(config),
      "interface 2: MAC address 01:00:00:00:00:01 is multicast\n"
      "interface 2: 'a/../../b' is not an interface name (at most 15 bytes, no '/' or blank)");
}

TEST(Validate, ConsolePathsAreChecked) {
  DomainConfig config = valid_config();
  config.console = ConsoleConfig{.kind = ConsoleKind::kUnix, .path = "", .log_file = "x"};
  EXPECT_EQ(problems_of(config),
            "console: no path given\nconsole log: 'x' is not an absolute path");
  config.console = ConsoleConfig{
      .kind = ConsoleKind::kUnix, .path = "/" + std::string(107, 'a'), .log_file = ""};
  EXPECT_EQ(problems_of(config), "console: socket path is longer than 107 bytes");
}

TEST(Validate, RestartOnPoweroffWithDestroyOnRebootIsRefused) {
  DomainConfig config = valid_config();
  config.on_poweroff = LifecycleAction::kRestart;
  EXPECT_EQ(problems_of(config), "");
  config.on_reboot = LifecycleAction::kDestroy;
  EXPECT_NE(problems_of(config).find("contradictory"), std::string::npos);
}

}  // namespace
}  // namespace hull::config
