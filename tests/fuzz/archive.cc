// An archive that a guest has written, unpacked: whatever it says, nothing appears outside the
// directory, no link leads out of it, and there are files, directories and links alone.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>

#include "base/check.h"
#include "base/unique_fd.h"
#include "tests/support/temporary_directory.h"
#include "tools/hull/archive/tar_header.h"
#include "tools/hull/archive/unpack.h"

namespace fs = std::filesystem;
using namespace hull;

namespace {

// The checksums are made right, or nothing would get any further.
void mend(std::span<std::byte> archive) {
  cli::TarBlock block;
  for (; archive.size() >= block.size(); archive = archive.subspan(block.size())) {
    std::memcpy(block.data(), archive.data(), block.size());
    if ((block[257] != 'u' && block[257] != 'U') || cli::is_zero(block)) continue;
    unsigned sum = 8 * ' ';
    for (size_t i = 0; i < block.size(); ++i)
      if (i < 148 || i >= 156) sum += static_cast<unsigned char>(block[i]);
    const std::string digits = fmt::format("{:06o}", sum);
    std::memcpy(archive.data() + 148, digits.data(), 6);
    archive[154] = std::byte{0};
    archive[155] = std::byte{' '};
  }
}

void check_tree(const fs::path& root) {
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    const auto type = entry.symlink_status().type();
    CHECK(type == fs::file_type::regular || type == fs::file_type::directory ||
          type == fs::file_type::symlink);
    if (type != fs::file_type::symlink) continue;
    std::error_code loop;
    const fs::path end = fs::weakly_canonical(entry.path(), loop);
    CHECK(loop || end == root || end.string().starts_with(root.string() + "/"));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const testing::TemporaryDirectory directory;
  static const std::string root = fs::canonical(directory.path()) / "root";
  std::vector<std::byte> archive(size);
  if (size != 0) std::memcpy(archive.data(), data, size);
  mend(archive);
  const UniqueFd file(::memfd_create("archive", MFD_CLOEXEC));
  CHECK(write_all_at(file.get(), archive, 0).has_value());
  const auto unpacked = cli::unpack_directory(file.get(), size, root, "status");
  CHECK(!unpacked || unpacked->left_out <= unpacked->entries);
  check_tree(root);
  for (const auto& entry : fs::directory_iterator(directory.path())) CHECK(entry.path() == root);
  fs::remove_all(root);
  return 0;
}
