// Arbitrary bytes as a kernel file: load_boot() must refuse them or load them, nothing else.
#include <sys/mman.h>

#include <cstring>

#include "base/unique_fd.h"
#include "firmware/x86/boot.h"

using namespace hull;
using namespace hull::firmware;

namespace {

// One machine for all runs: loading writes only inside it, and the kernel's bytes do not matter.
const GuestMemory& machine_memory() {
  static const GuestMemory memory = [] {
    const MemoryRegion ranges[] = {{GuestAddress{0}, 32 << 20},
                                   {GuestAddress{1ull << 32}, 1 << 20}};
    return *GuestMemory::create(ranges);
  }();
  return memory;
}

Platform machine() {
  Platform platform;
  platform.apic_ids = {0};
  platform.virtio_mmio = {{.base = GuestAddress{0xd0000000}, .gsi = 5, .name = "vda"}};
  return platform;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Platform platform = machine();
  UniqueFd fd(::memfd_create("kernel", MFD_CLOEXEC));
  if (!write_all(fd.get(), std::as_bytes(std::span(data, size)))) return 0;
  BootSource source{.kernel = *ImageSource::from_fd(std::move(fd), "kernel"),
                    .initrd = ImageSource::of_bytes(std::as_bytes(std::span("initrd")), "initrd"),
                    .cmdline = "console=ttyS0"};
  const auto boot = load_boot(machine_memory(), platform, source);
  // The entry point lies in RAM below 4 GiB, or there is a message of one line.
  if (boot) {
    if (!machine_memory().slice(GuestAddress{boot->entry.rip}, 1)) __builtin_trap();
  } else if (boot.error().message().find('\n') != std::string::npos) {
    __builtin_trap();
  }
  return 0;
}
