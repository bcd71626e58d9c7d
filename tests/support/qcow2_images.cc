#include "tests/support/qcow2_images.h"

#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "base/check.h"

namespace hull::testing {

Bytes make_qcow2(const blockcore::Qcow2CreateOptions& options) {
  MemoryFile file;
  CHECK(run_now(blockcore::create_qcow2(file, options)).has_value());
  return file.bytes();
}

Result<std::unique_ptr<blockcore::Qcow2Disk>> open_qcow2(std::unique_ptr<blockcore::File> file,
                                                         blockcore::Qcow2Options options) {
  return run_now(blockcore::Qcow2Disk::open(std::move(file), options));
}
Result<std::unique_ptr<blockcore::Qcow2Disk>> open_qcow2(const Bytes& image,
                                                         blockcore::Qcow2Options options) {
  return open_qcow2(std::make_unique<MemoryFile>(image), options);
}

Result<void> write_disk(blockcore::Disk& disk, uint64_t offset, const Bytes& data) {
  const iovec buffer{const_cast<uint8_t*>(data.data()), data.size()};
  return run_now(disk.write(offset, {&buffer, 1}));
}
Result<Bytes> read_disk(blockcore::Disk& disk, uint64_t offset, size_t length) {
  Bytes data(length, 0xee);
  const iovec buffer{data.data(), data.size()};
  auto result = run_now(disk.read(offset, {&buffer, 1}));
  if (!result) return std::unexpected(std::move(result).error());
  return data;
}
Result<Bytes> read_disk(blockcore::Disk& disk) { return read_disk(disk, 0, disk.size_bytes()); }

void save_file(const std::string& path, const Bytes& bytes) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  CHECK(stream.good());
}
Bytes load_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  CHECK(stream.good());
  return Bytes(std::istreambuf_iterator<char>(stream), {});
}

CommandResult run_command(const std::string& command) {
  CommandResult result;
  FILE* const pipe = popen((command + " 2>&1").c_str(), "r");
  CHECK(pipe != nullptr);
  std::array<char, 4096> chunk;
  while (const size_t count = fread(chunk.data(), 1, chunk.size(), pipe))
    result.output.append(chunk.data(), count);
  const int status = pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

bool have_qemu_img() {
  static const bool have = run_command("qemu-img --version").exit_code == 0;
  return have;
}

}  // namespace hull::testing
