// What each kind of virtio device has to do in a machine, told by the table of kinds: a new kind is
// a sample here.
#include "vmm/virtio_kinds.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "base/limits.h"
#include "config/validate.h"
#include "tests/support/small_domain.h"
#include "tests/support/temporary_directory.h"

namespace hull::vmm {
namespace {

using hull::testing::ObservedDomain;
using hull::testing::run_loop_until;
using hull::testing::small_domain;

void add_disk(config::DomainConfig& domain, const std::filesystem::path& directory) {
  config::DiskConfig disk;
  disk.target = "vda";
  disk.file = directory / "vda";
  std::ofstream(disk.file) << std::string(65536, '\0');
  domain.disks.push_back(disk);
}

void add_network(config::DomainConfig& domain, const std::filesystem::path& /*directory*/) {
  config::NetworkConfig network;
  network.kind = config::NetworkKind::kNull;
  network.mac = {0x52, 0x54, 0, 0, 0, 1};
  domain.networks.push_back(network);
}

void add_entropy(config::DomainConfig& domain, const std::filesystem::path& /*directory*/) {
  domain.rng = config::RngConfig{};
}

struct Sample {
  std::string_view kind;
  void (*add)(config::DomainConfig& domain, const std::filesystem::path& directory);
  std::string_view program;  // of the guest's, that uses the device
};
constexpr Sample kSamples[] = {
    {"disk", add_disk, "blk.info"},
    {"network", add_network, "net.info"},
    {"entropy", add_entropy, "rng,bytes=4096"},
};

class VirtioKinds : public ::testing::TestWithParam<VirtioKind> {
 protected:
  const Sample& sample() const {
    for (const Sample& sample : kSamples)
      if (sample.kind == GetParam().name) return sample;
    ADD_FAILURE() << "no sample of " << GetParam().name;
    return kSamples[0];
  }
  // One device of the kind, and none besides.
  config::DomainConfig domain(const std::string& cmdline) const {
    auto config = small_domain(cmdline);
    config.rng.reset();
    sample().add(config, directory_.path());
    config.console->kind = config::ConsoleKind::kFile;
    config.console->path = directory_ / "console";
    config.console->append = true;
    return config;
  }
  size_t times_in_console(std::string_view text) const {
    std::ifstream file(directory_ / "console");
    const std::string all{std::istreambuf_iterator<char>(file), {}};
    size_t times = 0;
    for (size_t at = all.find(text); at != std::string::npos; at = all.find(text, at + 1)) ++times;
    return times;
  }

  EventLoop loop_ = std::move(*EventLoop::create());
  const hull::testing::TemporaryDirectory directory_;
};

TEST_P(VirtioKinds, IsWhatTheConfigurationSays) {
  auto config = domain("");
  for (const VirtioKind& kind : virtio_kinds())
    EXPECT_EQ(kind.count(config), kind.name == GetParam().name ? 1U : 0U) << kind.name;
  // The limit on devices counts it.
  config.networks.clear();
  config.rng.reset();
  config.disks.clear();
  while (config.disks.size() < kMaxVirtioDevices) {
    add_disk(config, directory_.path());
    config.disks.back().target = fmt::format("vd{:c}", 'a' + config.disks.size() - 1);
    config.disks.back().read_only = true;
  }
  EXPECT_TRUE(config::validate(config).empty()) << config::validate(config)[0].message;
  sample().add(config, directory_.path());
  EXPECT_FALSE(config::validate(config).empty());
}

TEST_P(VirtioKinds, GuestFindsAndUsesItAlsoAfterAReset) {
  ObservedDomain machine(loop_, domain(fmt::format("hull.do={} hull.end=hang", sample().program)));
  ASSERT_TRUE(machine->start());
  ASSERT_TRUE(run_loop_until(loop_, [&] { return times_in_console("failed=0") == 1; }));
  machine->reset();
  EXPECT_TRUE(run_loop_until(loop_, [&] { return times_in_console("failed=0") == 2; }));
  machine->end({});
  EXPECT_TRUE(machine.reaches(DomainState::kEnded));
  EXPECT_TRUE(machine->close());
}

TEST_P(VirtioKinds, IsSavedAndTakenUp) {
  const auto config = domain(fmt::format("hull.do={0};smp,ms=500;{0}", sample().program));
  const std::string line =
      fmt::format("{} ", sample().program.substr(0, sample().program.find(',')));
  std::vector<uint8_t> saved;
  {
    ObservedDomain machine(loop_, config);
    ASSERT_TRUE(machine->start());
    ASSERT_TRUE(run_loop_until(loop_, [&] { return times_in_console(line) != 0; }));
    ASSERT_TRUE(machine->pause());
    ASSERT_TRUE(machine.reaches(DomainState::kPaused));
    saved = machine->save().value();
    machine->end({});
    ASSERT_TRUE(machine.reaches(DomainState::kEnded));
    ASSERT_TRUE(machine->close());
  }
  ObservedDomain machine(loop_, config);
  ASSERT_TRUE(machine->restore(saved));
  ASSERT_TRUE(machine->resume());
  EXPECT_TRUE(machine.reaches(DomainState::kEnded));
  EXPECT_EQ(machine->reason().kind, EndKind::kPowerOff) << machine->reason().detail;
  EXPECT_EQ(times_in_console("failed=0"), 1U);
  EXPECT_TRUE(machine->close());
}

INSTANTIATE_TEST_SUITE_P(All, VirtioKinds, ::testing::ValuesIn(virtio_kinds()),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace hull::vmm
