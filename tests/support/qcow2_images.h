// qcow2 images for tests: made in memory by create_qcow2(), or by qemu-img on the host; and the
// opinion of qemu-img on what hull wrote. Everything runs to its end at once (run_now.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "blockcore/qcow2/edit/create.h"
#include "blockcore/qcow2/qcow2_disk.h"
#include "tests/support/memory_file.h"
#include "tests/support/run_now.h"

namespace hull::testing {

using Bytes = std::vector<uint8_t>;

Bytes make_qcow2(const blockcore::Qcow2CreateOptions& options);

Result<std::unique_ptr<blockcore::Qcow2Disk>> open_qcow2(std::unique_ptr<blockcore::File> file,
                                                         blockcore::Qcow2Options options = {});
Result<std::unique_ptr<blockcore::Qcow2Disk>> open_qcow2(const Bytes& image,
                                                         blockcore::Qcow2Options options = {});

Result<void> write_disk(blockcore::Disk& disk, uint64_t offset, const Bytes& data);
Result<Bytes> read_disk(blockcore::Disk& disk, uint64_t offset, size_t length);
Result<Bytes> read_disk(blockcore::Disk& disk);  // all of it

void save_file(const std::string& path, const Bytes& bytes);
Bytes load_file(const std::string& path);

struct CommandResult {
  int exit_code = -1;
  std::string output;  // stdout and stderr
};
CommandResult run_command(const std::string& command);

bool have_qemu_img();

}  // namespace hull::testing
