#include "firmware/acpi_blobs.h"

#include <cstring>

#include "base/check.h"
#include "base/checked.h"
#include "base/endian.h"
#include "firmware/table_bytes.h"

namespace hull::firmware {

namespace {

constexpr uint32_t kAllocate = 1;
constexpr uint32_t kAddPointer = 2;
constexpr uint32_t kAddChecksum = 3;
constexpr uint8_t kZoneHigh = 1;
constexpr uint8_t kZoneSearched = 2;  // 0xf0000 to 0xfffff

struct FileName {
  char text[56];
};

struct Allocate {
  Le32 command{kAllocate};
  FileName file;
  Le32 alignment;
  uint8_t zone;
  uint8_t padding[63]{};
};
static_assert(sizeof(Allocate) == 128);

struct AddPointer {
  Le32 command{kAddPointer};
  FileName destination;
  FileName source;
  Le32 offset;
  uint8_t size;
  uint8_t padding[7]{};
};
static_assert(sizeof(AddPointer) == 128);

struct AddChecksum {
  Le32 command{kAddChecksum};
  FileName file;
  Le32 offset;
  Le32 start;
  Le32 length;
  uint8_t padding[56]{};
};
static_assert(sizeof(AddChecksum) == 128);

FileName file_name(const AcpiBlob& blob) {
  FileName name{};
  CHECK(blob.name.size() < sizeof name.text);
  std::memcpy(name.text, blob.name.data(), blob.name.size());
  return name;
}

template <class T>
void append(std::vector<uint8_t>& script, const T& command) {
  const auto bytes = bytes_of(command);
  script.insert(script.end(), bytes.begin(), bytes.end());
}

std::span<uint8_t> range_of(AcpiBlobs& blobs, uint32_t blob, uint32_t offset, uint32_t length) {
  std::vector<uint8_t>& bytes = blobs.blobs.at(blob).bytes;
  CHECK(range_fits<size_t>(offset, length, bytes.size()));
  return std::span(bytes).subspan(offset, length);
}

}  // namespace

void resolve(AcpiBlobs& blobs, std::span<const uint64_t> addresses) {
  CHECK(addresses.size() == blobs.blobs.size());
  for (const AcpiPointer& pointer : blobs.pointers) {
    const std::span field = range_of(blobs, pointer.blob, pointer.offset, pointer.width);
    uint64_t value = 0;
    for (size_t i = 0; i < field.size(); ++i) value |= uint64_t{field[i]} << (8 * i);
    value += addresses[pointer.target];
    CHECK(field.size() == 8 || value >> (8 * field.size()) == 0);
    for (size_t i = 0; i < field.size(); ++i) field[i] = static_cast<uint8_t>(value >> (8 * i));
  }
  for (const AcpiChecksum& sum : blobs.checksums)
    range_of(blobs, sum.blob, sum.offset, 1)[0] =
        checksum(range_of(blobs, sum.blob, sum.start, sum.length));
}

std::vector<uint8_t> to_table_loader(const AcpiBlobs& blobs) {
  std::vector<uint8_t> script;
  for (const AcpiBlob& blob : blobs.blobs)
    append(script, Allocate{.file = file_name(blob),
                            .alignment = blob.alignment,
                            .zone = blob.searched ? kZoneSearched : kZoneHigh});
  for (const AcpiPointer& pointer : blobs.pointers)
    append(script, AddPointer{.destination = file_name(blobs.blobs[pointer.blob]),
                              .source = file_name(blobs.blobs[pointer.target]),
                              .offset = pointer.offset,
                              .size = pointer.width});
  for (const AcpiChecksum& sum : blobs.checksums)
    append(script, AddChecksum{.file = file_name(blobs.blobs[sum.blob]),
                               .offset = sum.offset,
                               .start = sum.start,
                               .length = sum.length});
  return script;
}

}  // namespace hull::firmware
