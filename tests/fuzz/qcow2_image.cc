// Any bytes as a qcow2 image, and valid images that are damaged in a few fields: opening, checking,
// reading and changing them ends in a Result, and what is not damaged stays right.
#include <vector>

#include "base/log.h"
#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/format/snapshot_table.h"
#include "tests/support/damaged_qcow2.h"

namespace hull::testing {
namespace {

constexpr uint64_t kMaxRawBytes = 64 << 10;
constexpr uint64_t kMaxGrowth = 4 << 20;
constexpr uint64_t kWindow = 256 << 10;

// Corruptions that are found; ~0 if the check cannot be made.
uint64_t check(const Bytes& image) {
  MemoryFile file(image);
  const auto header = run_now(blockcore::qcow2::ImageHeader::read(file));
  if (!header) return ~uint64_t{0};
  (void)run_now(blockcore::qcow2::read_snapshot_table(file, **header));
  // Each of many snapshots may have a table as large as the file: right, and slow.
  if ((*header)->snapshot_count > 8) return ~uint64_t{0};
  const auto checked = run_now(blockcore::qcow2::check_image(file, **header));
  return checked ? checked->findings.corruptions : ~uint64_t{0};
}

void use(blockcore::Disk& disk, uint64_t start, uint64_t length, Choices& choices) {
  for (unsigned i = 0; length != 0 && i < 12; ++i) {
    const uint64_t offset = start + choices.below(length);
    const uint64_t count = std::min(choices.below(kWindow), start + length - offset);
    switch (i < 4 ? i : choices.below(5)) {
      case 0: (void)write_disk(disk, offset, Bytes(count, 0x5a)); break;
      case 1: (void)run_now(disk.write_zeroes(offset, count, choices.below(2) != 0)); break;
      case 2: (void)run_now(disk.discard(offset, count)); break;
      case 3: (void)run_now(disk.flush()); break;
      default: (void)read_disk(disk, offset, count);
    }
  }
}

void run(const Bytes& image, const SampleImage* undamaged, Choices& choices) {
  (void)check(image);
  if (const auto disk = open_qcow2(image, {.read_only = true})) {
    const auto data = read_disk(**disk, 0, std::min(kWindow * 4, (*disk)->size_bytes()));
    if (undamaged != nullptr) CHECK(data && *data == undamaged->contents);
  }
  auto file = std::make_unique<MemoryFile>(image, "fuzz", image.size() + kMaxGrowth);
  MemoryFile& memory = *file;
  const auto disk = open_qcow2(std::move(file));
  CHECK(disk || disk.error().message().find('\n') == std::string::npos);
  CHECK(disk || undamaged == nullptr);
  if (!disk) return;
  const uint64_t window = std::min(kWindow, (*disk)->size_bytes());
  use(**disk, 0, window, choices);
  use(**disk, (*disk)->size_bytes() - window, window, choices);
  (void)run_now((*disk)->close());
  if (undamaged != nullptr && undamaged->consistent) CHECK(check(memory.bytes()) == 0);
}

}  // namespace
}  // namespace hull::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hull::testing;
  hull::set_log_level(hull::LogLevel::kError);
  Choices choices({data, size});
  const uint64_t damages = choices.below(8);
  if (damages == 7) {
    if (size > kMaxRawBytes) return 0;
    run({data + 1, data + size}, nullptr, choices);
    return 0;
  }
  SampleImage sample = make_sample_qcow2(choices);
  for (uint64_t i = 0; i < damages; ++i) damage_qcow2(sample.image, choices);
  run(sample.image, damages == 0 ? &sample : nullptr, choices);
  return 0;
}
