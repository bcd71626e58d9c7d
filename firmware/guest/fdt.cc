// As much of a flattened device tree (Devicetree specification v0.4, chapter 5) as finds the
// virtio-mmio devices and counts the CPUs.
#include <cstring>

#include "firmware/guest/boot_info.h"

namespace hull::guest {
namespace {

constexpr uint32_t kMagic = 0xd00dfeed;
constexpr uint32_t kBeginNode = 1;
constexpr uint32_t kEndNode = 2;
constexpr uint32_t kProperty = 3;
constexpr uint32_t kNop = 4;
constexpr uint64_t kMaxSize = 1 << 20;
constexpr size_t kMaxDepth = 8;

struct Node {
  uint32_t address_cells = 2;  // for its children
  uint32_t size_cells = 1;
  bool is_virtio_mmio = false;
  bool is_cpu = false;
  std::string_view reg;
  std::string_view interrupts;
};

class Blob {
 public:
  explicit Blob(std::string_view bytes) : bytes_(bytes) {}
  uint64_t size() const { return bytes_.size(); }
  // Big-endian; zero beyond the end.
  uint32_t word(uint64_t offset) const {
    if (offset > size() || size() - offset < 4) return 0;
    uint32_t raw;
    memcpy(&raw, bytes_.data() + offset, sizeof(raw));
    return __builtin_bswap32(raw);
  }
  // Up to, without, the zero byte.
  std::string_view string(uint64_t offset) const {
    std::string_view rest = drop(bytes_, offset);
    std::string_view text;
    split(rest, '\0', text);
    return text;
  }
  std::string_view bytes(uint64_t offset, uint64_t length) const {
    if (offset > size() || length > size() - offset) return {};
    return {bytes_.data() + offset, length};
  }

 private:
  std::string_view bytes_;
};

uint64_t cells(std::string_view bytes, uint64_t first, uint32_t count) {
  Blob blob(bytes);
  uint64_t value = 0;
  for (uint32_t i = 0; i < count; i++) value = (value << 32) | blob.word((first + i) * 4);
  return value;
}

// "compatible" is a list of strings, each with its zero byte.
bool lists(std::string_view list, std::string_view wanted) {
  std::string_view item;
  while (split(list, '\0', item)) {
    if (item == wanted) return true;
  }
  return false;
}

void read_property(std::string_view name, std::string_view value, Node& node) {
  if (name == "#address-cells") node.address_cells = Blob(value).word(0);
  if (name == "#size-cells") node.size_cells = Blob(value).word(0);
  if (name == "compatible" && lists(value, "virtio,mmio")) node.is_virtio_mmio = true;
  if (name == "device_type" && lists(value, "cpu")) node.is_cpu = true;
  if (name == "reg") node.reg = value;
  if (name == "interrupts") node.interrupts = value;
}

void finish_node(const Node& node, const Node& parent, BootInfo& info) {
  if (node.is_cpu) info.fdt.cpus++;
  if (!node.is_virtio_mmio || parent.address_cells > 2 || parent.size_cells > 2) return;
  info.add_mmio({cells(node.reg, 0, parent.address_cells),
                 cells(node.reg, parent.address_cells, parent.size_cells),
                 static_cast<uint32_t>(cells(node.interrupts, 0, 1))});
}

}  // namespace

void read_fdt(uint64_t address, uint64_t size, BootInfo& info) {
  if (size < 40 || size > kMaxSize) return;
  Blob blob({reinterpret_cast<const char*>(address), size});
  if (blob.word(0) != kMagic || blob.word(4) > size) return;
  info.fdt.found = true;
  uint64_t at = blob.word(8);
  const uint64_t strings = blob.word(12);
  Node stack[kMaxDepth];
  size_t depth = 0;
  while (at < blob.size()) {
    const uint32_t token = blob.word(at);
    at += 4;
    if (token == kBeginNode) {
      if (++depth >= kMaxDepth) return;
      stack[depth] = Node();
      at += (blob.string(at).size() + 1 + 3) & ~uint64_t{3};
    } else if (token == kProperty) {
      const uint32_t length = blob.word(at);
      read_property(blob.string(strings + blob.word(at + 4)), blob.bytes(at + 8, length),
                    stack[depth]);
      at += 8 + ((uint64_t{length} + 3) & ~uint64_t{3});
    } else if (token == kEndNode) {
      if (depth == 0) return;
      finish_node(stack[depth], stack[depth - 1], info);
      depth--;
    } else if (token != kNop) {
      return;
    }
  }
}

}  // namespace hull::guest
