// Kernel images and a machine for the tests of firmware/: the smallest that are accepted, to be
// spoiled byte by byte.
#pragma once

#include <elf.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/guest_memory.h"
#include "base/unique_fd.h"
#include "firmware/x86/boot.h"
#include "firmware/x86/platform.h"

namespace hull::testing {

using Image = std::vector<std::byte>;

// Overwrites `image` at `offset` with a little-endian number of `size` bytes.
inline void poke(Image& image, size_t offset, uint64_t value, size_t size) {
  CHECK(offset + size <= image.size());
  std::memcpy(image.data() + offset, &value, size);
}

inline constexpr uint64_t kBzImageAddress = 0x1000000;

// Protocol 2.12, setup_sects 1, 4096 bytes of 0xcc at kBzImageAddress, init_size 0x10000.
inline Image bzimage() {
  Image image(1024 + 4096);
  std::fill(image.begin() + 1024, image.end(), std::byte{0xcc});
  poke(image, 0x1f1, 1, 1);                // setup_sects
  poke(image, 0x1f4, 4096 / 16, 4);        // syssize
  poke(image, 0x1fe, 0xaa55, 2);           // boot_flag
  poke(image, 0x200, 0x66eb, 2);           // jump over the header, which ends at 0x268
  poke(image, 0x202, 0x53726448, 4);       // HdrS
  poke(image, 0x206, 0x020c, 2);           // version
  poke(image, 0x211, 1, 1);                // loadflags: LOADED_HIGH
  poke(image, 0x22c, 0x7fffffff, 4);       // initrd_addr_max
  poke(image, 0x230, 0x200000, 4);         // kernel_alignment
  poke(image, 0x234, 1, 1);                // relocatable_kernel
  poke(image, 0x236, 1, 2);                // xloadflags: XLF_KERNEL_64
  poke(image, 0x238, 2047, 4);             // cmdline_size
  poke(image, 0x258, kBzImageAddress, 8);  // pref_address
  poke(image, 0x260, 0x10000, 4);          // init_size
  return image;
}

inline constexpr uint64_t kElfAddress = 0x200000;
inline constexpr size_t kNoteOffset = 0x100;
inline constexpr size_t kCodeOffset = 0x200;
inline constexpr uint32_t kNote[] = {4, 4, 18, 0x006e6558, 0x200020};  // "Xen", PHYS32_ENTRY

// One PT_LOAD (256 bytes of 0xcc, 4096 in memory) at kElfAddress, entry at its byte 0x10; a PT_NOTE
// adds the PVH entry at its byte 0x20. Program headers follow the ELF header, in that order.
template <class Header, class ProgramHeader>
Image elf(uint16_t machine, unsigned char elf_class, bool with_note) {
  Image image(kCodeOffset + 256);
  std::fill(image.begin() + kCodeOffset, image.end(), std::byte{0xcc});
  Header header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = elf_class;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = machine;
  header.e_version = EV_CURRENT;
  header.e_entry = kElfAddress + 0x10;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(ProgramHeader);
  header.e_phnum = with_note ? 2 : 1;
  std::memcpy(image.data(), &header, sizeof header);
  ProgramHeader program[2] = {};
  program[0].p_type = PT_LOAD;
  program[0].p_offset = kCodeOffset;
  program[0].p_paddr = kElfAddress;
  program[0].p_filesz = 256;
  program[0].p_memsz = 4096;
  program[1].p_type = PT_NOTE;
  program[1].p_offset = kNoteOffset;
  program[1].p_filesz = sizeof kNote;
  program[1].p_align = 4;
  std::memcpy(image.data() + sizeof header, program, sizeof program);
  std::memcpy(image.data() + kNoteOffset, kNote, sizeof kNote);
  return image;
}

inline Image elf64(bool with_note) {
  return elf<Elf64_Ehdr, Elf64_Phdr>(EM_X86_64, ELFCLASS64, with_note);
}
inline Image elf32() { return elf<Elf32_Ehdr, Elf32_Phdr>(EM_386, ELFCLASS32, true); }

// RAM from 0 up.
inline GuestMemory guest_memory(uint64_t size_mib) {
  const MemoryRegion range{GuestAddress{0}, size_mib << 20};
  auto memory = GuestMemory::create({&range, 1});
  CHECK(memory.has_value());
  return std::move(*memory);
}

// Two vCPUs, two virtio-mmio slots (GSIs 5 and 16), and the devices of every machine.
inline firmware::Platform platform() {
  firmware::Platform platform;
  platform.apic_ids = {0, 1};
  platform.online_vcpus = 2;
  platform.virtio_mmio = {
      {.base = GuestAddress{0xd0000000}, .gsi = 5, .name = "vda"},
      {.base = GuestAddress{0xd0001000}, .gsi = 16, .name = "net0"},
  };
  platform.serial.emplace();
  platform.power.emplace();
  platform.reset.emplace();
  platform.rtc.emplace();
  return platform;
}

// A file in memory, owned by the source.
inline firmware::ImageSource file_of(const Image& bytes, std::string name) {
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC));
  CHECK(write_all(fd.get(), bytes).has_value());
  auto source = firmware::ImageSource::from_fd(std::move(fd), std::move(name));
  CHECK(source.has_value());
  return std::move(*source);
}

inline firmware::BootSource source_of(const Image& kernel, std::string cmdline = "") {
  return {
      .kernel = file_of(kernel, "kernel"), .initrd = std::nullopt, .cmdline = std::move(cmdline)};
}

inline std::vector<uint8_t> peek_bytes(const GuestMemory& memory, uint64_t address, size_t size) {
  std::vector<uint8_t> bytes(size);
  const auto slice = memory.slice(GuestAddress{address}, size);
  CHECK(slice.has_value());
  slice->copy_to(bytes);
  return bytes;
}

inline uint64_t peek(const GuestMemory& memory, uint64_t address, size_t size) {
  uint64_t value = 0;
  const auto bytes = peek_bytes(memory, address, size);
  std::memcpy(&value, bytes.data(), size);
  return value;
}

inline std::string peek_text(const GuestMemory& memory, uint64_t address) {
  std::string text;
  while (const auto byte = peek(memory, address + text.size(), 1))
    text.push_back(static_cast<char>(byte));
  return text;
}

}  // namespace hull::testing
