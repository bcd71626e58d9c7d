// ELF kernels: entered by the PVH note (Xen docs/misc/pvh.pandoc, XEN_ELFNOTE_PHYS32_ENTRY), or,
// 64-bit executables without one, at e_entry with boot_params, as a bare vmlinux expects.
#include <elf.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "base/checked.h"
#include "firmware/x86/kernel.h"
#include "firmware/x86/layout.h"

namespace hull::firmware {

namespace {

constexpr size_t kMaxProgramHeaders = 64;
constexpr uint64_t kMaxNoteBytes = 64 << 10;
constexpr uint32_t kPhys32Entry = 18;          // XEN_ELFNOTE_PHYS32_ENTRY
constexpr uint64_t kLinuxCmdlineLimit = 2047;  // Linux x86 COMMAND_LINE_SIZE - 1
constexpr uint64_t k4GiB = 1ull << 32;

// A program header of either class.
struct ElfSegment {
  uint32_t type;
  uint64_t offset;
  uint64_t address;  // p_paddr
  uint64_t file_bytes;
  uint64_t memory_bytes;
  uint64_t alignment;
};

struct ElfFile {
  bool is_64bit;
  bool executable;  // ET_EXEC
  uint64_t entry;
  std::vector<ElfSegment> segments;
};

template <class T>
Result<T> read_struct(const ImageSource& image, uint64_t offset) {
  T value;
  TRY(image.read(offset, std::as_writable_bytes(std::span(&value, 1))));
  return value;
}

template <class Header, class ProgramHeader>
Result<ElfFile> read_headers(const ImageSource& image, uint16_t machine) {
  const Header header = TRY(read_struct<Header>(image, 0));
  if (header.e_machine != machine)
    return fail(ErrorKind::kUnsupported, "ELF machine {} at 0x12 is not x86", header.e_machine);
  if (header.e_phentsize != sizeof(ProgramHeader) || header.e_phnum == 0 ||
      header.e_phnum > kMaxProgramHeaders)
    return fail(ErrorKind::kInvalidFormat,
                "ELF header has {} program headers of {} bytes; 1 to {} of {} are expected",
                header.e_phnum, header.e_phentsize, kMaxProgramHeaders, sizeof(ProgramHeader));
  ElfFile file{sizeof(Header) == sizeof(Elf64_Ehdr), header.e_type == ET_EXEC, header.e_entry, {}};
  std::array<ProgramHeader, kMaxProgramHeaders> headers;
  const std::span used = std::span(headers).first(header.e_phnum);
  TRY(image.read(header.e_phoff, std::as_writable_bytes(used)).with_context("program headers"));
  for (const ProgramHeader& h : used)
    file.segments.push_back({h.p_type, h.p_offset, h.p_paddr, h.p_filesz, h.p_memsz, h.p_align});
  return file;
}

Result<ElfFile> read_elf(const ImageSource& image) {
  const auto ident = TRY(read_struct<std::array<unsigned char, EI_NIDENT>>(image, 0));
  if (ident[EI_DATA] != ELFDATA2LSB || ident[EI_VERSION] != EV_CURRENT)
    return fail(ErrorKind::kUnsupported, "not a little-endian ELF file of version 1");
  switch (ident[EI_CLASS]) {
    case ELFCLASS64: return read_headers<Elf64_Ehdr, Elf64_Phdr>(image, EM_X86_64);
    case ELFCLASS32: return read_headers<Elf32_Ehdr, Elf32_Phdr>(image, EM_386);
    default: return fail(ErrorKind::kInvalidFormat, "ELF class {} at 0x4", ident[EI_CLASS]);
  }
}

// The PVH entry point in one PT_NOTE segment. Malformed notes end the search: notes are optional.
Result<std::optional<uint64_t>> find_entry_note(const ImageSource& image,
                                                const ElfSegment& segment) {
  if (segment.file_bytes > kMaxNoteBytes)
    return fail(ErrorKind::kInvalidFormat, "ELF notes of {:#x} bytes at {:#x}; the limit is {:#x}",
                segment.file_bytes, segment.offset, kMaxNoteBytes);
  std::vector<std::byte> notes(segment.file_bytes);
  TRY(image.read(segment.offset, notes).with_context("ELF notes"));
  const uint64_t alignment = segment.alignment == 8 ? 8 : 4;
  uint64_t at = 0;
  while (range_fits<uint64_t>(at, sizeof(Elf64_Nhdr), notes.size())) {
    Elf64_Nhdr note;  // the same in both classes
    std::memcpy(&note, notes.data() + at, sizeof note);
    const uint64_t name = at + sizeof note;
    const uint64_t value = align_up(name + note.n_namesz, alignment);
    if (!range_fits<uint64_t>(value, note.n_descsz, notes.size())) return std::nullopt;
    const bool is_xen = note.n_namesz == 4 && std::memcmp(notes.data() + name, "Xen", 4) == 0;
    if (is_xen && note.n_type == kPhys32Entry) {
      if (note.n_descsz != 4 && note.n_descsz != 8)
        return fail(ErrorKind::kInvalidFormat, "PVH note at {:#x} has {} bytes, not 4 or 8",
                    segment.offset + at, note.n_descsz);
      uint64_t entry = 0;
      std::memcpy(&entry, notes.data() + value, note.n_descsz);
      return entry;
    }
    at = align_up(value + note.n_descsz, alignment);
  }
  return std::nullopt;
}

Result<std::optional<uint64_t>> find_pvh_entry(const ImageSource& image, const ElfFile& file) {
  for (const ElfSegment& segment : file.segments) {
    if (segment.type != PT_NOTE) continue;
    if (const auto entry = TRY(find_entry_note(image, segment))) return entry;
  }
  return std::nullopt;
}

Result<void> check_segment(const MemoryMap& map, const ImageSource& image,
                           const ElfSegment& segment) {
  if (segment.file_bytes > segment.memory_bytes)
    return fail(ErrorKind::kInvalidFormat,
                "ELF segment at {:#x}: {:#x} bytes in the file, {:#x} in memory", segment.address,
                segment.file_bytes, segment.memory_bytes);
  if (!range_fits(segment.offset, segment.file_bytes, image.size()))
    return fail(ErrorKind::kInvalidFormat,
                "truncated: ELF segment at file offset {:#x} of {:#x} bytes, the file has {:#x}",
                segment.offset, segment.file_bytes, image.size());
  if (segment.address < kKernelMin)
    return fail(ErrorKind::kUnsupported, "ELF segment at {:#x}; hull keeps its tables below {:#x}",
                segment.address, kKernelMin);
  if (!map.is_ram(segment.address, segment.memory_bytes))
    return fail(ErrorKind::kOutOfRange,
                "ELF segment at {:#x} of {:#x} bytes is not in the guest's RAM", segment.address,
                segment.memory_bytes);
  return {};
}

bool overlap(const ElfSegment& a, const ElfSegment& b) {
  return a.address < b.address + b.memory_bytes && b.address < a.address + a.memory_bytes;
}

// Returns the non-empty PT_LOAD segments, none of which overlaps another.
Result<std::vector<ElfSegment>> check_segments(const MemoryMap& map, const ImageSource& image,
                                               const ElfFile& file) {
  std::vector<ElfSegment> loaded;
  for (const ElfSegment& segment : file.segments) {
    if (segment.type != PT_LOAD || segment.memory_bytes == 0) continue;
    TRY(check_segment(map, image, segment));
    for (const ElfSegment& other : loaded)
      if (overlap(segment, other))
        return fail(ErrorKind::kInvalidFormat, "ELF segments at {:#x} and {:#x} overlap",
                    other.address, segment.address);
    loaded.push_back(segment);
  }
  if (loaded.empty()) return fail(ErrorKind::kInvalidFormat, "ELF file loads nothing");
  return loaded;
}

Result<void> check_entry(const std::vector<ElfSegment>& segments, uint64_t entry, uint64_t limit) {
  bool inside = false;
  for (const ElfSegment& segment : segments) {
    if (segment.address + segment.memory_bytes > limit)
      return fail(ErrorKind::kUnsupported, "ELF segment at {:#x} of {:#x} bytes ends above {:#x}",
                  segment.address, segment.memory_bytes, limit);
    inside |= entry >= segment.address && entry - segment.address < segment.memory_bytes;
  }
  if (!inside)
    return fail(ErrorKind::kInvalidFormat, "entry point {:#x} is in no loaded segment", entry);
  return {};
}

// A vmlinux has no setup header of its own: this is the least that it reads.
SetupHeader vmlinux_header() {
  SetupHeader header{};
  header.boot_flag = kBootFlag;
  header.magic = kSetupMagic;
  header.version = 0x020c;
  header.loadflags = kLoadedHigh;
  header.kernel_alignment = 0x200000;
  return header;
}

}  // namespace

Result<LoadedKernel> load_elf(const GuestMemory& memory, const MemoryMap& map,
                              const ImageSource& image) {
  const ElfFile file = TRY(read_elf(image));
  const std::optional<uint64_t> pvh = TRY(find_pvh_entry(image, file));
  if (!pvh && !(file.is_64bit && file.executable))
    return fail(ErrorKind::kUnsupported,
                "ELF file has neither a PVH note nor a 64-bit fixed entry point");
  const std::vector<ElfSegment> segments = TRY(check_segments(map, image, file));
  const uint64_t entry = pvh.value_or(file.entry);
  TRY(check_entry(segments, entry, pvh ? k4GiB : kIdentityMapped));

  uint64_t end = 0;
  for (const ElfSegment& segment : segments) {
    // Only the bytes of the file: the rest of a segment is zero because RAM is fresh.
    const auto target = memory.slice(GuestAddress{segment.address}, segment.file_bytes);
    CHECK(target.has_value());
    TRY(image.load(segment.offset, *target));
    end = std::max(end, segment.address + segment.memory_bytes);
  }
  return LoadedKernel{
      .mode = pvh ? EntryMode::kPvh32 : EntryMode::kLinux64,
      .kind = pvh ? "PVH ELF" : "ELF",
      .entry = entry,
      .end = end,
      .initrd_limit = k4GiB,
      .cmdline_limit = kLinuxCmdlineLimit,
      .header = vmlinux_header(),
  };
}

}  // namespace hull::firmware
