// A machine out of one process's memory and into another machine: memory, board, vCPUs, virtio
// devices.
#include "vmm/machine.h"

namespace hull::vmm {

namespace {

constexpr uint32_t kMemoryVersion = 1;
// A section's length is a number of 32 bits; larger memories need files of their own.
constexpr uint64_t kMaxMemoryBytes = uint64_t{2} << 30;

uint64_t total_bytes(const GuestMemory& memory) {
  uint64_t total = 0;
  for (size_t i = 0; i < memory.region_count(); ++i) total += memory.region(i).size_bytes;
  return total;
}

Result<void> save_memory(const GuestMemory& memory, StateWriter& out) {
  if (total_bytes(memory) > kMaxMemoryBytes)
    return fail(ErrorKind::kUnsupported, "a machine of more than {} MiB cannot be saved",
                kMaxMemoryBytes >> 20);
  const auto section = out.section("memory", kMemoryVersion);
  std::vector<uint8_t> contents;
  for (size_t i = 0; i < memory.region_count(); ++i) {
    const MemoryRegion& range = memory.region(i);
    contents.resize(range.size_bytes);
    memory.region_slice(i).copy_to(contents);
    out.u64(to_number(range.start));
    out.bytes(contents);
  }
  return {};
}

Result<void> load_memory(const GuestMemory& memory, StateReader& in) {
  StateReader section = TRY(in.section("memory", kMemoryVersion));
  for (size_t i = 0; i < memory.region_count(); ++i) {
    const MemoryRegion& range = memory.region(i);
    if (section.u64() != to_number(range.start)) section.reject("memory at another address");
    const std::span<const uint8_t> contents = section.bytes(range.size_bytes);
    if (contents.size() != range.size_bytes) section.reject("memory of another size");
    if (contents.size() == range.size_bytes) memory.region_slice(i).copy_from(contents);
  }
  return section.end();
}

}  // namespace

Result<void> Machine::save(StateWriter& out) {
  TRY(save_memory(memory_, out));
  TRY(board_->save(out));
  for (const auto& vcpu : vcpus_) TRY(board_->save_vcpu(vcpu->vcpu(), out));
  for (const auto& transport : virtio_) transport->save(out);
  return {};
}

// Devices last: what they look at is there, and their interrupts find a controller.
Result<void> Machine::load(StateReader& in) {
  TRY(load_memory(memory_, in));
  TRY(board_->load(in));
  for (const auto& vcpu : vcpus_) TRY(board_->load_vcpu(vcpu->vcpu(), in));
  for (const auto& transport : virtio_) TRY(transport->load(in));
  return in.end();
}

}  // namespace hull::vmm
