#include "firmware/aml.h"

#include "base/check.h"

namespace hull::firmware {

namespace {

enum Opcode : uint8_t {
  kZeroOp = 0x00,
  kOneOp = 0x01,
  kNameOp = 0x08,
  kBytePrefix = 0x0a,
  kWordPrefix = 0x0b,
  kDwordPrefix = 0x0c,
  kStringPrefix = 0x0d,
  kQwordPrefix = 0x0e,
  kScopeOp = 0x10,
  kBufferOp = 0x11,
  kPackageOp = 0x12,
  kExtOpPrefix = 0x5b,
  kDeviceOp = 0x82,  // after kExtOpPrefix
};

// Tags with the length of the descriptor in them (6.4.2, 6.4.3).
constexpr uint8_t kIoTag = 0x47;
constexpr uint8_t kIrqNoFlagsTag = 0x22;
constexpr uint8_t kMemory32FixedTag = 0x86;
constexpr uint8_t kExtendedInterruptTag = 0x89;
constexpr uint8_t kWordWindowTag = 0x88;
constexpr uint8_t kDwordWindowTag = 0x87;
constexpr uint8_t kQwordWindowTag = 0x8a;
constexpr uint8_t kEndTag = 0x79;

// Of windows (6.4.3.5).
constexpr uint8_t kMemoryRange = 0;
constexpr uint8_t kIoRange = 1;
constexpr uint8_t kBusRange = 2;
constexpr uint8_t kProducerFixed = 0x0c;  // both ends are fixed
constexpr uint8_t kReadWriteMemory = 1;
constexpr uint8_t kEntireIo = 3;  // ISA's and all other ports

void append(std::vector<uint8_t>& bytes, uint64_t value, unsigned size_bytes) {
  for (unsigned i = 0; i < size_bytes; ++i) bytes.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

}  // namespace

AmlResources& AmlResources::io(uint16_t port, uint8_t count) {
  constexpr uint8_t kDecode16 = 1;
  bytes_.insert(bytes_.end(), {kIoTag, kDecode16});
  append(bytes_, port, 2);                  // lowest base
  append(bytes_, port, 2);                  // highest base
  bytes_.insert(bytes_.end(), {1, count});  // alignment, length
  return *this;
}

AmlResources& AmlResources::memory32(uint32_t base, uint32_t size_bytes) {
  constexpr uint8_t kReadWrite = 1;
  bytes_.insert(bytes_.end(), {kMemory32FixedTag, 9, 0, kReadWrite});
  append(bytes_, base, 4);
  append(bytes_, size_bytes, 4);
  return *this;
}

AmlResources& AmlResources::interrupt(uint32_t gsi) {
  if (gsi >= 16) return extended_interrupt(gsi);
  bytes_.push_back(kIrqNoFlagsTag);
  append(bytes_, 1u << gsi, 2);
  return *this;
}

AmlResources& AmlResources::extended_interrupt(uint32_t gsi) {
  constexpr uint8_t kConsumerEdge = 0x3;
  bytes_.insert(bytes_.end(), {kExtendedInterruptTag, 6, 0, kConsumerEdge, 1});
  append(bytes_, gsi, 4);
  return *this;
}

AmlResources& AmlResources::bus_window(uint16_t first, uint16_t last) {
  window(kWordWindowTag, 2, kBusRange, 0, first, last);
  return *this;
}

AmlResources& AmlResources::io_window(uint16_t first, uint16_t last) {
  window(kWordWindowTag, 2, kIoRange, kEntireIo, first, last);
  return *this;
}

AmlResources& AmlResources::memory32_window(uint32_t first, uint32_t last) {
  window(kDwordWindowTag, 4, kMemoryRange, kReadWriteMemory, first, last);
  return *this;
}

AmlResources& AmlResources::memory64_window(uint64_t first, uint64_t last) {
  window(kQwordWindowTag, 8, kMemoryRange, kReadWriteMemory, first, last);
  return *this;
}

// An address space descriptor: five numbers of `width` bytes after three bytes of flags.
void AmlResources::window(uint8_t tag, unsigned width, uint8_t type, uint8_t flags, uint64_t first,
                          uint64_t last) {
  CHECK(first <= last);
  bytes_.push_back(tag);
  append(bytes_, 3 + 5 * width, 2);
  bytes_.insert(bytes_.end(), {type, kProducerFixed, flags});
  const uint64_t granularity = 0, translation = 0;
  for (const uint64_t value : {granularity, first, last, translation, last - first + 1})
    append(bytes_, value, width);
}

AmlWriter::Block AmlWriter::scope(std::string_view name) {
  byte(kScopeOp);
  const size_t start = bytes_.size();
  segment(name);
  return Block(*this, start);
}

AmlWriter::Block AmlWriter::device(std::string_view name) {
  byte(kExtOpPrefix);
  byte(kDeviceOp);
  const size_t start = bytes_.size();
  segment(name);
  return Block(*this, start);
}

void AmlWriter::name_integer(std::string_view name, uint64_t value) {
  begin_name(name);
  integer(value);
}

void AmlWriter::name_string(std::string_view name, std::string_view ascii) {
  begin_name(name);
  byte(kStringPrefix);
  bytes_.insert(bytes_.end(), ascii.begin(), ascii.end());
  byte(0);
}

// Three letters of five bits each, then four hexadecimal digits, big-endian (19.6.37).
void AmlWriter::name_eisa_id(std::string_view name, std::string_view id) {
  CHECK(id.size() == 7);
  uint32_t value = 0;
  for (const char letter : id.substr(0, 3))
    value = value << 5 | (static_cast<uint8_t>(letter) & 31);
  for (const char digit : id.substr(3)) {
    const int nibble = digit <= '9' ? digit - '0' : digit - 'A' + 10;
    value = value << 4 | static_cast<uint32_t>(nibble);
  }
  begin_name(name);
  byte(kDwordPrefix);
  little_endian(__builtin_bswap32(value), 4);
}

void AmlWriter::name_package(std::string_view name, std::initializer_list<uint64_t> integers) {
  const auto block = name_package(name, static_cast<unsigned>(integers.size()));
  for (const uint64_t value : integers) element(value);
}

AmlWriter::Block AmlWriter::name_package(std::string_view name, unsigned count) {
  begin_name(name);
  return package(count);
}

AmlWriter::Block AmlWriter::package(unsigned count) {
  CHECK(count <= 255);
  byte(kPackageOp);
  const size_t start = bytes_.size();
  byte(count);
  return Block(*this, start);
}

void AmlWriter::name_resources(std::string_view name, const AmlResources& resources) {
  begin_name(name);
  byte(kBufferOp);
  const size_t start = bytes_.size();
  integer(resources.bytes().size() + 2);
  bytes_.insert(bytes_.end(), resources.bytes().begin(), resources.bytes().end());
  byte(kEndTag);
  byte(0);  // no checksum
  close(start);
}

void AmlWriter::little_endian(uint64_t value, unsigned size_bytes) {
  append(bytes_, value, size_bytes);
}

void AmlWriter::segment(std::string_view name) {
  CHECK(!name.empty() && name.size() <= 4);
  bytes_.insert(bytes_.end(), name.begin(), name.end());
  bytes_.insert(bytes_.end(), 4 - name.size(), '_');
}

void AmlWriter::begin_name(std::string_view name) {
  byte(kNameOp);
  segment(name);
}

void AmlWriter::integer(uint64_t value) {
  if (value <= 1) return byte(value == 0 ? kZeroOp : kOneOp);
  const unsigned size = value <= 0xff ? 1 : value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8;
  byte(size == 1 ? kBytePrefix : size == 2 ? kWordPrefix : size == 4 ? kDwordPrefix : kQwordPrefix);
  little_endian(value, size);
}

// Inserts the PkgLength, which counts itself (20.2.4): 6 bits in one byte, or 4 bits and up to
// three more bytes.
void AmlWriter::close(size_t start) {
  const size_t body = bytes_.size() - start;
  std::vector<uint8_t> encoded;
  if (body + 1 < 1 << 6) {
    encoded.push_back(static_cast<uint8_t>(body + 1));
  } else {
    const unsigned more = body + 2 < 1 << 12 ? 1 : body + 3 < 1 << 20 ? 2 : 3;
    const size_t length = body + 1 + more;
    CHECK(length < 1 << 28);
    encoded.push_back(static_cast<uint8_t>(more << 6 | (length & 0xf)));
    append(encoded, length >> 4, more);
  }
  bytes_.insert(bytes_.begin() + static_cast<std::ptrdiff_t>(start), encoded.begin(),
                encoded.end());
}

AmlNumberedName::AmlNumberedName(char letter, unsigned number) {
  CHECK(number < 0x1000);
  constexpr char kDigits[] = "0123456789ABCDEF";
  text_[0] = letter;
  for (unsigned i = 0; i < 3; ++i) text_[3 - i] = kDigits[number >> (4 * i) & 15];
}

}  // namespace hull::firmware
