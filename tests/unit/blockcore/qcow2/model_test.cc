// Random traces over many geometries against a flat model, with qemu-img as second opinion.
// HULL_LONG_TESTS=N runs N times as many.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/disk_trace.h"
#include "tests/support/memory_disk.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::DiskTrace;
using testing::MemoryFile;
using testing::ShuffledFile;
using testing::ShuffleQueue;

struct Geometry {
  uint32_t version;
  uint32_t cluster_bits;
  uint32_t refcount_order;
  bool backing;
  uint64_t size_bytes;
  bool extended_l2 = false;
};
void PrintTo(const Geometry& geometry, std::ostream* out) {
  *out << "v" << geometry.version << " cluster_bits=" << geometry.cluster_bits
       << " refcount_order=" << geometry.refcount_order << " backing=" << geometry.backing
       << " size=" << geometry.size_bytes << " extended_l2=" << geometry.extended_l2;
}

unsigned long_factor() {
  const char* const value = std::getenv("HULL_LONG_TESTS");
  return value == nullptr ? 1 : static_cast<unsigned>(std::max(1, std::atoi(value)));
}

// Closes over a queue whose operations complete at once.
template <class T>
T run_queue(ShuffleQueue& queue, Task<T> task) {
  std::optional<T> result;
  start_detached([](Task<T> inner, std::optional<T>& out) -> Task<void> {
    out.emplace(co_await inner);
  }(std::move(task), result));
  while (!queue.empty()) queue.resume(0);
  CHECK(result.has_value());
  return *std::move(result);
}

class Qcow2Model : public ::testing::TestWithParam<Geometry> {
 protected:
  std::unique_ptr<Qcow2Disk> open(Bytes image) {
    auto memory = std::make_unique<MemoryFile>(std::move(image));
    memory_ = memory.get();
    // Small caches, so that slices are evicted and commits happen by themselves.
    auto disk =
        run_queue(queue_, Qcow2Disk::open(std::make_unique<ShuffledFile>(std::move(memory), queue_),
                                          {.l2_cache_bytes = 16384, .refcount_cache_bytes = 8192}));
    CHECK(disk.has_value());
    if (GetParam().backing) {
      auto base = std::make_unique<testing::MemoryDisk>(backing_.size());
      base->bytes = backing_;
      (*disk)->set_backing(std::move(base));
    }
    return *std::move(disk);
  }
  void make_backing(std::mt19937& random) {
    backing_.resize(GetParam().size_bytes * 3 / 4 - 700);
    for (uint8_t& byte : backing_) byte = static_cast<uint8_t>(random());
  }
  void ask_qemu(const Bytes& image, const Bytes& model);

  ShuffleQueue queue_;
  MemoryFile* memory_ = nullptr;
  Bytes backing_;
};

void Qcow2Model::ask_qemu(const Bytes& image, const Bytes& model) {
  if (!testing::have_qemu_img()) return;
  const testing::TemporaryDirectory directory;
  testing::save_file((directory / "image"), image);
  testing::save_file((directory / "base"), backing_);
  testing::save_file((directory / "model"), model);
  const auto check = testing::run_command("qemu-img check -f qcow2 " + (directory / "image"));
  EXPECT_EQ(check.exit_code, 0) << check.output;
  const auto compare = testing::run_command("qemu-img compare -f qcow2 -F raw " +
                                            (directory / "image") + " " + (directory / "model"));
  EXPECT_EQ(compare.exit_code, 0) << compare.output;
}

TEST_P(Qcow2Model, RandomTraceMatchesModel) {
  const Geometry& geometry = GetParam();
  for (unsigned seed = 1; seed <= long_factor(); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Qcow2CreateOptions options{.size_bytes = geometry.size_bytes,
                               .version = geometry.version,
                               .cluster_bits = geometry.cluster_bits,
                               .refcount_order = geometry.refcount_order,
                               .extended_l2 = geometry.extended_l2};
    Bytes model(geometry.size_bytes);
    backing_.clear();
    if (geometry.backing) {
      make_backing(random);
      options.backing_name = "base";
      options.backing_format = "raw";
      std::ranges::copy(backing_, model.begin());
    }
    Bytes image = testing::make_qcow2(options);
    for (unsigned round = 0; round < 4; ++round) {
      SCOPED_TRACE(round);
      const auto disk = open(std::move(image));
      DiskTrace trace(*disk, model, queue_, random);
      ASSERT_EQ(trace.verify(), "");
      ASSERT_EQ(trace.run(60, 1 + round * 4), "");
      ASSERT_EQ(trace.verify(), "");
      ASSERT_TRUE(run_queue(queue_, disk->close()));
      image = memory_->bytes();
    }
    ask_qemu(image, model);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Geometries, Qcow2Model,
    ::testing::Values(Geometry{3, 9, 4, false, 1 << 20}, Geometry{3, 9, 6, true, (1 << 20) + 512},
                      Geometry{3, 9, 0, false, 3 << 20}, Geometry{3, 10, 5, false, 1 << 20},
                      Geometry{3, 12, 1, true, 1 << 20}, Geometry{3, 12, 2, false, (2 << 20) - 512},
                      Geometry{3, 16, 4, false, 4 << 20},
                      Geometry{3, 16, 4, true, (4 << 20) + 512 * 7},
                      Geometry{3, 16, 3, true, 2 << 20}, Geometry{3, 21, 4, true, 9 << 20},
                      Geometry{2, 9, 4, true, 1 << 20}, Geometry{2, 16, 4, false, 4 << 20},
                      Geometry{2, 16, 4, true, 4 << 20}, Geometry{3, 14, 4, true, 1 << 20, true},
                      Geometry{3, 14, 0, false, (2 << 20) - 512, true},
                      Geometry{3, 16, 4, true, (4 << 20) + 512 * 7, true},
                      Geometry{3, 17, 6, true, 4 << 20, true},
                      Geometry{3, 21, 4, true, 9 << 20, true}));

}  // namespace
}  // namespace hull::blockcore
