// A flattened device tree (Devicetree Specification 0.4) under construction, node by node.
#pragma once

#include <libfdt.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/endian.h"

namespace hull::firmware {

// libfdt's sequential writer. The buffer is sized for the platform, so no call can fail.
class FdtWriter {
 public:
  explicit FdtWriter(size_t capacity) : blob_(capacity) {
    // Looking for an earlier use of each name costs more than all the rest.
    check(fdt_create_with_flags(blob_.data(), static_cast<int>(capacity),
                                FDT_CREATE_FLAG_NO_NAME_DEDUP));
    check(fdt_finish_reservemap(blob_.data()));
  }

  class [[nodiscard]] Node {
   public:
    Node(FdtWriter& writer, const std::string& name) : writer_(writer) {
      check(fdt_begin_node(writer_.blob_.data(), name.c_str()));
    }
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;
    ~Node() { check(fdt_end_node(writer_.blob_.data())); }

   private:
    FdtWriter& writer_;
  };
  Node node(const std::string& name) { return Node(*this, name); }

  void empty(const char* name) { property(name, nullptr, 0); }
  void text(const char* name, std::string_view value) {
    const std::string terminated(value);
    property(name, terminated.c_str(), terminated.size() + 1);
  }
  void cells(const char* name, std::initializer_list<uint32_t> values) {
    std::vector<Be32> encoded(values.begin(), values.end());
    property(name, encoded.data(), encoded.size() * sizeof(Be32));
  }
  void u64(const char* name, std::initializer_list<uint64_t> values) {
    std::vector<Be64> encoded(values.begin(), values.end());
    property(name, encoded.data(), encoded.size() * sizeof(Be64));
  }

  std::vector<uint8_t> finish() && {
    check(fdt_finish(blob_.data()));
    blob_.resize(fdt_totalsize(blob_.data()));
    return std::move(blob_);
  }

 private:
  static void check(int result) { CHECK(result == 0); }
  void property(const char* name, const void* value, size_t size) {
    check(fdt_property(blob_.data(), name, value, static_cast<int>(size)));
  }

  std::vector<uint8_t> blob_;
};

}  // namespace hull::firmware
