#include "base/state.h"

#include <algorithm>

#include "base/check.h"
#include "base/log.h"

namespace hull {

namespace {

// Of a section: length of the name, name, version (4), length of what follows (4).
constexpr size_t kNumbersBytes = 8;

}  // namespace

StateWriter::Section StateWriter::section(std::string_view name, uint32_t version) {
  CHECK(!name.empty() && name.size() <= kMaxNameBytes && version != 0);
  u8(static_cast<uint8_t>(name.size()));
  bytes_.insert(bytes_.end(), name.begin(), name.end());
  u32(version);
  u32(0);  // until close()
  ++open_sections_;
  return Section(*this, bytes_.size());
}

void StateWriter::close(size_t start) {
  const size_t length = bytes_.size() - start;
  CHECK(length <= UINT32_MAX);
  for (unsigned i = 0; i < 4; ++i) bytes_[start - 4 + i] = static_cast<uint8_t>(length >> (8 * i));
  --open_sections_;
}

void StateWriter::bytes(std::span<const uint8_t> value) {
  CHECK(value.size() <= UINT32_MAX);
  u32(static_cast<uint32_t>(value.size()));
  bytes_.insert(bytes_.end(), value.begin(), value.end());
}

void StateWriter::text(std::string_view value) {
  bytes({reinterpret_cast<const uint8_t*>(value.data()), value.size()});
}

std::vector<uint8_t> StateWriter::finish() && {
  CHECK(open_sections_ == 0);
  return std::move(bytes_);
}

void StateWriter::number(uint64_t value, unsigned size_bytes) {
  for (unsigned i = 0; i < size_bytes; ++i)
    bytes_.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

Result<StateReader> StateReader::section(std::string_view name, uint32_t newest) {
  if (!wrong_.empty()) return std::unexpected(corrupt(wrong_));
  const std::string_view found = next_name();
  if (found != name) {
    reject(found.empty()
               ? fmt::format("section '{}' is missing", name)
               : fmt::format("section '{}' where '{}' should be", printable(found), name));
    return std::unexpected(corrupt(wrong_));
  }
  at_ += 1 + found.size();
  const uint32_t version = u32();
  const std::span<const uint8_t> content = take(u32());
  if (!wrong_.empty()) return std::unexpected(corrupt(wrong_));
  if (version == 0 || version > newest) {
    reject(
        fmt::format("section '{}' has version {}, this hull reads 1 to {}", name, version, newest));
    return std::unexpected(Error(ErrorKind::kUnsupported, corrupt(wrong_).message()));
  }
  return StateReader(found, version, content);
}

bool StateReader::next_is(std::string_view name) const {
  return wrong_.empty() && next_name() == name;
}

// Empty if there is none.
std::string_view StateReader::next_name() const {
  if (at_ == bytes_.size()) return {};
  const size_t length = bytes_[at_];
  if (bytes_.size() - at_ < 1 + length + kNumbersBytes) return {};
  return {reinterpret_cast<const char*>(bytes_.data()) + at_ + 1, length};
}

bool StateReader::boolean() {
  const uint8_t value = u8();
  if (value > 1) reject("a truth value is neither 0 nor 1");
  return value == 1;
}

uint32_t StateReader::count(uint32_t maximum) {
  const uint32_t value = u32();
  if (value <= maximum) return value;
  reject(fmt::format("a count of {}, more than {}", value, maximum));
  return 0;
}

std::span<const uint8_t> StateReader::bytes(size_t maximum) {
  const uint32_t size = u32();
  if (size <= maximum) return take(size);
  reject(fmt::format("{} bytes, more than {}", size, maximum));
  return {};
}

void StateReader::bytes_into(std::span<uint8_t> destination) {
  const std::span<const uint8_t> found = bytes(destination.size());
  if (!wrong_.empty()) return;
  if (found.size() != destination.size())
    return reject(fmt::format("{} bytes where {} should be", found.size(), destination.size()));
  std::ranges::copy(found, destination.begin());
}

std::string_view StateReader::text(size_t maximum) {
  const std::span<const uint8_t> found = bytes(maximum);
  return {reinterpret_cast<const char*>(found.data()), found.size()};
}

std::span<const uint8_t> StateReader::take(size_t size_bytes) {
  if (wrong_.empty() && size_bytes > bytes_.size() - at_) reject("it ends too early");
  if (!wrong_.empty()) return {};
  at_ += size_bytes;
  return bytes_.subspan(at_ - size_bytes, size_bytes);
}

uint64_t StateReader::number(unsigned size_bytes) {
  uint64_t value = 0;
  unsigned shift = 0;
  for (const uint8_t byte : take(size_bytes)) {
    value |= uint64_t{byte} << shift;
    shift += 8;
  }
  return value;
}

void StateReader::reject(std::string_view why) {
  if (wrong_.empty()) wrong_ = why;
}

Result<void> StateReader::end() const {
  if (!wrong_.empty()) return std::unexpected(corrupt(wrong_));
  if (at_ != bytes_.size())
    return std::unexpected(corrupt(fmt::format("{} bytes too many", bytes_.size() - at_)));
  return {};
}

Error StateReader::corrupt(std::string_view why) const {
  return Error(ErrorKind::kCorrupt, fmt::format("saved state of '{}': {}", printable(name_), why));
}

}  // namespace hull
