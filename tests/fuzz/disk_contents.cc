// Any bytes as a disk: what is found on it lies on it, and is text that a terminal can bear. The
// checksums of a GPT are made right first, or hardly anything would be looked at.
#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/checked.h"
#include "base/endian.h"
#include "base/log.h"
#include "blockcore/contents/contents.h"
#include "tests/support/memory_disk.h"
#include "tests/support/run_now.h"

namespace {

constexpr size_t kMaxDiskBytes = 256 << 10;

template <class T>
T field(const std::vector<uint8_t>& bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

void set_crc(std::vector<uint8_t>& bytes, size_t offset, size_t from, size_t length) {
  const hull::Le32 crc = static_cast<uint32_t>(
      ::crc32(0, bytes.data() + from, static_cast<uInt>(std::min(length, bytes.size() - from))));
  std::memcpy(bytes.data() + offset, &crc, sizeof crc);
}

void set_gpt_crcs(std::vector<uint8_t>& bytes) {
  if (bytes.size() < 1024 || std::memcmp(bytes.data() + 512, "EFI PART", 8) != 0) return;
  const uint64_t entries = field<hull::Le64>(bytes, 512 + 72);
  const uint64_t length =
      uint64_t{field<hull::Le32>(bytes, 512 + 80)} * field<hull::Le32>(bytes, 512 + 84);
  if (entries < bytes.size() / 512) set_crc(bytes, 512 + 88, entries * 512, length);
  std::memset(bytes.data() + 512 + 16, 0, 4);
  set_crc(bytes, 512 + 16, 512, std::min<size_t>(field<hull::Le32>(bytes, 512 + 12), 512));
}

void check_text(const std::string& text) { CHECK(text == hull::printable(text)); }

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hull::testing::MemoryDisk disk(std::min(size, kMaxDiskBytes) / 512 * 512);
  std::copy_n(data, disk.bytes.size(), disk.bytes.begin());
  set_gpt_crcs(disk.bytes);
  const auto contents = hull::testing::run_now(hull::blockcore::read_contents(disk));
  CHECK(contents.has_value());
  if (!contents->table) return 0;
  CHECK(contents->file_systems.size() == contents->table->partitions.size());
  CHECK(contents->table->partitions.size() <= hull::blockcore::kMaxPartitions);
  for (const auto& one : contents->table->partitions) {
    CHECK(one.length_bytes != 0 &&
          hull::range_fits(one.offset_bytes, one.length_bytes, disk.size_bytes()));
    check_text(one.name);
  }
  for (const auto& found : contents->file_systems)
    if (found) check_text(found->label);
  return 0;
}
