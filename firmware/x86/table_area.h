// The guest's table area under construction: bytes that will be copied to kTables in one piece.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/checked.h"
#include "firmware/table_bytes.h"
#include "firmware/x86/layout.h"

namespace hull::firmware {

class TableArea {
 public:
  // Both return the guest-physical address.
  uint64_t append(std::span<const uint8_t> table, uint64_t alignment) {
    const uint64_t address = reserve(table.size(), alignment);
    put(address, table);
    return address;
  }
  uint64_t reserve(size_t size_bytes, uint64_t alignment) {
    bytes_.resize(align_up<size_t>(bytes_.size(), alignment));
    const uint64_t address = kTables.start + bytes_.size();
    bytes_.resize(bytes_.size() + size_bytes);
    return address;
  }

  void put(uint64_t address, std::span<const uint8_t> table) {
    CHECK(address >= kTables.start && table.size() <= bytes_.size() &&
          address - kTables.start <= bytes_.size() - table.size());
    std::copy(table.begin(), table.end(),
              bytes_.begin() + static_cast<std::ptrdiff_t>(address - kTables.start));
  }

  // May be larger than kTables: the caller compares before it copies.
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

}  // namespace hull::firmware
